"""The frontends' side of the wire: one DEALER per replica, power of two choices, deadlines, cancel.

No task and no future per call: `done` is called once, on the event loop, with the outcome. A call that its replica
cannot serve (overloaded, not available, dead) is sent to a second one while its time allows, never to a third: a call
that kills a server must not walk through all of them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import zmq

from plano.config.plan import CurvePlan
from plano.inference.figures import ClientFigures
from plano.inference.places import look_up, split_addresses
from plano.inference.replicas import Replica
from plano.inference.sockets import checked_server_key
from plano.inference.wheel import DeadlineWheel
from plano.inference.wire import MAX_DEADLINE_MS, Answer, Malformed, Status, pack_call

Json = dict[str, Any]

log = logging.getLogger(__name__)

MOST_SENDS: Final = 2
_SECOND_CHANCE: Final = (Status.OVERLOADED, Status.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """Seconds, but for `outstanding`: that many calls are under way at one replica at most.

    A replica that says nothing for `silence_s` although it is asked every `probe_s` is dead until it does. Calls of a
    client younger than `connect_s` wait for the first replica to answer. Names are looked up every `lookup_s`; after
    `lookup_timeout_s` without an answer the last one holds.
    """

    probe_s: float = 0.25
    silence_s: float = 0.7
    connect_s: float = 1.0
    lookup_s: float = 30.0
    lookup_timeout_s: float = 5.0
    outstanding: int = 4_096


WATCH_POLICY: Final = WatchPolicy()


class Outcome(NamedTuple):
    """How a call ended. `body` is what the role's `unpack` reads (OK only), `message` says why there is none."""

    status: Status
    body: Any
    message: str
    queue_us: int
    compute_us: int


class PendingCall:
    """A call under way."""

    __slots__ = ("_client", "body", "deadline_s", "done", "id", "replica", "role", "sends", "slot", "traceparent")

    def __init__(
        self,
        client: InferenceClient,
        role: str,
        body: Json,
        deadline_s: float,
        traceparent: bytes,
        done: Callable[[Outcome], None],
    ) -> None:
        self._client = client
        self.role = role
        self.body = body
        self.deadline_s = deadline_s
        self.traceparent = traceparent
        self.done: Callable[[Outcome], None] | None = done  # None when it has ended
        self.id = 0
        self.replica: Replica | None = None
        self.sends = 0
        self.slot = 0

    def cancel(self) -> None:
        """Nobody waits any more: `done` will not be called, and the server is told to stop working on it."""
        if self.done is not None:
            self._client.abandon(self)


