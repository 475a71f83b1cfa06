"""ZeroMQ sockets on an asyncio loop: readable by their file descriptor, watched by a monitor, with keys.

A ZeroMQ descriptor tells of *commands*, not of messages, and only once: it is readable until any call on the socket has
looked at them. So whoever wakes up reads until nothing is left, and whoever sends looks afterwards whether the call has
swallowed the news of an arrival (http://api.zeromq.org/4-3:zmq-getsockopt, ZMQ_FD).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from plano.config.keys import check_key
from plano.config.plan import CurvePlan
from plano.inference.wire import MAX_FRAME_BYTES

# Frames a little too large are answered; larger ones end the connection before they fill the memory.
MAX_RECEIVED_BYTES: Final = MAX_FRAME_BYTES + 1024 * 1024
QUEUED_FRAMES: Final = 8_192  # per peer and direction
HEARTBEAT_MS: Final = 5_000
HEARTBEAT_TIMEOUT_MS: Final = 15_000
ZAP_DOMAIN: Final = b"plano"
# As plain integers: arithmetic with pyzmq's flags costs a microsecond each time.
NOBLOCK: Final = int(zmq.NOBLOCK)
NOBLOCK_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)


def is_readable(socket: zmq.Socket[bytes]) -> bool:
    """Looks at the commands that have come, so that it is true and the descriptor silent, or both tell of the next."""
    return int(socket.getsockopt(zmq.EVENTS)) & _POLLIN != 0


def is_writable(socket: zmq.Socket[bytes]) -> bool:
    """Like `is_readable`. libzmq hears of new room late when it is only asked to send."""
    return int(socket.getsockopt(zmq.EVENTS)) & _POLLOUT != 0


class Reader:
    """Calls `drain` whenever there may be something to read. `drain` reads until nothing is left, or answers True when
    it stops before: it is called again after the loop has seen to everybody else."""

    __slots__ = ("_drain", "_due", "_fd", "_loop", "_socket")

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: zmq.Socket[bytes], drain: Callable[[], bool]) -> None:
        self._loop = loop
        self._socket = socket
        self._drain = drain
        self._due = False
        self._fd = int(socket.getsockopt(zmq.FD))
        loop.add_reader(self._fd, self._wake)
        self.look_soon()

    def look_soon(self) -> None:
        """To be called after every send outside of `drain`."""
        if not self._due:
            self._due = True
            self._loop.call_soon(self._look)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        self._due = True  # what is scheduled finds a closed socket, and nothing is scheduled any more

    def _look(self) -> None:
        if self._socket.closed:
            return
        self._due = False
        if is_readable(self._socket):
            self._wake()

    def _wake(self) -> None:
        more = True  # also when it raises: what is left would be forgotten
        try:
            more = self._drain()
        finally:
            if more:
                self.look_soon()


class Monitor:
    """Tells of a socket's connections: `notice(event, value)` with events of libzmq (`zmq.Event`)."""

    __slots__ = ("_notice", "_reader", "_socket", "_watched")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        socket: zmq.Socket[bytes],
        events: int,
        notice: Callable[[int, int], None],
    ) -> None:
        self._watched = socket
        self._notice = notice
        self._socket = socket.get_monitor_socket(events)
        self._reader = Reader(loop, self._socket, self._take)

    def close(self) -> None:
        """Before the watched socket is closed."""
        self._reader.close()
        self._watched.disable_monitor()
        self._socket.close(linger=0)

    def _take(self) -> bool:
        while not self._socket.closed:
            try:
                frames = self._socket.recv_multipart(NOBLOCK)
            except zmq.Again:
                return False
            event: dict[str, Any] = dict(parse_monitor_message(frames))
            self._notice(int(event["event"]), int(event["value"]))
        return False


def set_bounds(socket: zmq.Socket[bytes]) -> None:
    """Bounds on what may wait and on what a peer may send, for both sides."""
    socket.setsockopt(zmq.SNDHWM, QUEUED_FRAMES)
    socket.setsockopt(zmq.RCVHWM, QUEUED_FRAMES)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_RECEIVED_BYTES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)


def set_family(socket: zmq.Socket[bytes], address: str) -> None:
    """For the next connect or bind: IPv6 where the address is one, both for a wildcard."""
    socket.setsockopt(zmq.IPV6, int(address.startswith(("tcp://[", "tcp://*"))))


def set_keepalive(socket: zmq.Socket[bytes]) -> None:
    """A machine that vanished without a word is noticed; for TCP, where that happens."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)


def set_server_keys(socket: zmq.Socket[bytes], curve: CurvePlan) -> None:
    """Connections bound from now on are encrypted. Raises ValueError for keys that are none."""
    _check_pair(curve)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, curve.secret_key.encode())
    if curve.client_public_keys:
        socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)


def set_client_keys(socket: zmq.Socket[bytes], curve: CurvePlan) -> None:
    """Raises ValueError for keys that are none, and without the server's."""
    server_key = checked_server_key(curve)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.public_key.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, curve.secret_key.encode())
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_key)


def checked_server_key(curve: CurvePlan) -> bytes:
    """What a caller needs to know of the server. Raises ValueError for keys that are none, its own included."""
    if not curve.server_public_key:
        raise ValueError("the public key of the inference process is missing (curve.server_public_key)")
    _check_pair(curve)
    return check_key(curve.server_public_key).encode()


def _check_pair(curve: CurvePlan) -> None:
    secret = check_key(curve.secret_key)
    if zmq.curve_public(secret.encode()) != check_key(curve.public_key).encode():
        raise ValueError("the CURVE public key does not belong to the secret key (`plano-cluster keys` makes a pair)")
