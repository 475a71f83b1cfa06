"""The control pipe between the supervisor and a child: length-prefixed frames over a socket pair.

The first frame, downwards, is the pickled `ChildBoot`; every other frame, either way, is a msgpack map with a "type".
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any

import msgspec

from plano.workers.boot import ChildBoot

Message = dict[str, Any]

MAX_FRAME_BYTES = 64 * 1024 * 1024
_HEADER = struct.Struct("!I")
_unpack = msgspec.msgpack.Decoder(Message).decode


class FrameError(Exception):
    """The other end of the pipe sent something that is no frame, or went away in the middle of one."""


def encode_boot(boot: ChildBoot) -> bytes:
    """The first frame of a pipe."""
    return _frame(pickle.dumps(boot, protocol=pickle.HIGHEST_PROTOCOL))


def encode_message(message: Message) -> bytes:
    """Any later frame."""
    return _frame(msgspec.msgpack.encode(message))


def _frame(payload: bytes) -> bytes:
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {len(payload)} bytes is above the bound of {MAX_FRAME_BYTES}")
    return _HEADER.pack(len(payload)) + payload


def read_boot(pipe: socket.socket) -> ChildBoot:
    """Reads the boot frame from a blocking socket, and not a byte more.

    Raises FrameError when the pipe ends early or holds something else.
    """
    (length,) = _HEADER.unpack(_read_exactly(pipe, _HEADER.size))
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"boot frame of {length} bytes")
    boot = pickle.loads(_read_exactly(pipe, length))  # noqa: S301 - the pipe is an anonymous pair made by our own parent
    if not isinstance(boot, ChildBoot):
        raise FrameError(f"boot frame holds {type(boot).__name__}")
    return boot


def _read_exactly(pipe: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        piece = pipe.recv(min(length - len(received), 1 << 20))
        if not piece:
            raise FrameError("the supervisor went away before it had sent the boot frame")
        received += piece
    return bytes(received)


class FrameDecoder:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises FrameError for what is no message."""
        self._buffer += data
        messages: list[Message] = []
        while len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"frame of {length} bytes")
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            messages.append(_decode(bytes(self._buffer[_HEADER.size : end])))
            del self._buffer[:end]
        return messages


def _decode(payload: bytes) -> Message:
    try:
        message = _unpack(payload)
    except (ValueError, TypeError, RecursionError) as error:
        raise FrameError(f"not a msgpack map: {error}") from error
    if not isinstance(message.get("type"), str):
        raise FrameError("a message is a map with a type")
    return message


class PipeProtocol(asyncio.Protocol):
    """Either end of the pipe on an event loop.

    `on_message` gets every message; `on_closed` is called once, with what was wrong with the peer's bytes or None.
    """

    def __init__(self, on_message: Callable[[Message], None], on_closed: Callable[[FrameError | None], None]) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._decoder = FrameDecoder()
        self._transport: asyncio.WriteTransport | None = None
        self._failure: FrameError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports do not inherit from asyncio's

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._decoder.feed(data)
        except FrameError as error:
            self._failure = error
            self.close()
            return
        for message in messages:
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_closed(self._failure)

    def send(self, frame: bytes) -> None:
        """Queues a frame; after the pipe has closed it is dropped, for then the process at the other end is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    async def flush(self) -> None:
        """Returns when the kernel has everything that was sent, or the pipe has closed."""
        while self._transport is not None and self._transport.get_write_buffer_size():  # noqa: ASYNC110
            await asyncio.sleep(0)  # transports have no event for this

    def close(self) -> None:
        """Closes this end."""
        if self._transport is not None:
            self._transport.close()
