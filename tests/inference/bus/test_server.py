"""The server, asked by callers that keep the rules and by callers that do not."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from plano.inference.engines.engine import EngineError, Job
from plano.inference.server import BindRefused, EngineSlot, InferenceServer
from plano.inference.wire import (
    MAX_FRAME_BYTES,
    VERSION,
    Kind,
    Malformed,
    Status,
    pack_call,
    pack_cancel,
    pack_probe,
    unpack_request,
)
from tests.inference.bus.ends import QUICK_POLICY, VERDICT, Ends, InstantEngine, LoadingEngine, ParkedEngine, until

CALL = pack_call(1, "guard", 5_000, b"", {"texts": ["hello"]})


def all_ready(server: InferenceServer) -> bool:
    return all(role["state"] == "ready" for role in server.figures()["roles"].values())


def call(id: int, deadline_ms: int = 60_000) -> bytes:
    return pack_call(id, "guard", deadline_ms, b"", {"texts": [str(id)]})


async def test_a_call_is_answered_with_its_id_and_its_times(ends: Ends) -> None:
    await ends.serve(InstantEngine())
    caller = ends.call_raw()
    await caller.send(call(77))
    version, kind, id, status, queue_us, compute_us, body = await caller.receive()
    assert (version, kind, id, status, body) == (VERSION, Kind.ANSWER, 77, Status.OK, VERDICT)
    assert 0 <= queue_us < 5_000_000
    assert 0 <= compute_us < 5_000_000


async def test_the_engine_gets_what_the_caller_sent(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    await ends.call_raw().send(pack_call(5, "guard", 1_000, trace, {"texts": ["ä"]}))
    await until(lambda: engine.jobs)
    job = engine.jobs[0]
    left_s = job.deadline_s - time.monotonic()
    assert (job.request, job.traceparent) == ({"texts": ["ä"]}, trace)
    assert 0.0 < left_s <= 1.0


async def test_calls_that_come_together_are_handed_over_together(ends: Ends) -> None:
    engine = ParkedEngine(concurrency=100)
    await ends.serve(engine)
    caller = ends.call_raw()
    await caller.status_of(b"")  # connected
    sent = [caller.socket.send(call(id)) for id in range(1, 41)]
    time.sleep(0.1)  # the event loop, and with it the server, stands still while they come
    await asyncio.gather(*sent)
    await until(lambda: len(engine.jobs) == 40)
    assert len(engine.batches) <= 4


async def test_a_full_queue_answers_at_once_and_the_others_stay(ends: Ends) -> None:
    engine = ParkedEngine(concurrency=2)
    server = await ends.serve(engine, queue=3)
    caller = ends.call_raw()
    for id in range(1, 6):
        await caller.send(call(id))
    assert await caller.status_of(call(6)) == (6, Status.OVERLOADED)
    figures = server.figures()["roles"]["guard"]
    assert (figures["waiting"], figures["running"]) == (3, 2)
    assert figures["calls"] == {"overloaded": 1}


async def test_a_call_without_time_is_never_started(ends: Ends) -> None:
    engine = InstantEngine()
    await ends.serve(engine)
    assert await ends.call_raw().status_of(call(3, deadline_ms=0)) == (3, Status.EXPIRED)
    assert not engine.seen


async def test_a_call_that_expires_in_the_queue_is_answered_in_time_and_never_started(ends: Ends) -> None:
    engine = ParkedEngine(concurrency=1)
    await ends.serve(engine)
    caller = ends.call_raw()
    await caller.send(call(1))
    assert await caller.status_of(call(2, deadline_ms=30)) == (2, Status.EXPIRED)
    engine.jobs[0].finish(VERDICT)
    assert (await caller.receive())[2] == 1
    await caller.send(call(3))
    await until(lambda: len(engine.jobs) == 2)
    assert engine.jobs[1].request == {"texts": ["3"]}


async def test_a_running_call_is_cancelled_at_its_deadline(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    assert await ends.call_raw().status_of(call(4, deadline_ms=30)) == (4, Status.EXPIRED)
    assert engine.cancelled == engine.jobs


async def test_cancel_reaches_the_engine_and_is_not_answered(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    caller = ends.call_raw()
    await caller.send(call(8))
    await until(lambda: engine.jobs)
    await caller.send(pack_cancel(8))
    await caller.send(pack_cancel(999))
    await until(lambda: engine.cancelled)
    await caller.send(pack_probe(9))
    assert (await caller.receive())[1:3] == [Kind.HEALTH, 9]


async def test_one_callers_cancel_does_not_touch_anothers_call_of_the_same_id(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    one, other = ends.call_raw(), ends.call_raw()
    await one.send(call(8))
    await until(lambda: len(engine.jobs) == 1)
    await other.send(call(8))
    await until(lambda: len(engine.jobs) == 2)
    await other.send(pack_cancel(8))
    await until(lambda: engine.cancelled)
    assert engine.cancelled == [engine.jobs[1]]


async def test_health_tells_each_roles_state_and_depth(ends: Ends) -> None:
    await ends.serve(ParkedEngine(concurrency=2))
    caller = ends.call_raw()
    for id in range(1, 6):
        await caller.send(call(id))
    assert await caller.status_of(b"") == (0, Status.BAD_CALL)  # all before it have been taken
    await asyncio.sleep(0)
    await caller.send(pack_probe(77))
    assert await caller.receive() == [VERSION, Kind.HEALTH, 77, {"guard": ["ready", "parked", "none", 3, 2]}]


async def test_a_role_nobody_serves_is_unavailable(ends: Ends) -> None:
    server = await ends.serve(InstantEngine())
    answer = await ends.call_raw().status_of(pack_call(1, "orchestrator", 100, b"", {}))
    assert answer == (1, Status.UNAVAILABLE)
    assert server.figures()["unknown_role"] == 1


async def test_a_caller_that_vanishes_leaves_nothing_behind(ends: Ends) -> None:
    engine = ParkedEngine(concurrency=1)
    server = await ends.serve(engine, peer_silence_s=0.2)
    caller = ends.call_raw()
    for id in range(1, 4):
        await caller.send(call(id))
    await until(lambda: engine.jobs)
    caller.close()
    await until(lambda: server.figures()["lost_peers"] == 1)
    assert engine.cancelled == engine.jobs
    figures = server.figures()
    assert (figures["peers"], figures["roles"]["guard"]["waiting"], figures["roles"]["guard"]["running"]) == (0, 0, 0)


async def test_a_caller_whose_answers_go_nowhere_is_forgotten(ends: Ends) -> None:
    engine = ParkedEngine(concurrency=1_000)
    server = await ends.serve(engine)
    caller = ends.call_raw()
    for id in range(1, 1_001):
        await caller.send(call(id))
    await until(lambda: len(engine.jobs) == 1_000)
    caller.close()
    jobs = iter(engine.jobs)

    def answer_one() -> int:
        next(jobs).finish(VERDICT)
        return server.figures()["undelivered"]

    await until(answer_one)
    assert server.figures()["lost_peers"] == 1
    assert server.figures()["roles"]["guard"]["running"] == 0
    assert engine.cancelled


BAD_FRAMES: list[tuple[bytes, int, Status, str]] = [
    (b"", 0, Status.BAD_CALL, "encoding"),
    (b"\xc1", 0, Status.BAD_CALL, "encoding"),
    (CALL[:-4], 1, Status.BAD_CALL, "encoding"),
    (CALL + b"\x00", 1, Status.BAD_CALL, "encoding"),
    (msgpack.packb([VERSION + 1, Kind.CALL, 12, "?"]), 12, Status.VERSION, "version"),
    (msgpack.packb([VERSION, Kind.CALL, 13, "guard", "soon", b"", {}]), 13, Status.BAD_CALL, "fields"),
    (msgpack.packb([VERSION, Kind.HEALTH, 14, {}]), 14, Status.BAD_CALL, "direction"),
    (pack_call(15, "guard", 1_000, b"", [[[[[[]]]]]] * 1)[:-6] + b"\x91" * 300 + b"\x90", 15, Status.BAD_CALL, "depth"),
]


@pytest.mark.parametrize(("frame", "id", "status", "fault"), BAD_FRAMES, ids=range(len(BAD_FRAMES)))
async def test_a_bad_frame_is_answered_and_counted(
    ends: Ends, frame: bytes, id: int, status: Status, fault: str
) -> None:
    server = await ends.serve(InstantEngine())
    caller = ends.call_raw()
    assert await caller.status_of(frame) == (id, status)
    assert server.figures()["faults"] == {fault: 1}
    assert await caller.status_of(call(99)) == (99, Status.OK)


async def test_a_message_of_several_parts_is_one_fault(ends: Ends) -> None:
    server = await ends.serve(InstantEngine())
    caller = ends.call_raw()
    assert await caller.status_of(call(1), call(2), call(3)) == (0, Status.BAD_CALL)
    assert await caller.status_of(call(4)) == (4, Status.OK)
    assert server.figures()["faults"] == {"parts": 1}


async def test_an_id_in_use_is_refused_and_the_first_call_goes_on(ends: Ends) -> None:
    engine = ParkedEngine()
    server = await ends.serve(engine)
    caller = ends.call_raw()
    await caller.send(call(5))
    assert await caller.status_of(call(5)) == (0, Status.BAD_CALL)
    engine.jobs[0].finish(VERDICT)
    assert (await caller.receive())[2:4] == [5, Status.OK]
    assert server.figures()["faults"] == {"duplicate": 1}


async def test_a_frame_a_little_too_large_is_answered_and_an_absurd_one_cuts_its_sender_off(ends: Ends) -> None:
    server = await ends.serve(InstantEngine())
    caller, good = ends.call_raw(), ends.call_raw()
    frame = msgpack.packb([VERSION, Kind.CALL, 21, "guard", 100, b"", {"texts": ["x" * MAX_FRAME_BYTES]}])
    assert await caller.status_of(frame) == (21, Status.TOO_LARGE)
    assert server.figures()["faults"] == {"too_large": 1}
    await caller.send(b"x" * (MAX_FRAME_BYTES * 2))
    assert await good.status_of(call(1)) == (1, Status.OK)
    # The sender is connected anew, and may go on better.
    async with asyncio.timeout(20):
        while (await caller.status_of(call(2)))[0] != 2:
            pass


async def test_a_flood_of_garbage_ends_nothing(ends: Ends) -> None:
    """Damaged frames from three callers while a fourth is served: each that is no message is counted by its kind."""
    engine = InstantEngine()
    server = await ends.serve(engine)
    chance = random.Random(3)
    bad = [ends.call_raw() for _ in range(3)]
    good = ends.call_raw()
    expected: Counter[str] = Counter()
    ids = itertools.count(1_000)
    for round in range(30):
        for caller in bad:
            for _ in range(20):
                damaged = bytearray(chance.choice([call(next(ids)), pack_cancel(3), chance.randbytes(30)]))
                damaged[chance.randrange(len(damaged))] ^= 0xFF
                await caller.send(bytes(damaged))
                try:
                    unpack_request(bytes(damaged))
                except Malformed as error:
                    expected[error.fault] += 1
        assert await good.status_of(call(round + 1)) == (round + 1, Status.OK)
    for caller in bad:  # what it sent before has then been taken
        await caller.send(pack_probe(7))
        while (await caller.receive())[1:3] != [Kind.HEALTH, 7]:
            pass
    figures = server.figures()
    # An id that was damaged into one under way is the only fault that a frame by itself does not show.
    assert Counter(figures["faults"]) - Counter(duplicate=figures["faults"].get("duplicate", 0)) == expected
    assert expected.total() > 900
    assert figures["roles"]["guard"]["calls"]["ok"] >= 30


async def test_answers_that_cannot_be_sent_fail_their_call_only(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    caller = ends.call_raw()
    for id, answer in enumerate(({"a": object()}, {"a": "x" * MAX_FRAME_BYTES}), start=1):
        await caller.send(call(id))
        await until(lambda id=id: len(engine.jobs) == id)
        engine.jobs[-1].finish(answer)
        assert (await caller.receive())[2:4] == [id, Status.FAILED]


async def test_while_the_engine_loads_its_role_is_unavailable(ends: Ends) -> None:
    engines: list[LoadingEngine] = []

    def make() -> LoadingEngine:
        engines.append(LoadingEngine())
        return engines[-1]

    server = await ends.serve(make, load=False)
    caller = ends.call_raw()
    await caller.send(call(1))
    _, _, id, status, _, _, message = await caller.receive()
    assert (id, status, message) == (1, Status.UNAVAILABLE, "guard: loading")
    assert not all_ready(server)
    engines[0].outcome.set_result(None)
    await server.loaded()
    assert all_ready(server)
    assert await caller.status_of(call(2)) == (2, Status.OK)
    assert caller.told == [{"guard": "ready"}], "callers need not ask to know that a role is there"


async def test_an_engine_that_does_not_start_is_fatal_if_that_is_wanted(ends: Ends) -> None:
    def make() -> InstantEngine:
        raise EngineError("no such model: put it there")

    with pytest.raises(EngineError, match="guard: no such model: put it there"):
        await ends.serve(make, fatal_start=True)


async def test_an_engine_that_does_not_start_is_made_again(ends: Ends) -> None:
    attempts = 0

    def make() -> InstantEngine:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise RuntimeError("not yet")
        return InstantEngine()

    server = await ends.serve(make)
    assert server.figures()["roles"]["guard"]["cause"] == "not yet"
    await until(lambda: all_ready(server))
    assert server.figures()["roles"]["guard"]["starts"] == 3
    assert await ends.call_raw().status_of(call(1)) == (1, Status.OK)


async def test_an_engine_that_can_no_longer_work_fails_what_waits_and_is_made_anew(ends: Ends) -> None:
    engines: list[ParkedEngine] = []

    def make() -> ParkedEngine:
        engines.append(ParkedEngine(concurrency=1))
        return engines[-1]

    await ends.serve(make)
    caller = ends.call_raw()
    await caller.send(call(1))
    await caller.send(call(2))
    await until(lambda: engines[0].jobs)
    engines[0].broken = "the engine core has died"
    answers = {}
    for _ in range(2):
        _, _, id, status, _, _, message = await caller.receive()
        answers[id] = (status, message)
    lost = (Status.UNAVAILABLE, "guard: the engine core has died")
    assert answers == {1: lost, 2: lost}
    await until(lambda: len(engines) == 2 and engines[0].closed)
    async with asyncio.timeout(20):
        while not engines[1].jobs:
            await caller.send(call(3))
            await asyncio.sleep(0.02)


async def test_draining_finishes_what_runs_and_takes_no_more(ends: Ends) -> None:
    engine = ParkedEngine()
    server = await ends.serve(engine)
    caller = ends.call_raw()
    await caller.send(call(1))
    await until(lambda: engine.jobs)
    draining = asyncio.create_task(server.drain(20.0))
    await asyncio.sleep(0)
    assert await caller.status_of(call(2)) == (2, Status.UNAVAILABLE)
    assert not draining.done()
    engine.jobs[0].finish(VERDICT)
    assert (await caller.receive())[2:4] == [1, Status.OK]
    await asyncio.wait_for(draining, 20)


async def test_closing_answers_what_is_left_and_closes_the_engine(ends: Ends) -> None:
    engine = ParkedEngine()
    server = await ends.serve(engine)
    caller = ends.call_raw()
    await caller.send(call(1))
    await until(lambda: engine.jobs)
    await server.drain(0.01)
    await server.close()
    assert (await caller.receive())[2:4] == [1, Status.UNAVAILABLE]
    assert engine.closed


async def test_the_figures_are_plain_data(ends: Ends) -> None:
    server = await ends.serve(InstantEngine())
    await ends.call_raw().status_of(call(1))
    figures = server.figures()
    assert json.loads(json.dumps(figures)) == msgpack.unpackb(msgpack.packb(figures)) == figures


async def test_a_socket_left_behind_by_a_dead_server_is_replaced(ends: Ends) -> None:
    left_behind = socket.socket(socket.AF_UNIX)
    left_behind.bind(str(ends.folder / "a"))
    left_behind.close()
    await ends.serve(InstantEngine())
    assert await ends.call_raw().status_of(call(1)) == (1, Status.OK)


async def test_several_addresses_are_served_and_told(ends: Ends) -> None:
    server = await ends.serve(InstantEngine(), addresses=(ends.address("a"), "tcp://127.0.0.1:*"))
    assert server.addresses[0] == ends.address("a")
    assert server.addresses[1].startswith("tcp://127.0.0.1:")
    assert not server.addresses[1].endswith("*")
    assert (await ends.connect(addresses=(server.addresses[1],)).ask()).status is Status.OK


async def test_an_address_in_use_is_refused_with_the_reason(ends: Ends) -> None:
    server = await ends.serve(InstantEngine(), addresses=("tcp://127.0.0.1:*",))
    with pytest.raises(BindRefused, match=r"cannot listen on tcp://127.*in use"):
        await ends.serve(InstantEngine(), addresses=server.addresses)


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:5570", "tcp://*:5570", "tcp://[::]:5570", "tcp://10.0.0.1:5570"])
async def test_without_keys_nothing_but_this_machine_can_reach_it(folder: Path, address: str) -> None:
    server = InferenceServer({"guard": EngineSlot(InstantEngine)}, (address,), policy=QUICK_POLICY)
    with pytest.raises(BindRefused, match="plano-cluster keys"):
        await server.start()
    await server.close()


async def test_engines_of_one_kind_start_one_after_the_other(ends: Ends) -> None:
    under_way = 0
    most = 0

    class Slow(InstantEngine):
        async def start(self) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1

    slots: dict[str, Any] = {role: EngineSlot(Slow) for role in ("orchestrator", "guard", "function")}
    server = InferenceServer(slots, (ends.address(),), policy=QUICK_POLICY)
    await server.start()
    await server.loaded()
    assert most == 1
    assert all_ready(server)
    await server.close()


async def test_an_engine_that_hangs_while_it_starts_holds_nobody_else_up_and_is_given_up(ends: Ends) -> None:
    class Hanging(InstantEngine):
        name = "hanging"
        closed = False

        async def start(self) -> None:
            await asyncio.Event().wait()

        async def close(self) -> None:
            Hanging.closed = True

    slots: dict[str, Any] = {"orchestrator": EngineSlot(Hanging), "guard": EngineSlot(InstantEngine)}
    policy = replace(QUICK_POLICY, start_s=0.2)
    server = InferenceServer(slots, (ends.address(),), policy=policy)
    await server.start()
    try:
        await until(lambda: server.figures()["roles"]["guard"]["state"] == "ready")
        assert server.figures()["roles"]["orchestrator"]["state"] == "loading"
        await until(lambda: server.figures()["roles"]["orchestrator"]["starts"] == 2)
        assert server.figures()["roles"]["orchestrator"]["cause"] == "hanging did not start within 0.2 s"
        assert Hanging.closed
    finally:
        await server.close()


class StubbornEngine(ParkedEngine):
    """Raises when it is asked to stop working on a job."""

    def submit(self, jobs: Sequence[Job]) -> None:
        super().submit(jobs)
        for job in jobs:
            job.on_cancel = self._refuse

    def _refuse(self) -> None:
        raise RuntimeError("a bug of the engine")


async def test_an_engine_that_fails_to_cancel_one_call_leaves_none_of_a_vanished_caller(ends: Ends) -> None:
    engine = StubbornEngine()
    server = await ends.serve(engine, peer_silence_s=0.2)
    caller = ends.call_raw()
    for id in range(1, 6):
        await caller.send(call(id))
    await until(lambda: len(engine.jobs) == 5)
    caller.close()
    await until(lambda: server.figures()["lost_peers"] == 1)
    assert server.figures()["roles"]["guard"]["running"] == 0


async def test_an_engine_that_fails_to_cancel_one_call_keeps_no_other_from_its_deadline(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    engine = StubbornEngine()
    server = await ends.serve(engine)
    caller = ends.call_raw()
    await caller.status_of(b"")
    calls = [call(id, deadline_ms=300) for id in range(1, 31)]
    for frame in calls:
        await caller.send(frame)
    answers = {(await caller.receive())[2] for _ in calls}
    assert answers == set(range(1, 31))
    figures = server.figures()["roles"]["guard"]
    assert (figures["running"], figures["calls"]) == (0, {"expired": 30})
    assert "a bug of the engine" in caplog.text
