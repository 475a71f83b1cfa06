"""A client on a raw socket, and a strict reader of responses: what no HTTP library would send or forgive."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 10.0


@dataclass(slots=True)
class Response:
    """A response; `body` without chunk framing, `chunks` the pieces of a chunked one."""

    status: int
    version: str
    headers: list[tuple[str, str]]
    body: bytes
    chunks: list[bytes]
    complete: bool  # False: the connection ended before the body did

    def header(self, name: str) -> str | None:
        """The only value of a header; None when it is absent."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object, checked to be of the OpenAI shape."""
        error: dict[str, Any] = self.json["error"]
        assert {"message", "type", "param", "code"} <= set(error)
        assert isinstance(error["message"], str)
        assert isinstance(error["type"], str)
        return error

    @property
    def events(self) -> list[bytes]:
        """The data of the events of a stream, which must be whole."""
        assert self.body.endswith(b"\n\n"), self.body[-200:]
        return [
            line[5:].strip()
            for block in self.body.replace(b"\r\n", b"\n").split(b"\n\n")
            for line in block.split(b"\n")
            if line.startswith(b"data:")
        ]

    @property
    def text(self) -> str:
        """The content of a stream's deltas, put together."""
        deltas = [json.loads(data) for data in self.events if data != b"[DONE]"]
        return "".join(choice["delta"].get("content") or "" for delta in deltas for choice in delta.get("choices", ()))


class Client:
    """One connection. Everything has a deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._data = b""

    @classmethod
    async def connect(cls, port: int, *, receive_buffer_bytes: int | None = None) -> Client:
        sock = socket.socket()
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(sock)

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def recv(self, limit: int = 1 << 20) -> bytes:
        """What one read from the socket gives; b"" at the end of the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            return await asyncio.get_running_loop().sock_recv(self._socket, limit)

    async def read_until(self, end: bytes) -> bytes:
        """Everything up to and including `end`; the rest stays for the next read."""
        while end not in self._data:
            data = await self.recv()
            assert data, f"the connection ended before {end!r}: {self._data!r}"
            self._data += data
        found, _, self._data = self._data.partition(end)
        return found + end

    async def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes, fewer if the connection ends."""
        pieces = [self._data]
        have = len(self._data)
        while have < size:
            data = await self.recv()
            if not data:
                break
            pieces.append(data)
            have += len(data)
        whole = b"".join(pieces)
        self._data = whole[size:]
        return whole[:size]

    async def read_to_end(self) -> bytes:
        """Everything until the gateway closes; a reset counts as an end."""
        data, self._data = self._data, b""
        try:
            while more := await self.recv():
                data += more
        except ConnectionResetError:
            pass
        return data

    async def closed(self) -> bool:
        """Wait for the end of the connection. True when nothing came before it."""
        return await self.read_to_end() == b""

    async def read_head(self) -> tuple[int, str, list[tuple[str, str]]]:
        """Status, version and headers of the next response."""
        line, *lines = (await self.read_until(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        headers = []
        for text in lines:
            name, separator, value = text.partition(": ")
            assert separator, f"not a header: {text!r}"
            assert name == name.strip(), text
            headers.append((name.lower(), value))
        return int(status), version, headers

    async def read_response(self, *, head_only: bool = False) -> Response:
        """The next response, read strictly. `head_only` for the answer to HEAD."""
        status, version, headers = await self.read_head()
        return await self.read_body(status, version, headers, head_only=head_only)

    async def read_body(
        self, status: int, version: str, headers: list[tuple[str, str]], *, head_only: bool = False
    ) -> Response:
        """The rest of a response whose head has been read."""
        fields = dict(headers)
        assert len(headers) == len(fields), f"a header twice: {headers}"
        response = Response(status, version, headers, b"", [], True)
        if head_only or status == 204 or status < 200:
            return response
        if "transfer-encoding" in fields:
            assert fields["transfer-encoding"] == "chunked"
            assert "content-length" not in fields
            response.complete = await self._read_chunks(response)
        elif "content-length" in fields:
            size = int(fields["content-length"])
            response.body = await self.read_exactly(size)
            response.complete = len(response.body) == size
        else:
            assert fields["connection"] == "close"
            response.body = await self.read_to_end()
        return response

    async def read_chunk(self) -> bytes:
        """The next chunk of a chunked body, b"" for the last one."""
        size = int(await self.read_until(b"\r\n"), 16)
        data = await self.read_exactly(size + 2)
        assert data[-2:] == b"\r\n"
        assert len(data) == size + 2
        return data[:-2]

    def close(self) -> None:
        self._socket.close()

    def stop_sending(self) -> None:
        """Close this end's half of the connection."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leave with a RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def _read_chunks(self, response: Response) -> bool:
        try:
            while piece := await self.read_chunk():
                response.chunks.append(piece)
        except (AssertionError, ConnectionResetError):
            return False
        finally:
            response.body = b"".join(response.chunks)
        return True


def render_request(
    body: bytes | None = None,
    *lines: str,
    method: str = "POST",
    target: str = "/v1/chat/completions",
    version: str = "1.1",
    host: str | None = "gateway",
) -> bytes:
    """The bytes of a request; with a `body` its Content-Length is added."""
    head = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        head.append(f"Host: {host}")
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1") + (body or b"")


def chat_body(model: str | None = "test/one", *, stream: bool = False, **fields: Any) -> bytes:
    """The body of a chat completion request. A stream asks for its usage, so that it passes as it is."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hi."}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= fields
    return json.dumps(body).encode()


def chat_request(model: str | None = "test/one", *lines: str, stream: bool = False, **fields: Any) -> bytes:
    """A chat completion request; `lines` are further header lines."""
    return render_request(chat_body(model, stream=stream, **fields), *lines)


def encode_chunks(data: bytes, size: int, *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """`data` as a chunked body."""
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    framed = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return framed + b"0\r\n" + trailers + b"\r\n"


def chunked_request(data: bytes, size: int = 7, *lines: str, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """A chat completion request with a chunked body."""
    head = render_request(None, "Transfer-Encoding: chunked", "Content-Type: application/json", *lines)
    return head + encode_chunks(data, size, extension=extension, trailers=trailers)
