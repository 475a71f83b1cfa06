"""An upstream that does exactly what a test scripts, byte by byte, and remembers what it saw.

    upstream.script(b"HTTP/1.1 200 OK\\r\\n...", CLOSE)     # the answer to the next request
    upstream.script(head, chunk, Wait(event), RESET)       # and to the one after it

A request without a script gets the `default` one (an ordinary answer).
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, cast

from tests.frontends.waiting import wait_until


class End(Enum):
    """How a connection ends within a script."""

    CLOSE = "close"  # orderly
    RESET = "reset"  # RST


CLOSE = End.CLOSE
RESET = End.RESET


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on when the test sets `event`."""

    event: asyncio.Event


Step = bytes | End | Wait | Callable[[], bytes]
HANG = Wait(asyncio.Event())  # says nothing more


@dataclass(slots=True)
class Received:
    """One request as it came in. `headers` are name (lower case) and value, in order."""

    connection: Link
    line: str
    headers: list[tuple[str, str]]
    body: bytes
    at_s: float = field(default_factory=time.monotonic)

    def header(self, name: str) -> str | None:
        """The only value of a header; None when it is absent."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Link(asyncio.Protocol):
    """One connection to the upstream: reads requests, plays scripts. `closed_s` is the monotonic time it was lost."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._data = b""
        self._player: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.closed_s: float | None = None
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._upstream.links.append(self)
        if self._upstream.greeting is not None:
            self._end(self._upstream.greeting)

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._read_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed_s = time.monotonic()
        if self._player is not None:
            self._player.cancel()
        self._writable.set()

    async def wait_paused(self) -> None:
        """Return once nobody takes what is written, and the kernel's buffers are full."""
        written = -1
        while self._writable.is_set() or written != self.transport.get_write_buffer_size():
            written = self.transport.get_write_buffer_size()
            await asyncio.sleep(0.1)  # long enough for a reader that reads

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _read_request(self) -> None:
        head, separator, rest = self._data.partition(b"\r\n\r\n")
        if not separator or (self._player is not None and not self._player.done()):
            return
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (text.partition(":") for text in lines)]
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        if len(rest) < length:
            return
        self._data = rest[length:]
        self._upstream.received.append(Received(self, line, headers, rest[:length]))
        scripts = self._upstream.scripts
        steps = scripts.popleft() if scripts else self._upstream.default
        self._player = asyncio.ensure_future(self._play(steps))

    async def _play(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            if isinstance(step, End):
                self._end(step)
                return
            if isinstance(step, Wait):
                await step.event.wait()
                continue
            await self._writable.wait()
            self.transport.write(step if isinstance(step, bytes) else step())
        asyncio.get_running_loop().call_soon(self._read_request)

    def _end(self, end: End) -> None:
        if end is End.RESET:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


class Upstream:
    """See the module. Runs in the test's own event loop."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.links: list[Link] = []
        self.scripts: deque[tuple[Step, ...]] = deque()
        self.default: tuple[Step, ...] = (document(),)
        self.greeting: End | None = None  # what a new connection gets before it has said anything
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> Upstream:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self), "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def script(self, *steps: Step) -> None:
        """What the next request without a script gets."""
        self.scripts.append(steps)

    async def wait_received(self, count: int = 1) -> Received:
        """The newest request, once `count` have come."""
        await wait_until(lambda: len(self.received) >= count, f"{count} requests, got {len(self.received)}")
        return self.received[-1]

    async def wait_closed(self, link: Link | None = None) -> Link:
        """`link` (default: the newest), once its connection has been lost."""
        link = link or self.links[-1]
        await wait_until(lambda: link.closed_s is not None, "the connection is still open")
        return link

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in self.links:
            if link.closed_s is None:
                link.transport.abort()


# -- what upstreams say -------------------------------------------------------------------------------------------


def answer_object(text: str = "Hello.", model: str = "one") -> dict[str, Any]:
    """A chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": None}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def response(status: str, body: bytes | str = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole response with a Content-Length. `status` is like `503 Service Unavailable`."""
    payload = body.encode() if isinstance(body, str) else body
    fields = {"content-type": "application/json", "content-length": str(len(payload)), **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + payload


def document(text: str = "Hello.", headers: Mapping[str, str] | None = None) -> bytes:
    """A good answer of one document."""
    return response("200 OK", json.dumps(answer_object(text)), headers)


def refusal(status: str, message: str = "no", headers: Mapping[str, str] | None = None) -> bytes:
    """An error response in the OpenAI shape."""
    error = {"error": {"message": message, "type": "t", "param": None, "code": "c"}}
    return response(status, json.dumps(error), headers)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: Mapping[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "one", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps({**body, **fields}).encode()


ROLE = event({"role": "assistant", "content": ""})
FINISH = event({}, "stop")
USAGE = (
    b'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}\n\n'
)


def say(text: str) -> bytes:
    """An event with content."""
    return event({"content": text})


def stream_events(*texts: str) -> list[bytes]:
    """The events of a good stream."""
    return [ROLE, *(say(text) for text in texts), FINISH, USAGE, DONE]


def stream(*texts: str) -> tuple[bytes, ...]:
    """A good stream: the head, one chunk for each event, the end."""
    return (STREAM_HEAD, *(chunk(data) for data in stream_events(*texts)), LAST_CHUNK)
