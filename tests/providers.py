"""The demo provider as a real process, for tests: start it, queue faults, read what reached it.

    with DemoProcess.start("--chunk-delay-ms", "5") as provider:
        provider.queue_faults("gpt-4o", "fail-503", "fail-503", None)
        ...
        assert len(provider.requests(model="gpt-4o")) == 3

A test that has the `demo_provider` fixture (in conftest.py) gets a fresh one.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
CONTROL_TIMEOUT_S = 10.0


class DemoProcess:
    """A running provider. `url` is `http://127.0.0.1:PORT`, without a path."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors
        self.url = ""

    @classmethod
    def start(cls, *arguments: str) -> Self:
        """Start a provider on a free port with further command line arguments, and wait until it listens."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        process = subprocess.Popen(
            [sys.executable, "-m", "plano.demo.provider", "--port", "0", "--exit-with-parent", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        provider = cls(process, errors)
        try:
            provider.url = json.loads(provider._read_first_line())["url"]
        except BaseException:
            provider.close()
            raise
        return provider

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def host(self) -> str:
        """The address it listens on."""
        return str(urlsplit(self.url).hostname)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(urlsplit(self.url).port or 0)

    def requests(self, model: str | None = None) -> list[dict[str, Any]]:
        """Return the requests it received, oldest first; of one model only, if given (see `Entry.describe`)."""
        received: list[dict[str, Any]] = self._control("GET", "/_demo/requests")
        return [entry for entry in received if model is None or entry["model"] == model]

    def wait_for_request(self, model: str | None = None, *, timeout_s: float = 10.0, **expected: Any) -> dict[str, Any]:
        """Return the newest request whose entry has the expected values (`disconnected=True`), waiting for it.

        Raises TimeoutError with everything that did arrive.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            received = self.requests(model)
            for entry in reversed(received):
                if all(entry[key] == value for key, value in expected.items()):
                    return entry
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"no request of {model or 'any model'} with {expected} among {received}")
            time.sleep(0.01)

    def clear_requests(self) -> None:
        """Forget the requests received so far; totals stay."""
        self._control("DELETE", "/_demo/requests")

    def queue_faults(self, model: str, *faults: str | None) -> None:
        """Give the next requests of a model these faults, one each; None is a normal answer."""
        self._control("POST", "/_demo/faults", {"model": model, "faults": list(faults)})

    def queue_answers(self, model: str, *texts: str | None) -> None:
        """Have a model say these texts, word for word, one for each of its next requests that has no fault; None is an
        answer of its own."""
        self._control("POST", "/_demo/answers", {"model": model, "answers": list(texts)})

    def clear_faults(self) -> None:
        """Forget every queued fault."""
        self._control("DELETE", "/_demo/faults")

    def stats(self) -> dict[str, Any]:
        """Return the totals since the start (see `Journal.describe_totals`)."""
        totals: dict[str, Any] = self._control("GET", "/_demo/stats")
        return totals

    def errors(self) -> str:
        """Return what it has written to stderr so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def close(self) -> None:
        """End the process; kill it if it does not go."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._errors.close()

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        parts = urlsplit(self.url)
        if parts.scheme == "https":
            # The certificate is the test's own business; this is the test's own control channel.
            context = ssl._create_unverified_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.host, self.port, timeout=CONTROL_TIMEOUT_S, context=context
            )
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=CONTROL_TIMEOUT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status != 200:
                raise ValueError(f"{method} {path} answered {response.status}: {answer}")
            return answer
        finally:
            connection.close()

    def _read_first_line(self) -> bytes:
        assert self._process.stdout is not None
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.append(self._process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(START_TIMEOUT_S)
        if not lines or not lines[0]:
            raise RuntimeError(f"the demo provider did not start: {self.errors()}")
        return lines[0]
