"""One inference process as a frontend sees it: a DEALER, what is outstanding there, and whether it is alive."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import zmq

from plano.config.plan import CurvePlan
from plano.inference.figures import ReplicaFigures
from plano.inference.sockets import (
    NOBLOCK,
    Monitor,
    Reader,
    is_readable,
    is_writable,
    set_bounds,
    set_client_keys,
    set_family,
    set_keepalive,
)
from plano.inference.wire import Answer, Health, Malformed, RoleHealth, pack_cancel, pack_probe, unpack_reply

if TYPE_CHECKING:
    from plano.inference.client import PendingCall

log = logging.getLogger(__name__)

READY: Final = "ready"
MESSAGES_PER_TURN: Final = 128
PROBE_AGAIN_S: Final = 2.0  # a replica that does not answer is asked again this often
_CONNECTIONS: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_REFUSED: Final = "the handshake fails: the CURVE keys of both sides do not fit together"


class Replica:
    """See the module. `answered` is told of answers to calls in `outstanding`, `changed` when the replica has come to
    life, has died, or says something new about its roles."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        curve: CurvePlan | None,
        next_id: Callable[[], int],
        answered: Callable[[Replica, PendingCall, Answer], None],
        changed: Callable[[Replica], None],
    ) -> None:
        self.address = address
        self.outstanding: dict[int, PendingCall] = {}
        self.alive = False
        self.connected = False
        self.ever_alive = False
        self.leaving = False  # no new calls; closed when nothing is outstanding
        self.roles: dict[str, RoleHealth] = {}
        self.others = 0  # calls that others had there when it last told its health
        self.cause = "not connected yet"
        self.late = 0
        self.faults = 0
        self._loop = loop
        self._next_id = next_id
        self._answered = answered
        self._changed = changed
        self._heard_s = time.monotonic()
        self._asked = False  # it has been probed since it last said anything
        self._probed_s = float("-inf")
        self._reading = False
        self._socket = context.socket(zmq.DEALER)
        set_bounds(self._socket)
        # Nothing is queued for a connection that does not exist, and what is queued dies with the connection.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        if address.startswith("tcp://"):
            set_family(self._socket, address)
            set_keepalive(self._socket)
            if curve is not None:
                set_client_keys(self._socket, curve)
        # The bare methods: pyzmq's own do the same after looking at options that are never given here.
        self._send = super(zmq.Socket, self._socket).send
        self._receive = super(zmq.Socket, self._socket).recv
        self._reader = Reader(loop, self._socket, self._drain)
        self._monitor = Monitor(loop, self._socket, _CONNECTIONS, self._notice)
        self._socket.connect(address)

    def serves(self, role: str) -> bool:
        health = self.roles.get(role)
        return self.alive and not self.leaving and health is not None and health[0] == READY

    def load(self) -> int:
        """Calls that wait or run there: ours, and what is known of others'."""
        return len(self.outstanding) + self.others

    def send(self, frame: bytes) -> bool:
        """Whether the frame is on its way. Never waits."""
        try:
            self._send(frame, NOBLOCK)
        except zmq.Again:
            try:
                if not is_writable(self._socket):
                    return False
                self._send(frame, NOBLOCK)
            except zmq.Again:
                return False
        if not self._reading:
            self._reader.look_soon()
        return True

    def cancel(self, id: int) -> None:
        """Tell the server that nobody waits for this call any more, if it can be told."""
        self.outstanding.pop(id, None)
        if self.connected:
            self.send(pack_cancel(id))

    def probe(self, now_s: float, silence_s: float) -> None:
        """Ask how it is, and declare it dead when it has been asked and has not said anything for `silence_s`. To be
        called a few times in `silence_s`."""
        if not self.connected:
            return
        if self.alive and self._asked and now_s - self._heard_s >= silence_s:
            all_read = not self._drain()  # it is not to blame for what we have not read
            if self._socket.closed:
                return
            if all_read and self._asked:
                self.die(f"silent for {now_s - self._heard_s:.2f} s")
        if not self._asked or now_s - self._probed_s >= PROBE_AGAIN_S:
            self._ask(now_s)

    def die(self, cause: str) -> None:
        """No calls go there until it says something. The client takes care of what is outstanding."""
        self.cause = cause
        if self.alive:
            self.alive = False
            log.warning("inference at %s: %s", self.address, cause)
            self._changed(self)

    def close(self) -> None:
        self._reader.close()
        self._monitor.close()
        self._socket.close(linger=0)

    def figures(self) -> ReplicaFigures:
        roles = {role: health[0] for role, health in self.roles.items()}
        cause = "" if self.alive else self.cause
        return ReplicaFigures(self.address, self.alive, len(self.outstanding), self.others, roles, cause)

    def _ask(self, now_s: float) -> None:
        if not self._socket.closed and self.send(pack_probe(self._next_id())):
            self._probed_s = now_s
            self._asked = True

    def _drain(self) -> bool:
        """See `sockets.Reader`."""
        receive = self._receive
        self._reading = True
        try:
            for count in range(MESSAGES_PER_TURN):
                frame = receive(NOBLOCK)
                if count == 0:
                    self._heard_s = time.monotonic()
                    self._asked = False
                self._take(frame)
                # Whoever was answered may have closed the client. One answer is the rule, and asking for the next is
                # cheaper than the exception; where there are two there are many.
                if self._socket.closed or (count == 0 and not is_readable(self._socket)):
                    return False
        except zmq.Again:
            return False
        finally:
            self._reading = False
        return True

    def _take(self, frame: bytes) -> None:
        try:
            message = unpack_reply(frame)
        except Malformed as error:
            self._take_fault(error)
            return
        if isinstance(message, Answer):
            call = self.outstanding.pop(message.id, None)
            if call is None:
                self.late += 1
            else:
                self._answered(self, call, message)
        else:
            self._take_health(message)

    def _take_fault(self, error: Malformed) -> None:
        self.faults += 1
        if self.faults.bit_count() == 1:
            log.warning("inference at %s: not a message (%d so far): %s", self.address, self.faults, error)

    def _take_health(self, health: Health) -> None:
        roles = health.roles
        self.others = max(0, sum(told[3] + told[4] for told in roles.values()) - self._count_older(health.id))
        states = {role: health[0] for role, health in roles.items()}
        news = not self.alive or states != {role: health[0] for role, health in self.roles.items()}
        self.roles = roles
        if not self.alive:
            log.log(logging.INFO if self.ever_alive else logging.DEBUG, "inference at %s: alive", self.address)
        self.alive = self.ever_alive = True
        if news:
            self._changed(self)

    def _count_older(self, id: int) -> int:
        """Our calls that were sent before the probe of this id: what it told of itself has them in it."""
        newer = 0
        for sent in reversed(self.outstanding):  # ids grow, and so does the order of a dict
            if sent < id:
                break
            newer += 1
        return len(self.outstanding) - newer

    def _notice(self, event: int, value: int) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.connected = True
            self._ask(time.monotonic())
        elif event == zmq.EVENT_DISCONNECTED:
            self.connected = False
            self.die("the connection ended")
        elif self.cause != _REFUSED:
            self.cause = _REFUSED
            log.warning("inference at %s: %s", self.address, self.cause)
