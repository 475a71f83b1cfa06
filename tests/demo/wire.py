"""One HTTP exchange by raw socket, so that a test sees what really came over the wire, and how it ended."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

ANSWER_TIMEOUT_S = 10.0

Ending = Literal["closed", "reset", "silent"]


@dataclass(frozen=True)
class RawAnswer:
    """What came: `body` has its chunks taken out; `complete` says that the framing was satisfied. `first_byte_s` and
    `first_body_s` count from the sending of the request; None where nothing came."""

    status: int | None
    headers: dict[str, str]
    body: bytes
    complete: bool
    ending: Ending
    first_byte_s: float | None
    first_body_s: float | None

    @property
    def events(self) -> list[Any]:
        """The data of the events, parsed; "[DONE]" as it is."""
        lines = self.body.replace(b"\r\n", b"\n").decode().split("\n")
        data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        return [each if each == "[DONE]" else json.loads(each) for each in data]

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The content of all the chat completion chunks."""
        chunks = [event for event in self.events if event != "[DONE]"]
        return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def chat_body(model: str, stream: bool = False, **more: Any) -> dict[str, Any]:
    """Return the body of a small chat completion request."""
    return {"model": model, "messages": [{"role": "user", "content": "Hi there"}], "stream": stream, **more}


async def exchange(
    url: str,
    body: Any = None,
    *,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    headers: dict[str, str] | None = None,
    silence_s: float = ANSWER_TIMEOUT_S,
    read_bytes: int | None = None,
) -> RawAnswer:
    """Send one request and read until the connection ends, or until nothing has come for `silence_s`; with
    `read_bytes`, leave as soon as that much has come."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: demo", "Connection: close", f"Content-Length: {len(payload)}"]
    lines += [f"{key}: {value}" for key, value in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + payload)
    started_s = time.monotonic()
    received = b""
    first_byte_s = first_body_s = None
    ending: Ending = "closed"
    try:
        while data := await asyncio.wait_for(reader.read(65536), silence_s):
            received += data
            first_byte_s = first_byte_s or time.monotonic() - started_s
            if first_body_s is None and not received.endswith(b"\r\n\r\n"):
                first_body_s = time.monotonic() - started_s
            if read_bytes is not None and len(received) >= read_bytes:
                break
    except ConnectionResetError:
        ending = "reset"
    except TimeoutError:
        ending = "silent"
    finally:
        writer.transport.abort()
        # The socket is closed by the loop's next turn; a caller may block instead of giving it one.
        await asyncio.sleep(0)
    return _parse(received, ending, first_byte_s, first_body_s)


def _parse(received: bytes, ending: Ending, first_byte_s: float | None, first_body_s: float | None) -> RawAnswer:
    head, found, rest = received.partition(b"\r\n\r\n")
    if not found:
        return RawAnswer(None, {}, b"", False, ending, first_byte_s, first_body_s)
    status_line, *header_lines = head.decode().split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in header_lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, complete = _join_chunks(rest)
    else:
        body, complete = rest, len(rest) == int(headers["content-length"])
    return RawAnswer(int(status_line.split()[1]), headers, body, complete, ending, first_byte_s, first_body_s)


def _join_chunks(rest: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        size_line, found, rest = rest.partition(b"\r\n")
        if not found:
            return body, False
        size = int(size_line, 16)
        if size == 0:
            return body, rest == b"\r\n"
        body += rest[:size]
        if len(rest) < size + 2:
            return body, False
        rest = rest[size + 2 :]
