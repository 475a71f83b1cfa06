"""The inference process's side of the wire: takes calls off a ROUTER, queues them by role, answers what engines say.

    frame -> Call -> Ticket in its role's lane -> engine.submit, with all that waits -> Ticket ends -> frame

Everything happens on one event loop. Whatever comes in is answered or counted; nothing of it ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import zmq
from zmq.auth.asyncio import AsyncioAuthenticator

from plano.config.plan import CurvePlan
from plano.inference.binding import BindRefused, bind
from plano.inference.engines.engine import Engine, EngineError
from plano.inference.figures import ServerFigures
from plano.inference.keeper import KEEPER_POLICY, EngineKeeper, KeeperPolicy
from plano.inference.lanes import DRAINING, Lane, Peer, Ticket
from plano.inference.sockets import NOBLOCK, NOBLOCK_MORE, Monitor, Reader, is_readable
from plano.inference.wheel import DeadlineWheel
from plano.inference.wire import (
    PEER_SILENCE_S,
    UNASKED,
    Call,
    Cancel,
    Malformed,
    RoleHealth,
    Status,
    pack_answer,
    pack_health,
    unpack_request,
)

__all__ = ["BindRefused", "EngineSlot", "InferenceServer"]

log = logging.getLogger(__name__)

MESSAGES_PER_TURN: Final = 64  # of the event loop: then engines, timers and everybody else have theirs
SWEEP_SHARE: Final = 0.1  # of the silence that is borne, from one look for the silent to the next
CLOSE_LINGER_MS: Final = 200
COMPLAIN_EVERY_S: Final = 10.0
_HANDSHAKES_FAILED: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class EngineSlot(NamedTuple):
    """How a role is served. `make` may raise EngineError; it is called again after every failure. `queue` calls wait at
    most; `concurrency` are in the engine at once (None: what the engine wants)."""

    make: Callable[[], Engine]
    queue: int = 1_024
    concurrency: int | None = None


class InferenceServer:
    """Serves roles on `addresses` (`ipc://`, or `tcp://`, encrypted when there is a `curve`).

        server = InferenceServer({"guard": EngineSlot(make_guard)}, ("ipc:///run/plano/inference",))
        await server.start()        # listens, begins to load; BindRefused
        await server.loaded()       # EngineError when fatal_start and an engine does not start
        await server.drain(30.0)
        await server.close()

    Engines of one kind start one after the other (see `EngineKeeper`). `figures` are its numbers.
    """

    def __init__(
        self,
        engines: Mapping[str, EngineSlot],
        addresses: Sequence[str],
        curve: CurvePlan | None = None,
        *,
        fatal_start: bool = False,
        policy: KeeperPolicy = KEEPER_POLICY,
        peer_silence_s: float = PEER_SILENCE_S,
    ) -> None:
        self.addresses: tuple[str, ...] = ()
        self._slots = dict(engines)
        self._wanted_addresses = tuple(addresses)
        self._curve = curve
        self._fatal_start = fatal_start
        self._policy = policy
        self._peer_silence_s = peer_silence_s
        self._lanes = {
            role: Lane(
                role, slot.queue, slot.concurrency, time.monotonic, self._answer, self._dispatch_soon, self._tell_health
            )
            for role, slot in self._slots.items()
        }
        self._peers: dict[bytes, Peer] = {}
        self._due: list[Lane] = []  # lanes that have calls to hand over
        self._draining_socket = False
        self._faults: Counter[str] = Counter()
        self._refused_peers = 0
        self._undelivered = 0
        self._lost_peers = 0
        self._unknown_role = 0
        self._complained_s = float("-inf")
        self._keepers: list[EngineKeeper] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event | None = None
        self._authenticator: AsyncioAuthenticator | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._closed = False

    async def start(self) -> None:
        """Listen, and begin to load the engines. `addresses` then are the real ones, ports filled in. Raises
        BindRefused."""
        self._loop = asyncio.get_running_loop()
        self._wheel: DeadlineWheel[Ticket] = DeadlineWheel(self._loop, self._expire)
        self._context = context = zmq.Context(io_threads=1)
        self._socket = context.socket(zmq.ROUTER)
        # The bare methods: pyzmq's own do the same after looking at options that are never given here.
        self._send = super(zmq.Socket, self._socket).send
        self._receive = super(zmq.Socket, self._socket).recv
        try:
            self.addresses, self._authenticator = bind(self._socket, context, self._wanted_addresses, self._curve)
        except BaseException:
            self._close_sockets()
            self._closed = True
            raise
        self._reader = Reader(self._loop, self._socket, self._drain)
        self._monitor = Monitor(self._loop, self._socket, _HANDSHAKES_FAILED, self._notice_refusal)
        self._sweeper = self._loop.call_later(self._peer_silence_s * SWEEP_SHARE, self._sweep)
        loading: dict[str, asyncio.Lock] = {}
        for role, slot in self._slots.items():
            keeper = EngineKeeper(self._lanes[role], slot.make, loading, self._policy)
            self._keepers.append(keeper)
            self._tasks.append(asyncio.create_task(keeper.run(), name=f"engine of {role}"))

    async def loaded(self) -> None:
        """Returns when every engine has started, or failed to: such a one is tried again for ever, unless
        `fatal_start`: then raises EngineError, with the role in its message, as soon as one fails."""
        for role, keeper in zip(self._slots, self._keepers, strict=True):
            cause = await asyncio.shield(keeper.first_start)
            if cause is not None and self._fatal_start:
                raise EngineError(f"{role}: {cause}") from cause

    async def drain(self, timeout_s: float) -> None:
        """Take no more calls (callers turn to another replica), and wait for those under way."""
        for lane in self._lanes.values():
            lane.set_state(DRAINING)
        self._drained = asyncio.Event()
        if self._busy():
            with contextlib.suppress(TimeoutError):  # what is left is answered by `close`
                async with asyncio.timeout(timeout_s):
                    await self._drained.wait()

    async def close(self) -> None:
        """End everything; what is under way is answered with UNAVAILABLE. May be called twice."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._sweeper is None:  # never started
            return
        for lane in self._lanes.values():
            lane.close("the server ends")
        self._sweeper.cancel()
        self._wheel.close()
        self._reader.close()
        self._monitor.close()
        # For the last answers; a caller that is not there any more does not hold us up for long.
        self._socket.setsockopt(zmq.LINGER, CLOSE_LINGER_MS)
        self._close_sockets()

    def figures(self) -> ServerFigures:
        """The numbers, as plain data (msgpack and JSON take it)."""
        return {
            "roles": {role: lane.figures() for role, lane in self._lanes.items()},
            "peers": len(self._peers),
            "faults": dict(self._faults),
            "refused_peers": self._refused_peers,
            "undelivered": self._undelivered,
            "lost_peers": self._lost_peers,
            "unknown_role": self._unknown_role,
        }

    def _busy(self) -> bool:
        return any(lane.waiting or lane.running for lane in self._lanes.values())

    def _close_sockets(self) -> None:
        if self._authenticator is not None:
            self._authenticator.stop()
        if self._context is not None:
            self._context.destroy()

    def _drain(self) -> bool:
        """Read until nothing is left (see `sockets.Reader`), handing over to the engines in between."""
        taken = 0
        more = True
        self._draining_socket = True
        try:
            while more:
                more, count = self._take_waiting(MESSAGES_PER_TURN - taken)
                taken += count
                self._dispatch()
                if more and taken >= MESSAGES_PER_TURN:
                    return True
                # Answers were sent, and sending may have swallowed the news of an arrival.
                more = more or is_readable(self._socket)
        finally:
            self._draining_socket = False
            if self._due:
                self._loop.call_soon(self._dispatch)
        return False

    def _take_waiting(self, most: int) -> tuple[bool, int]:
        """Take up to `most` messages; whether there may be more, and how many they were."""
        now_s = time.monotonic()
        receive = self._receive
        count = 0
        try:
            while count < most:
                # One call is the rule, and asking for the next is cheaper than the exception; two are often many.
                if count == 1 and not is_readable(self._socket):
                    return False, count
                identity = receive(NOBLOCK)
                frame = receive(NOBLOCK, False)
                count += 1
                if frame.more:
                    while receive(NOBLOCK, False).more:
                        pass
                    self._refuse(identity, Malformed("a message has one part", fault="parts"))
                else:
                    self._take(identity, frame.bytes, now_s)
        except zmq.Again:
            return False, count
        return True, count

    def _take(self, identity: bytes, frame: bytes, now_s: float) -> None:
        peer = self._peers.get(identity)
        if peer is None:
            peer = self._peers[identity] = Peer(identity, now_s)
        peer.heard_s = now_s
        try:
            message = unpack_request(frame)
        except Malformed as error:
            self._refuse(identity, error)
            return
        if isinstance(message, Call):
            self._take_call(peer, message, now_s)
        elif isinstance(message, Cancel):
            ticket = peer.calls.get(message.id)
            if ticket is not None:
                ticket.cancel(Status.CANCELLED)
        else:
            self._send_frame(peer, pack_health(message.id, self._health()))

    def _health(self) -> dict[str, RoleHealth]:
        return {role: lane.health() for role, lane in self._lanes.items()}

    def _tell_health(self) -> None:
        """A role's state has changed: callers are told at once, not when they ask the next time, for until then they
        would do without a role that is there, or wait for one that is not."""
        if self._closed:
            return
        frame = pack_health(UNASKED, self._health())
        for peer in list(self._peers.values()):
            self._send_frame(peer, frame)

    def _take_call(self, peer: Peer, call: Call, now_s: float) -> None:
        lane = self._lanes.get(call.role)
        if lane is None:
            self._unknown_role += 1
            message = f"no engine serves the role {call.role!r} here"
            self._send_frame(peer, pack_answer(call.id, Status.UNAVAILABLE, 0, 0, message))
            return
        if call.id in peer.calls:
            self._refuse(peer.identity, Malformed("this id is in use", id=None, fault="duplicate"))
            return
        deadline_s = now_s + call.deadline_ms / 1_000
        ticket = Ticket(lane, peer, call.id, call.body, now_s, deadline_s, call.traceparent)
        peer.calls[call.id] = ticket
        lane.offer(ticket)
        if not ticket.ended:
            ticket.slot = self._wheel.add(ticket, deadline_s, now_s)
            if not lane.due:
                self._dispatch_soon(lane)

    def _dispatch_soon(self, lane: Lane) -> None:
        if not lane.due:
            lane.due = True
            self._due.append(lane)
            if not self._draining_socket and len(self._due) == 1:
                self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Hand over what waits. Engines that answer at once make room for more: at most that once in a turn."""
        due, self._due = self._due, []
        for lane in due:
            lane.due = False
            lane.dispatch()

    def _answer(self, ticket: Ticket, status: Status, queue_us: int, compute_us: int, body: Any) -> None:
        peer = ticket.peer
        peer.calls.pop(ticket.id, None)
        if ticket.slot:
            self._wheel.discard(ticket, ticket.slot)
        if self._drained is not None and not self._busy():
            self._drained.set()
        if peer.gone or status is Status.CANCELLED:
            return
        try:
            frame = pack_answer(ticket.id, status, queue_us, compute_us, body)
        except Malformed as error:
            log.error("%s: an answer of %s %s", ticket.lane.role, ticket.lane.engine_name, error)
            message = f"{ticket.lane.role}: the engine's answer {error}"[:500]
            frame = pack_answer(ticket.id, Status.FAILED, queue_us, compute_us, message)
        self._send_frame(peer, frame)

    def _send_frame(self, peer: Peer, frame: bytes) -> None:
        """Send, or count why not. Never waits."""
        try:
            self._send(peer.identity, NOBLOCK_MORE)
            self._send(frame, NOBLOCK)
        except zmq.Again:
            self._undelivered += 1  # it does not read its answers
        except zmq.ZMQError as error:
            self._undelivered += 1
            if error.errno == zmq.EHOSTUNREACH:
                self._forget(peer)
            elif error.errno != zmq.ENOTSOCK:  # closing
                raise
        if not self._draining_socket and not self._closed:
            self._reader.look_soon()

    def _refuse(self, identity: bytes, error: Malformed) -> None:
        self._faults[error.fault] += 1
        self._complain("a frame that is no message (%d so far): %s", self._faults.total(), error)
        peer = self._peers.get(identity)
        if peer is None:  # its identity is known by now, unless what it sent had several parts
            peer = self._peers[identity] = Peer(identity, time.monotonic())
        self._send_frame(peer, pack_answer(error.id or 0, error.status, 0, 0, str(error)))

    def _expire(self, ticket: Ticket) -> None:
        if ticket.started_s == 0.0:
            ticket.fail(Status.EXPIRED, "the deadline passed in the queue")
        else:
            ticket.cancel(Status.EXPIRED)

    def _sweep(self) -> None:
        """Forget the callers that have vanished: nobody waits for what they asked."""
        self._sweeper = self._loop.call_later(self._peer_silence_s * SWEEP_SHARE, self._sweep)
        oldest_s = time.monotonic() - self._peer_silence_s
        for peer in [peer for peer in self._peers.values() if peer.heard_s < oldest_s]:
            self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        if peer.gone:
            return
        peer.gone = True
        self._peers.pop(peer.identity, None)
        if peer.calls:
            self._lost_peers += 1
        for ticket in list(peer.calls.values()):
            ticket.cancel(Status.CANCELLED)

    def _notice_refusal(self, event: int, value: int) -> None:
        self._refused_peers += 1
        self._complain("a caller without the right keys (%d so far)", self._refused_peers)

    def _complain(self, message: str, *arguments: object) -> None:
        now_s = time.monotonic()
        if now_s - self._complained_s >= COMPLAIN_EVERY_S:
            self._complained_s = now_s
            log.warning(message, *arguments)
