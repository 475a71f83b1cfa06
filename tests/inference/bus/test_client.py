"""The client: outcomes, deadlines, cancelling, and which replica gets a call."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgpack
import pytest
import zmq
import zmq.asyncio

from plano.inference import client as client_module
from plano.inference.client import InferenceClient
from plano.inference.places import look_up
from plano.inference.wire import MAX_FRAME_BYTES, VERSION, Kind, Status, pack_answer, pack_health
from tests.inference.bus.ends import PATIENCE_S, VERDICT, Ends, InstantEngine, LoadingEngine, ParkedEngine, until


async def test_an_outcome_has_the_answer_and_its_times(ends: Ends) -> None:
    await ends.serve(InstantEngine())
    outcome = await ends.connect().ask()
    assert (outcome.status, outcome.body, outcome.message) == (Status.OK, VERDICT, "")
    assert outcome.queue_us >= 0
    assert outcome.compute_us >= 0


async def test_a_call_made_before_a_replica_has_answered_waits_for_it(ends: Ends) -> None:
    await ends.serve(InstantEngine())
    asker = ends.connect(connect_s=PATIENCE_S)
    asked = asker.begin()
    assert asker.client.figures().alive == 0
    assert (await asked).status is Status.OK


async def test_without_any_replica_calls_fail_after_a_moment_and_then_at_once(ends: Ends) -> None:
    asker = ends.connect(connect_s=0.1)
    begun_s = time.monotonic()
    outcome = await asker.ask()
    assert outcome.status is Status.UNAVAILABLE
    assert "not connected yet" in outcome.message
    assert 0.09 < time.monotonic() - begun_s < 5.0
    second = asker.begin()
    for _ in range(3):
        await asyncio.sleep(0)
    assert [outcome.status for outcome in second.outcomes] == [Status.UNAVAILABLE]


async def test_a_call_waits_for_a_replica_no_longer_than_its_deadline(ends: Ends) -> None:
    asker = ends.connect(connect_s=PATIENCE_S)
    assert (await asker.ask(timeout_s=0.03)).status is Status.EXPIRED


async def test_a_role_that_no_live_replica_serves_fails_at_once(ends: Ends) -> None:
    await ends.serve(InstantEngine())
    asker = ends.connect(connect_s=PATIENCE_S)
    outcome = await asker.ask(role="function")
    assert outcome.status is Status.UNAVAILABLE
    assert "'function'" in outcome.message


async def test_a_role_that_loads_fails_at_once_and_is_used_when_it_is_ready(ends: Ends) -> None:
    engines: list[LoadingEngine] = []

    def make() -> LoadingEngine:
        engines.append(LoadingEngine())
        return engines[0]

    await ends.serve(make, load=False)
    asker = ends.connect(connect_s=PATIENCE_S, probe_s=0.02)
    outcome = await asker.ask()
    assert (outcome.status, outcome.message) == (Status.UNAVAILABLE, "guard: loading")
    engines[0].outcome.set_result(None)
    await until(lambda: asker.client.figures().ready == {"guard": 1})
    assert (await asker.ask()).status is Status.OK


async def test_a_deadline_ends_the_call_here_and_there(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    asker = ends.connect()
    await asker.until_ready(1)
    begun_s = time.monotonic()
    outcome = await asker.ask(timeout_s=0.05)
    assert outcome.status is Status.EXPIRED
    assert 0.045 <= time.monotonic() - begun_s < 5.0
    await until(lambda: engine.cancelled == engine.jobs and engine.jobs)


async def test_a_cancelled_call_has_no_outcome_and_is_cancelled_in_the_engine(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    asker = ends.connect()
    asked = asker.begin()
    await until(lambda: engine.jobs)
    asked.cancel()
    asked.cancel()
    await until(lambda: engine.cancelled)
    assert (await asker.ask(timeout_s=0.03)).status is Status.EXPIRED
    assert not asked.outcomes
    assert asker.client.figures().outstanding == 0


async def test_a_call_cancelled_before_it_was_placed_is_never_sent(ends: Ends) -> None:
    asker = ends.connect(connect_s=PATIENCE_S)
    asker.begin().cancel()
    engine = InstantEngine()
    await ends.serve(engine)
    await until(lambda: asker.client.figures().ready == {"guard": 1})
    assert (await asker.ask(body={"texts": ["second"]})).status is Status.OK
    assert engine.seen == [{"texts": ["second"]}]


async def test_what_is_too_large_or_cannot_be_packed_is_told_and_not_sent(ends: Ends) -> None:
    engine = InstantEngine()
    await ends.serve(engine)
    asker = ends.connect()
    await asker.until_ready(1)
    assert (await asker.ask(body={"texts": ["x" * MAX_FRAME_BYTES]})).status is Status.TOO_LARGE
    assert (await asker.ask(body={"texts": [object()]})).status is Status.BAD_CALL
    assert not engine.seen


async def test_the_outstanding_calls_of_a_replica_are_bounded(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    asker = ends.connect(outstanding=3)
    await asker.until_ready(1)
    parked = [asker.begin() for _ in range(3)]
    assert (await asker.ask()).status is Status.OVERLOADED
    await until(lambda: len(engine.jobs) == 3)
    engine.jobs[0].finish(VERDICT)
    await until(lambda: any(asked.outcomes for asked in parked))
    assert (await asker.ask(timeout_s=0.03)).status is Status.EXPIRED


async def test_a_failure_of_the_engine_is_told(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    asked = ends.connect().begin()
    await until(lambda: engine.jobs)
    engine.jobs[0].fail(Status.FAILED, "the model said nothing")
    outcome = await asked
    assert (outcome.status, outcome.message, outcome.body) == (Status.FAILED, "the model said nothing", None)


async def test_an_outcome_that_is_not_taken_does_not_touch_the_others(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    await ends.serve(InstantEngine())
    asker = ends.connect()
    await asker.until_ready(1)

    def refuse(outcome: Any) -> None:
        raise RuntimeError("a bug of the caller")

    asker.client.call("guard", {}, 5.0, b"", refuse)
    assert (await asker.ask()).status is Status.OK
    assert "a bug of the caller" in caplog.text


async def test_who_is_answered_may_ask_again_or_close(ends: Ends) -> None:
    await ends.serve(InstantEngine())
    asker = ends.connect()
    await asker.until_ready(1)
    statuses: list[Status] = []
    done = asyncio.Event()

    def ask_again(outcome: Any) -> None:
        statuses.append(outcome.status)
        if len(statuses) == 200:
            done.set()
        else:
            asker.client.call("guard", {}, 5.0, b"", ask_again)

    asker.client.call("guard", {}, 5.0, b"", ask_again)
    await asyncio.wait_for(done.wait(), PATIENCE_S)
    assert set(statuses) == {Status.OK}


async def test_closing_ends_what_is_under_way(ends: Ends) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    asker = ends.connect()
    asked = asker.begin()
    await until(lambda: engine.jobs)
    await asker.client.close()
    assert (await asked).status is Status.UNAVAILABLE
    assert (await asker.ask()).status is Status.UNAVAILABLE


async def test_two_replicas_share_the_calls(ends: Ends) -> None:
    engines = [InstantEngine(), InstantEngine()]
    await ends.serve(engines[0], "a")
    await ends.serve(engines[1], "b")
    asker = ends.connect("a", "b")
    await asker.until_ready(2)
    for _ in range(60):
        assert (await asker.ask()).status is Status.OK
    assert sum(len(engine.seen) for engine in engines) == 60
    assert all(len(engine.seen) >= 10 for engine in engines)


async def test_the_less_busy_replica_gets_the_call(ends: Ends) -> None:
    slow, quick = ParkedEngine(), InstantEngine()
    await ends.serve(slow, "slow")
    await ends.serve(quick, "quick")
    asker = ends.connect("slow", "quick")
    await asker.until_ready(2)
    parked = [asker.begin() for _ in range(50)]
    await until(lambda: len(slow.jobs) + len(quick.seen) == 50)
    await until(lambda: asker.client.figures().outstanding == len(slow.jobs))
    before = len(slow.jobs)
    for _ in range(20):
        assert (await asker.ask()).status is Status.OK
    assert 1 <= before == len(slow.jobs) <= 40
    for job in slow.jobs:
        job.finish(VERDICT)
    for asked in parked:
        assert (await asked).status is Status.OK


async def test_what_others_have_at_a_replica_counts_too(ends: Ends) -> None:
    busy, free = ParkedEngine(concurrency=8), ParkedEngine()
    await ends.serve(busy, "busy")
    await ends.serve(free, "free")
    other = ends.connect("busy")
    theirs = [other.begin() for _ in range(20)]  # 8 run, 12 wait
    await until(lambda: len(busy.jobs) == 8)
    asker = ends.connect("busy", "free", probe_s=0.02)

    def others() -> dict[str, int]:
        return {replica.address: replica.others for replica in asker.client.figures().replicas}

    await until(lambda: others() == {ends.address("busy"): 20, ends.address("free"): 0})
    ours = [asker.begin() for _ in range(15)]
    await until(lambda: len(free.jobs) == 15)
    # Ours are there too, and are not taken for others' at any probe.
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert others() == {ends.address("busy"): 20, ends.address("free"): 0}
    while pending := [asked for asked in (*theirs, *ours) if not asked.outcomes]:
        for job in (*busy.jobs, *free.jobs):
            job.finish(VERDICT)
        await pending[0]


async def test_an_overloaded_replica_passes_the_call_on_to_another(ends: Ends) -> None:
    full, free = ParkedEngine(concurrency=1), InstantEngine()
    await ends.serve(full, "full", queue=0)
    await ends.serve(free, "free")
    # What it knows of the load of others there is from before.
    asker = ends.connect("full", "free", probe_s=PATIENCE_S)
    await asker.until_ready(2)
    filler = ends.connect("full").begin()
    await until(lambda: full.jobs)
    for _ in range(30):
        assert (await asker.ask()).status is Status.OK
    assert asker.client.figures().moved >= 1
    full.jobs[0].finish(VERDICT)
    assert (await filler).status is Status.OK


async def test_when_both_are_overloaded_that_is_the_outcome(ends: Ends) -> None:
    engines = [ParkedEngine(concurrency=1), ParkedEngine(concurrency=1)]
    for engine, name in zip(engines, "ab", strict=True):
        await ends.serve(engine, name, queue=0)
        ends.connect(name).begin()
        await until(lambda engine=engine: engine.jobs)
    asker = ends.connect("a", "b")
    await asker.until_ready(2)
    assert (await asker.ask()).status is Status.OVERLOADED


async def test_a_draining_replica_gets_no_calls(ends: Ends) -> None:
    stays, goes = InstantEngine(), InstantEngine()
    await ends.serve(stays, "stays")
    server = await ends.serve(goes, "goes")
    asker = ends.connect("stays", "goes", probe_s=0.02)
    await asker.until_ready(2)
    await server.drain(1.0)
    for _ in range(10):  # refused there, answered here, before the news is known
        assert (await asker.ask()).status is Status.OK
    await until(lambda: asker.client.figures().ready == {"guard": 1})
    assert not goes.seen


async def serve_garbage(server: zmq.asyncio.Socket) -> None:
    """Answers whatever comes with garbage, with an answer nobody waits for, and only then as it should."""
    garbage = [b"", b"\xc1", msgpack.packb([VERSION, Kind.ANSWER, 1, 99, 0, 0, {}]), b"\x97\x01\x04"]
    while True:
        identity, frame = await server.recv_multipart()
        _, kind, id, *_ = msgpack.unpackb(frame)
        replies = [*garbage, pack_answer(12_345, Status.OK, 0, 0, {})]
        if kind == Kind.PROBE:
            replies.append(pack_health(id, {"guard": ("ready", "", "", 0, 0)}))
        elif kind == Kind.CALL:
            replies.append(pack_answer(id, Status.OK, 0, 0, VERDICT))
        for reply in replies:
            await server.send_multipart([identity, reply])


async def test_garbage_from_a_server_is_counted_and_ends_nothing(ends: Ends) -> None:
    context = zmq.asyncio.Context()
    server = context.socket(zmq.ROUTER)
    server.bind(ends.address())
    serving = asyncio.create_task(serve_garbage(server))
    asker = ends.connect(silence_s=PATIENCE_S)
    try:
        assert (await asker.ask()).status is Status.OK
        assert asker.client.figures().faults >= 8
        assert asker.client.figures().late >= 2
    finally:
        serving.cancel()
        await asker.client.close()
        context.destroy(linger=0)


async def test_outcomes_are_counted_by_role_and_status(ends: Ends) -> None:
    await ends.serve(InstantEngine())
    asker = ends.connect()
    await asker.ask()
    await asker.ask()
    await asker.ask(role="orchestrator")
    state = asker.client.figures()
    assert state.outcomes == {("guard", "ok"): 2, ("orchestrator", "unavailable"): 1}
    assert (state.alive, state.outstanding) == (1, 0)
    assert [(replica.address, replica.roles) for replica in state.replicas] == [(ends.address(), {"guard": "ready"})]


@pytest.mark.parametrize(
    "address",
    ["localhost:5570", "tcp://localhost", "http://a:1", "tcp://:5570", "", "tcp://inference..svc:5570", "tcp://a:0"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no address of an inference process: it must"):
        InferenceClient((address,))


class Names:
    """A name service for `tcp://tier:1`: the places it knows, or none when it fails, or no answer at all."""

    def __init__(self, *places: str) -> None:
        self.places = places
        self.trouble: Exception | None = None
        self.silent = False
        self.questions = 0

    async def look_up(self, name: str, port: int) -> tuple[str, ...]:
        assert (name, port) == ("tier", 1)
        self.questions += 1
        if self.trouble is not None:
            raise self.trouble
        if self.silent:
            await asyncio.Event().wait()
        return self.places


async def test_a_name_stands_for_all_its_addresses_as_they_come_and_go(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = {name: InstantEngine() for name in "abc"}
    for name, engine in engines.items():
        await ends.serve(engine, name)
    names = Names(ends.address("a"), ends.address("b"))
    monkeypatch.setattr(client_module, "look_up", names.look_up)
    asker = ends.connect(addresses=("tcp://tier:1",), lookup_s=0.02)
    assert (await asker.ask()).status is Status.OK
    await asker.until_ready(2)
    names.places = (ends.address("b"), ends.address("c"))
    addresses = {ends.address("b"), ends.address("c")}
    await until(lambda: {replica.address for replica in asker.client.figures().replicas if replica.alive} == addresses)
    for engine in engines.values():
        engine.seen.clear()
    for _ in range(20):
        assert (await asker.ask()).status is Status.OK
    assert [bool(engines[name].seen) for name in "abc"] == [False, True, True]


async def test_a_replica_that_leaves_answers_what_it_has(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    names = Names(ends.address())
    monkeypatch.setattr(client_module, "look_up", names.look_up)
    asker = ends.connect(addresses=("tcp://tier:1",), lookup_s=0.02)
    asked = asker.begin()
    await until(lambda: engine.jobs)
    names.places = ()
    await until(lambda: asker.client.figures().ready == {"guard": 0})
    assert (await asker.ask()).status is Status.UNAVAILABLE
    engine.jobs[0].finish(VERDICT)
    assert (await asked).status is Status.OK
    await until(lambda: not asker.client.figures().replicas)


@pytest.mark.parametrize("trouble", [OSError("no name service"), ValueError("a bug")])
async def test_when_names_cannot_be_looked_up_the_last_answer_holds(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    goes, stays = InstantEngine(), InstantEngine()
    await ends.serve(goes)
    names = Names(ends.address())
    monkeypatch.setattr(client_module, "look_up", names.look_up)
    asker = ends.connect(addresses=("tcp://tier:1",), lookup_s=0.02)
    await asker.until_ready(1)
    names.trouble = trouble
    await until(lambda: asker.client.figures().lookup_failures >= 5)
    assert (await asker.ask()).status is Status.OK
    assert len([line for line in caplog.messages if str(trouble) in line]) <= 1
    # Whatever it was, it is asked again.
    await ends.serve(stays, "b")
    names.trouble, names.places = None, (ends.address("b"),)
    await until(lambda: [replica.address for replica in asker.client.figures().replicas] == [ends.address("b")])
    await asker.until_ready(1)
    assert (await asker.ask()).status is Status.OK
    assert (bool(goes.seen), bool(stays.seen)) == (True, True)


async def test_a_name_service_that_says_nothing_is_asked_once_at_a_time(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = Names(ends.address())
    names.silent = True
    monkeypatch.setattr(client_module, "look_up", names.look_up)
    asker = ends.connect(addresses=("tcp://tier:1",), lookup_s=0.02, lookup_timeout_s=0.02)
    await until(lambda: asker.client.figures().lookup_failures >= 3)
    assert names.questions == 1
    assert caplog.text.count("looking up tier: no answer within 0.02 s") == 1
    await asker.client.close()


@pytest.mark.parametrize("name", ["inference..svc", "a" * 64 + ".svc"])
async def test_a_name_that_cannot_be_asked_for_is_an_error_like_any_other(name: str) -> None:
    with pytest.raises(OSError, match="is no name of a host"):
        await look_up(name, 5570)


async def test_a_replica_that_comes_back_while_it_leaves_gets_calls_again(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ParkedEngine()
    await ends.serve(engine)
    names = Names(ends.address())
    monkeypatch.setattr(client_module, "look_up", names.look_up)
    # No news of its health in between that would do it.
    asker = ends.connect(addresses=("tcp://tier:1",), lookup_s=0.02)
    leaving = asker.begin()
    await until(lambda: engine.jobs)
    names.places = ()
    await until(lambda: asker.client.figures().ready == {"guard": 0})
    names.places = (ends.address(),)
    await until(lambda: asker.client.figures().ready == {"guard": 1})
    second = asker.begin()
    await until(lambda: len(engine.jobs) == 2)
    for job in engine.jobs:
        job.finish(VERDICT)
    assert [(await leaving).status, (await second).status] == [Status.OK, Status.OK]


async def test_a_real_name_is_looked_up(ends: Ends) -> None:
    server = await ends.serve(InstantEngine(), addresses=("tcp://127.0.0.1:*",))
    port = server.addresses[0].rpartition(":")[2]
    asker = ends.connect(addresses=(f"tcp://localhost:{port}",))
    assert (await asker.ask()).status is Status.OK