class InferenceClient:
    """Calls the roles of one or more replicas.

    `addresses` are `ipc://PATH` or `tcp://HOST:PORT`; a host name stands for all its addresses and is looked up again
    every 30 s. Raises ValueError for other addresses and for keys that are none.
    """

    def __init__(
        self, addresses: tuple[str, ...], curve: CurvePlan | None = None, *, policy: WatchPolicy = WATCH_POLICY
    ) -> None:
        self._literal, self._names = split_addresses(addresses)
        self._curve = curve
        if curve is not None and any(address.startswith("tcp://") for address in addresses):
            checked_server_key(curve)
        self._policy = policy
        self._replicas: dict[str, Replica] = {}
        self._by_role: dict[str, list[Replica]] = {}
        self._unplaced: dict[PendingCall, None] = {}  # they wait for the first replica to answer
        self._found: dict[tuple[str, int], tuple[str, ...]] = {}
        self._questions: dict[tuple[str, int], asyncio.Task[tuple[str, ...]]] = {}  # names that are being looked up
        self._lookup_trouble: dict[tuple[str, int], str] = {}
        self._outcomes: dict[str, list[int]] = {}  # of a role, by status
        self._moved = 0
        self._late = 0
        self._faults = 0
        self._lookup_failures = 0
        self._next_id = itertools.count(1).__next__
        self._connecting = True
        self._running = False
        self._watchers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Connect, and begin to watch the replicas. Needs a running loop."""
        self._loop = asyncio.get_running_loop()
        self._wheel: DeadlineWheel[PendingCall] = DeadlineWheel(self._loop, self._expire)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._running = True
        self._follow(self._literal)
        self._probe_timer = self._loop.call_later(self._policy.probe_s, self._probe)
        self._connect_timer = self._loop.call_later(self._policy.connect_s, self._stop_waiting)
        self._watchers = [
            asyncio.create_task(self._watch_name(place), name=f"replicas of {place[0]}") for place in self._names
        ]

    async def close(self) -> None:
        """End what is under way (UNAVAILABLE) and close the sockets."""
        if not self._running:
            return
        self._running = False
        self._probe_timer.cancel()
        self._connect_timer.cancel()
        looking = [*self._watchers, *self._questions.values()]
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        for replica in self._replicas.values():
            for call in list(replica.outstanding.values()):
                replica.cancel(call.id)
                self._end_without(call, Status.UNAVAILABLE, "this process ends")
        for call in list(self._unplaced):
            self._end_without(call, Status.UNAVAILABLE, "this process ends")
        for replica in self._replicas.values():
            replica.close()
        self._replicas.clear()
        self._by_role.clear()
        self._wheel.close()
        self._context.destroy(linger=0)

    def call(
        self, role: str, body: Json, timeout_s: float, traceparent: bytes, done: Callable[[Outcome], None]
    ) -> PendingCall:
        """Ask a role. `done` is never called from within `call`, and at the latest after `timeout_s` (EXPIRED)."""
        now_s = time.monotonic()
        call = PendingCall(self, role, body, now_s + timeout_s, traceparent, done)
        if not self._running:
            asyncio.get_running_loop().call_soon(self._end_without, call, Status.UNAVAILABLE, "this process ends")
            return call
        status, message = self._place(call, now_s, None)
        if status is Status.OK:
            call.slot = self._wheel.add(call, call.deadline_s, now_s)
        elif status is Status.UNAVAILABLE and not self._by_role.get(role) and self._still_connecting():
            self._unplaced[call] = None
            call.slot = self._wheel.add(call, call.deadline_s, now_s)
        else:
            self._loop.call_soon(self._end_without, call, status, message)
        return call

    def abandon(self, call: PendingCall) -> None:
        """See `PendingCall.cancel`."""
        call.done = None
        self._wheel.discard(call, call.slot)
        self._unplaced.pop(call, None)
        if call.replica is not None and self._running:
            call.replica.cancel(call.id)
            self._retire(call.replica)

    def figures(self) -> ClientFigures:
        """The numbers, for metrics."""
        replicas = list(self._replicas.values())
        return ClientFigures(
            replicas=tuple(replica.figures() for replica in replicas),
            alive=sum(replica.alive for replica in replicas),
            outstanding=sum(len(replica.outstanding) for replica in replicas) + len(self._unplaced),
            ready={role: len(serving) for role, serving in self._by_role.items()},
            outcomes={
                (role, status.name.lower()): count
                for role, counts in self._outcomes.items()
                for status, count in zip(Status, counts, strict=True)
                if count
            },
            moved=self._moved,
            late=self._late + sum(replica.late for replica in replicas),
            faults=self._faults + sum(replica.faults for replica in replicas),
            lookup_failures=self._lookup_failures,
        )

    def _place(self, call: PendingCall, now_s: float, not_there: Replica | None) -> tuple[Status, str]:
        """Send a call to one of the replicas; OK, or why it cannot be."""
        serving = self._by_role.get(call.role)
        if not serving:
            return Status.UNAVAILABLE, self._why_nobody(call.role)
        replica = self._choose(serving, not_there)
        if replica is None:
            return Status.UNAVAILABLE, "no other replica is left"
        if len(replica.outstanding) >= self._policy.outstanding:
            return Status.OVERLOADED, f"{self._policy.outstanding} calls are under way at every replica"
        id = self._next_id()
        deadline_ms = min(max(int((call.deadline_s - now_s) * 1_000), 1), MAX_DEADLINE_MS)
        try:
            frame = pack_call(id, call.role, deadline_ms, call.traceparent, call.body)
        except Malformed as error:
            return error.status, str(error)
        if not replica.send(frame):
            return Status.OVERLOADED, f"{replica.address} takes nothing at the moment"
        call.id = id
        call.replica = replica
        call.sends += 1
        replica.outstanding[id] = call
        return Status.OK, ""

    def _choose(self, serving: list[Replica], not_there: Replica | None) -> Replica | None:
        """The less busy one of two drawn by lot (Mitzenmacher, "The power of two choices in randomized load
        balancing", 2001): as good as the least busy of all, without every frontend running to the same one. What other
        frontends have there is as old as the last probe."""
        if not_there is not None:
            serving = [replica for replica in serving if replica is not not_there]
        count = len(serving)
        if count < 2:
            return serving[0] if serving else None
        first = int(random.random() * count)
        second = int(random.random() * (count - 1))
        if second >= first:
            second += 1
        one, other = serving[first], serving[second]
        return one if one.load() <= other.load() else other

    def _why_nobody(self, role: str) -> str:
        if not self._replicas:
            return "no inference process is known"
        said = [
            replica.roles[role][0] for replica in self._replicas.values() if replica.alive and role in replica.roles
        ]
        if said:
            return f"{role}: {', '.join(sorted(set(said)))}"
        if any(replica.alive for replica in self._replicas.values()):
            return f"no inference process serves the role {role!r}"
        return "; ".join(f"{replica.address}: {replica.cause}" for replica in self._replicas.values())[:500]

    def _take_answer(self, replica: Replica, call: PendingCall, answer: Answer) -> None:
        _, status, queue_us, compute_us, body = answer
        if status is Status.OK:
            outcome = Outcome(status, body, "", queue_us, compute_us)
        elif status in _SECOND_CHANCE and self._move(call, replica):
            return
        else:
            outcome = Outcome(status, None, body, queue_us, compute_us)
        call.replica = None
        self._end(call, outcome)
        if replica.leaving:
            self._retire(replica)

    def _take_change(self, replica: Replica) -> None:
        """A replica has died, or has something new to say about its roles."""
        self._sort_by_role()
        if not replica.alive:
            self._evacuate(replica)
        elif self._unplaced:
            self._place_unplaced()
            if not self._still_connecting():
                self._stop_waiting()

    def _sort_by_role(self) -> None:
        roles = {role for replica in self._replicas.values() for role in replica.roles}
        self._by_role = {role: [one for one in self._replicas.values() if one.serves(role)] for role in roles}

    def _still_connecting(self) -> bool:
        """Whether a replica may yet answer for the first time."""
        if not self._connecting:
            return False
        unknown = len(self._found) < len(self._names)
        return unknown or any(not replica.ever_alive for replica in self._replicas.values())

    def _evacuate(self, replica: Replica) -> None:
        """Its calls go elsewhere while their time allows."""
        calls = list(replica.outstanding.values())
        for call in calls:
            replica.cancel(call.id)  # should it only be slow, it must not work for nobody
            if not self._move(call, replica):
                self._end_without(call, Status.UNAVAILABLE, f"{replica.address}: {replica.cause}")
        self._retire(replica)

    def _move(self, call: PendingCall, replica: Replica) -> bool:
        now_s = time.monotonic()
        if call.sends >= MOST_SENDS or call.deadline_s <= now_s:
            return False
        call.replica = None
        status, _ = self._place(call, now_s, replica)
        if status is not Status.OK:
            return False
        self._moved += 1
        return True

    def _place_unplaced(self) -> None:
        now_s = time.monotonic()
        for call in [call for call in self._unplaced if self._by_role.get(call.role)]:
            del self._unplaced[call]
            status, message = self._place(call, now_s, None)
            if status is not Status.OK:
                self._end_without(call, status, message)

    def _stop_waiting(self) -> None:
        """Who has not answered by now is away."""
        self._connecting = False
        for call in list(self._unplaced):
            self._end_without(call, Status.UNAVAILABLE, self._why_nobody(call.role))

    def _expire(self, call: PendingCall) -> None:
        replica = call.replica
        self._end_without(call, Status.EXPIRED, "no answer in time")
        if replica is not None:
            replica.cancel(call.id)
            self._retire(replica)

    def _end_without(self, call: PendingCall, status: Status, message: str) -> None:
        self._end(call, Outcome(status, None, message, 0, 0))

    def _end(self, call: PendingCall, outcome: Outcome) -> None:
        done = call.done
        if done is None:
            return
        call.done = None
        if self._unplaced:
            self._unplaced.pop(call, None)
        if call.slot:
            self._wheel.discard(call, call.slot)
        counts = self._outcomes.get(call.role)
        if counts is None:
            counts = self._outcomes[call.role] = [0] * len(Status)
        counts[outcome[0]] += 1
        try:
            done(outcome)
        except Exception:  # the next answers are for others
            log.exception("inference: an outcome was not taken")

    def _probe(self) -> None:
        self._probe_timer = self._loop.call_later(self._policy.probe_s, self._probe)
        now_s = time.monotonic()
        for replica in list(self._replicas.values()):
            replica.probe(now_s, self._policy.silence_s)

    def _follow(self, addresses: tuple[str, ...]) -> None:
        """Connect to what is new among the addresses, and leave what is no longer among them."""
        for address in addresses:
            known = self._replicas.get(address)
            if known is not None:
                if known.leaving:  # it is back before it was gone
                    known.leaving = False
                    self._sort_by_role()
                continue
            self._replicas[address] = Replica(
                self._loop, self._context, address, self._curve, self._next_id, self._take_answer, self._take_change
            )
        for replica in [one for address, one in self._replicas.items() if address not in addresses]:
            replica.leaving = True
            self._take_change(replica)
            self._retire(replica)

    def _retire(self, replica: Replica) -> None:
        """A replica that has left is closed when nobody waits for it any more."""
        if not replica.leaving or replica.outstanding or self._replicas.get(replica.address) is not replica:
            return
        del self._replicas[replica.address]
        self._late += replica.late
        self._faults += replica.faults
        replica.close()

    async def _watch_name(self, place: tuple[str, int]) -> None:
        """A question that is not answered in time stays open until the next look: a name service in trouble is not
        asked the same thing twice at once."""
        while True:
            question = self._questions.get(place)
            if question is None:
                question = asyncio.create_task(look_up(place[0], place[1]), name=f"look-up of {place[0]}")
                self._questions[place] = question
            await asyncio.wait([question], timeout=self._policy.lookup_timeout_s)
            if question.done():
                del self._questions[place]
                self._take_lookup(place, question)
            else:
                self._note_lookup(place, f"no answer within {self._policy.lookup_timeout_s:g} s")
            known = place in self._found
            await asyncio.sleep(self._policy.lookup_s if known else min(1.0, self._policy.lookup_s))

    def _take_lookup(self, place: tuple[str, int], question: asyncio.Task[tuple[str, ...]]) -> None:
        try:
            self._found[place] = question.result()
            everywhere = itertools.chain(self._literal, *self._found.values())
            self._follow(tuple(dict.fromkeys(everywhere)))
        except OSError as error:
            self._note_lookup(place, str(error) or type(error).__name__)
        except Exception as error:  # nobody else will look the next time
            trouble = repr(error)
            if trouble != self._lookup_trouble.get(place):
                log.exception("inference: the replicas at %s", place[0])
            self._note_lookup(place, trouble)
        else:
            self._note_lookup(place, "")

    def _note_lookup(self, place: tuple[str, int], trouble: str) -> None:
        """Count a failure; log when what is wrong with a name changes."""
        before = self._lookup_trouble.get(place, "")
        self._lookup_trouble[place] = trouble
        if trouble:
            self._lookup_failures += 1
            if trouble != before:
                log.warning("inference: looking up %s: %s", place[0], trouble)
        elif before:
            log.info("inference: %s can be looked up again", place[0])
