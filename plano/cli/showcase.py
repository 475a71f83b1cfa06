"""The requests of the demo: sent to the cluster like any client's, their answers shown and judged."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from plano.cli.terminal import Terminal

_TIMEOUT_S = 15.0
_METRICS_PATIENCE_S = 5.0
_SHOWN_METRICS = (
    "plano_requests_total",
    "plano_attempts_total",
    "plano_retries_total",
    "plano_failovers_total",
    "plano_time_to_first_token_seconds_count",
    "plano_tokens_total",
)


class ShowcaseError(Exception):
    """A step of the demo did not do what it is there to show."""


class Showcase:
    """The demo's requests. `url` is the listener's, `admin` the admin server's."""

    def __init__(self, terminal: Terminal, url: str, admin: str) -> None:
        self._terminal = terminal
        self._url = url
        self._admin = admin

    def run(self) -> bool:
        """Sends and shows everything. Returns whether all of it worked."""
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("A chat completion", self._chat),
            ("The same as a stream", self._stream),
            ("A model whose first provider is down", self._failover),
            ("What the cluster counted", self._metrics),
        )
        worked = True
        for number, (title, step) in enumerate(steps, 1):
            self._terminal.line()
            self._terminal.heading(f"{number}. {title}")
            try:
                step()
            except (ShowcaseError, OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
                worked = False
                self._terminal.line(f"   failed: {error or type(error).__name__}", "bold red")
        return worked

    def show_commands(self) -> None:
        """Commands to try by hand."""
        terminal, url = self._terminal, self._url
        chat = f"curl {url}/v1/chat/completions -H 'content-type: application/json'"
        hello = '"messages": [{"role": "user", "content": "Hello!"}]'
        terminal.line()
        terminal.heading("Try it yourself")
        for command in (
            f'{chat} -d \'{{"model": "demo-chat", {hello}}}\'',
            f'{chat} -N -d \'{{"model": "fast", "stream": true, {hello}}}\'',
            f'{chat} -i -d \'{{"model": "demo-resilient", {hello}}}\'',
            f"curl {url}/v1/models",
            f"curl {self._admin}/metrics",
        ):
            terminal.line(f"   {command}")

    def _chat(self) -> None:
        response = self._post({"model": "demo-chat", "messages": _question("What does a data plane do?")})
        answer = _read_answer(response)
        self._show_exchange("demo-chat", "What does a data plane do?", answer["choices"][0]["message"]["content"])
        usage = answer["usage"]
        self._show_headers(response, f"tokens {usage['prompt_tokens']} in, {usage['completion_tokens']} out")

    def _stream(self) -> None:
        question = "Tell me, token by token."
        started = time.monotonic()
        response = self._post({"model": "demo-chat", "stream": True, "messages": _question(question)})
        if response.status != 200:
            raise ShowcaseError(f"status {response.status}: {response.read()[:300]!r}")
        terminal = self._terminal
        terminal.line(f"   you        {question}")
        terminal.write("   demo-chat  ")
        first_s: float | None = None
        for token in _read_stream(response):
            if first_s is None:
                first_s = time.monotonic() - started
            terminal.write(token, "green")
        terminal.line()
        if first_s is None:
            raise ShowcaseError("the stream held no content")
        self._show_headers(response, f"first token after {first_s * 1000:.0f} ms")

    def _failover(self) -> None:
        response = self._post({"model": "demo-resilient", "messages": _question("Are you there?")})
        answer = _read_answer(response)
        self._show_exchange("demo-resilient", "Are you there?", answer["choices"][0]["message"]["content"])
        self._show_headers(response)
        attempts, model = response.getheader("x-plano-attempts", ""), response.getheader("x-plano-model", "")
        if "demo-backup" not in model or not attempts or attempts == "1":
            raise ShowcaseError("the answer did not come from the fallback model")
        self._terminal.line(
            "   The first provider answered 503 twice; the cluster moved on to demo-backup. The client saw none of it.",
            "dim",
        )

    def _metrics(self) -> None:
        """Records travel in batches: the newest is on the admin port within a moment."""
        deadline = time.monotonic() + _METRICS_PATIENCE_S
        while "plano_failovers_total{" not in (text := self._get_metrics()):
            if time.monotonic() > deadline:
                raise ShowcaseError("the failover was not counted")
            time.sleep(0.05)
        for line in text.splitlines():
            if line.startswith(_SHOWN_METRICS) and not line.endswith(" 0.0"):
                self._terminal.line(f"   {line}")

    def _show_exchange(self, model: str, question: str, answer: str) -> None:
        width = max(len(model), 3)
        self._terminal.line(f"   {'you'.ljust(width)}  {question}")
        self._terminal.write(f"   {model}  ")
        self._terminal.line(answer, "green")

    def _show_headers(self, response: http.client.HTTPResponse, more: str = "") -> None:
        shown = [f"status {response.status}"]
        shown += [f"{name}: {response.getheader(name, '-')}" for name in ("x-plano-model", "x-plano-attempts")]
        self._terminal.line("   " + ", ".join([*shown, *([more] if more else [])]), "dim")

    def _post(self, body: dict[str, Any]) -> http.client.HTTPResponse:
        # One connection per request, as curl would; it lives as long as the response that reads from it.
        return _request(self._url, "POST", "/v1/chat/completions", json.dumps(body))

    def _get_metrics(self) -> str:
        return _request(self._admin, "GET", "/metrics").read().decode()


def _request(url: str, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    connection.request(method, path, body, {"Content-Type": "application/json", "Connection": "close"})
    return connection.getresponse()


def _question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _read_answer(response: http.client.HTTPResponse) -> dict[str, Any]:
    body = response.read()
    if response.status != 200:
        raise ShowcaseError(f"status {response.status}: {body[:300].decode(errors='replace')}")
    answer: dict[str, Any] = json.loads(body)
    return answer


def _read_stream(response: http.client.HTTPResponse) -> Iterator[str]:
    """The content of a chat completion stream, piece by piece. Raises ShowcaseError when it breaks off."""
    for line in response:
        data = line.strip().removeprefix(b"data: ")
        if data == line.strip():
            continue
        if data == b"[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise ShowcaseError(f"error in the stream: {event['error']}")
        for choice in event["choices"]:
            if content := choice["delta"].get("content"):
                yield content
    raise ShowcaseError("the stream ended without [DONE]")
