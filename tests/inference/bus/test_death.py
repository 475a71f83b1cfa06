"""Servers that are killed, stopped and started again: real processes, real signals."""

from __future__ import annotations

import asyncio
import time

from plano.inference.wire import Status
from tests.inference.bus.ends import PATIENCE_S, Ends, until

NOTICED_S = 1.0
SLACK_S = 1.0  # of a busy machine


async def test_a_killed_server_is_noticed_and_its_calls_fail(ends: Ends) -> None:
    process = ends.start_process(answer_after_s=60.0)
    asker = ends.connect()
    await asker.until_ready(1)
    asked = [asker.begin(timeout_s=30.0) for _ in range(5)]
    await asyncio.sleep(0.05)
    begun_s = time.monotonic()
    process.kill()
    outcomes = [await each for each in asked]
    assert time.monotonic() - begun_s < NOTICED_S
    assert {outcome.status for outcome in outcomes} == {Status.UNAVAILABLE}
    assert "the connection ended" in outcomes[0].message
    assert (await asker.ask()).status is Status.UNAVAILABLE


async def test_a_server_started_again_is_used_again(ends: Ends) -> None:
    process = ends.start_process()
    asker = ends.connect()
    first = (await asker.ask()).body
    process.kill()
    await asker.until_alive(0)
    ends.start_process()
    await asker.until_ready(1)
    second = (await asker.ask()).body
    assert first["pid"] != second["pid"]


async def test_the_calls_of_a_killed_server_go_to_another(ends: Ends) -> None:
    processes = [ends.start_process("a", answer_after_s=0.3), ends.start_process("b", answer_after_s=0.3)]
    asker = ends.connect("a", "b")
    await asker.until_ready(2)
    asked = [asker.begin() for _ in range(20)]
    await asyncio.sleep(0.05)
    processes[0].kill()
    outcomes = [await each for each in asked]
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert {outcome.body["pid"] for outcome in outcomes} == {processes[1].process.pid}
    assert asker.client.figures().moved >= 1


async def test_a_call_that_kills_its_server_goes_to_two_at_most(ends: Ends) -> None:
    processes = [ends.start_process(name) for name in "abc"]
    asker = ends.connect("a", "b", "c")
    await asker.until_ready(3)
    assert (await asker.ask(body={"die": True})).status is Status.UNAVAILABLE
    await asker.until_ready(1)
    assert (await asker.ask()).status is Status.OK
    await until(lambda: sum(process.process.poll() is not None for process in processes) == 2)


async def test_a_stopped_server_is_dead_until_it_goes_on(ends: Ends) -> None:
    stopped, other = ends.start_process("a"), ends.start_process("b")
    asker = ends.connect("a", "b")
    await asker.until_ready(2)
    stopped.stop()
    begun_s = time.monotonic()
    asked = [asker.begin(timeout_s=10.0) for _ in range(20)]
    outcomes = [await each for each in asked]
    assert time.monotonic() - begun_s < NOTICED_S + SLACK_S
    assert {outcome.status for outcome in outcomes} == {Status.OK}
    assert {outcome.body["pid"] for outcome in outcomes} == {other.process.pid}
    begun_s = time.monotonic()
    for _ in range(20):
        assert (await asker.ask()).status is Status.OK
    assert time.monotonic() - begun_s < 0.5 + SLACK_S
    stopped.go_on()
    await asker.until_ready(2)
    pids = set()
    async with asyncio.timeout(PATIENCE_S):
        while pids != {stopped.process.pid, other.process.pid}:
            pids.add((await asker.ask()).body["pid"])


async def test_the_calls_of_a_stopped_server_without_another_fail_within_a_second(ends: Ends) -> None:
    process = ends.start_process()
    asker = ends.connect()
    await asker.until_ready(1)
    process.stop()
    begun_s = time.monotonic()
    outcome = await asker.ask(timeout_s=20.0)
    assert time.monotonic() - begun_s < NOTICED_S + SLACK_S
    assert outcome.status is Status.UNAVAILABLE
    assert "silent" in outcome.message
    process.go_on()
    await asker.until_ready(1)
    assert (await asker.ask()).status is Status.OK


async def test_a_server_that_is_killed_and_back_before_it_is_missed_does_not_keep_its_calls(ends: Ends) -> None:
    """What was under way there is lost, though its address answers again."""
    process = ends.start_process(answer_after_s=60.0)
    asker = ends.connect()
    await asker.until_ready(1)
    asked = asker.begin(timeout_s=30.0)
    await asyncio.sleep(0.05)
    process.kill()
    ends.start_process()
    assert (await asked).status in (Status.UNAVAILABLE, Status.OK)
    await asker.until_ready(1)
    assert (await asker.ask()).status is Status.OK
