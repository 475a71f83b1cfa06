"""The pool: reuse, bounds, the queue and its order, those who leave, connections that die."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from plano.upstreams.failures import FailureKind
from plano.upstreams.pool import Pool
from tests.upstreams.origin import OK, REQUEST, Caller, Origin, Visit, answer_ok, begin, call, close_at_once, wait_for


async def answer_when_told(visit: Visit) -> None:
    """Takes requests and leaves the answering to the test (`visit.send`)."""
    while await visit.request():
        pass


def resolve_to(*addresses: str) -> None:
    """Any name has these addresses, in the running loop."""

    async def answer(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    asyncio.get_running_loop().getaddrinfo = answer  # type: ignore[method-assign,assignment]


async def test_connections_are_kept_and_the_last_used_goes_first() -> None:
    async with Origin(answer_ok) as origin:
        pool = origin.pool()
        first, second = Caller(), Caller()
        begin(pool, first)
        begin(pool, second)
        await asyncio.wait_for(asyncio.gather(first.ended.wait(), second.ended.wait()), 5)
        for _ in range(5):
            again = await call(pool)
            assert again.told == ["ready", "head", "end"]
        assert sorted(visit.requests for visit in origin.visits) == [1, 6]
        await pool.close()


async def test_at_the_bound_who_comes_waits_and_is_served_in_order() -> None:
    async with Origin(answer_when_told) as origin:
        pool = origin.pool(upstream_max_connections=1)
        callers = [Caller() for _ in range(4)]
        for caller in callers:
            begin(pool, caller)
        for number, caller in enumerate(callers):
            await asyncio.wait_for(caller.ready.wait(), 5)
            assert not any(later.ready.is_set() for later in callers[number + 1 :])
            await wait_for(lambda: origin.visits[0].requests == number + 1)  # noqa: B023
            origin.visits[0].send(OK)
            await asyncio.wait_for(caller.ended.wait(), 5)
        assert len(origin.visits) == 1
        await pool.close()


async def test_the_queue_is_bounded() -> None:
    async with Origin(answer_when_told) as origin:
        pool = origin.pool(upstream_max_connections=1, max_in_flight=2)
        callers = [Caller() for _ in range(4)]
        for caller in callers:
            begin(pool, caller)
        assert [caller.told for caller in callers] == [[], [], [], ["failed"]]
        assert callers[3].failure is not None
        assert callers[3].failure.kind is FailureKind.OVERLOADED
        await pool.close()


async def test_one_who_leaves_the_queue_is_passed_over() -> None:
    async with Origin(answer_ok) as origin:
        pool = origin.pool(upstream_max_connections=1)
        served, left, next_one = Caller(), Caller(), Caller()
        for caller in (served, left, next_one):
            begin(pool, caller)
        pool.forget(left)
        await asyncio.wait_for(next_one.ended.wait(), 5)
        assert next_one.body == b"ok"
        assert left.told == []
        await pool.close()


async def test_a_dial_whose_asker_left_serves_the_next_one() -> None:
    async with Origin(answer_ok) as origin:
        pool = origin.pool(upstream_max_connections=1)
        left, waiting = Caller(), Caller()
        begin(pool, left)
        pool.forget(left)
        begin(pool, waiting)
        await asyncio.wait_for(waiting.ended.wait(), 5)
        again = await call(pool)
        assert (left.told, waiting.body, again.body) == ([], b"ok", b"ok")
        assert len(origin.visits) == 1
        await pool.close()


async def test_a_dial_that_fails_is_not_told_to_one_who_left_and_passes_its_place_on() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        origin = Origin(answer_ok, port=closed.getsockname()[1])
        pool = origin.pool(upstream_max_connections=1)
        left, waiting = Caller(), Caller()
        begin(pool, left)
        begin(pool, waiting)
        pool.forget(left)
        await asyncio.wait_for(waiting.ended.wait(), 5)
        assert left.told == []
        assert waiting.told == ["failed"]
        assert waiting.failure is not None
        assert waiting.failure.kind is FailureKind.CONNECT
        assert waiting.failure.message.startswith("cannot connect: ")
        assert "127.0.0.1" not in waiting.failure.message, "clients are told no internal address"
    async with Origin(answer_ok, port=origin.port):
        assert (await call(pool)).body == b"ok", "failed dials hold no place"
        await pool.close()


async def test_a_connection_that_dies_in_use_makes_room_for_who_waits() -> None:
    async with Origin(answer_when_told) as origin:
        pool = origin.pool(upstream_max_connections=1)
        unlucky, waiting = Caller(), Caller()
        begin(pool, unlucky)
        begin(pool, waiting)
        await wait_for(lambda: origin.visits and origin.visits[0].requests)
        origin.visits[0].writer.close()
        await asyncio.wait_for(waiting.ready.wait(), 5)
        assert unlucky.failure is not None
        assert unlucky.failure.kind is FailureKind.RESET
        assert len(origin.visits) == 2
        await pool.close()


async def test_one_who_cancels_makes_room_and_the_upstream_is_told() -> None:
    async with Origin(answer_when_told) as origin:
        pool = origin.pool(upstream_max_connections=1)
        leaving, waiting = Caller(), Caller()
        begin(pool, leaving)
        begin(pool, waiting)
        await wait_for(lambda: origin.visits and origin.visits[0].requests)
        assert leaving.connection is not None
        leaving.connection.cancel()
        await asyncio.wait_for(origin.visits[0].gone.wait(), 5)
        await asyncio.wait_for(waiting.ready.wait(), 5)
        assert leaving.told == ["ready"]
        await pool.close()


async def test_upstreams_that_hang_up_at_once_leave_nobody_waiting() -> None:
    async with Origin(close_at_once) as origin:
        pool = origin.pool(upstream_max_connections=1)
        for _ in range(50):
            caller = await call(pool)
            assert caller.failure is not None
            assert caller.failure.kind is FailureKind.RESET
            assert caller.told.count("failed") == 1
        callers = [Caller(None) for _ in range(5)]
        for caller in callers:  # all get their turn: closed connections hold no place, and free but one
            begin(pool, caller)
        for caller in callers:
            await wait_for(lambda: caller.ready.is_set() or caller.ended.is_set())  # noqa: B023
        await pool.close()


@pytest.mark.parametrize("rounds", [0, 1, 3])  # of the loop, between the loss and the end of the dial
async def test_a_connection_lost_before_it_is_handed_over_is_told_and_counted_once(rounds: int) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def connect_and_lose(*arguments: Any, **options: Any) -> Any:
        transport, protocol = await connect(*arguments, **options)
        transport.abort()
        for _ in range(rounds):
            await asyncio.sleep(0)
        return transport, protocol

    async with Origin(answer_when_told) as origin:
        pool = origin.pool(upstream_max_connections=1)
        loop.create_connection = connect_and_lose  # type: ignore[method-assign,assignment]
        for _ in range(3):
            caller = await call(pool)
            assert caller.failure is not None
            assert caller.told == ["failed"]
            assert caller.failure.kind is FailureKind.RESET
        loop.create_connection = connect  # type: ignore[method-assign]
        served, waiting = Caller(), Caller()
        begin(pool, served)
        begin(pool, waiting)
        await asyncio.wait_for(served.ready.wait(), 5)
        assert not waiting.ready.is_set(), "the bound of one connection still holds"
        await pool.close()


async def test_a_kept_connection_that_the_upstream_has_closed_is_not_used() -> None:
    async def answer_once(visit: Visit) -> None:
        await visit.request()
        visit.send(OK)

    async with Origin(answer_once) as origin:
        pool = origin.pool()
        assert (await call(pool)).body == b"ok"
        await asyncio.wait_for(origin.visits[0].gone.wait(), 5)
        await wait_for(lambda: pool.take() is None)
        assert (await call(pool)).told == ["ready", "head", "end"]
        await pool.close()


async def test_a_kept_connection_closed_under_a_request_is_stale_a_new_one_is_reset() -> None:
    async def close_on_second(visit: Visit) -> None:
        await visit.request()
        visit.send(OK)
        await visit.request()

    async def close_on_first(visit: Visit) -> None:
        await visit.request()

    async with Origin(close_on_second) as origin:
        pool = origin.pool()
        await call(pool)
        assert (await call(pool)).told == ["ready", "stale"]
        await pool.close()
    async with Origin(close_on_first) as origin:
        pool = origin.pool()
        caller = await call(pool)
        assert caller.told == ["ready", "failed"]
        assert caller.failure is not None
        assert caller.failure.kind is FailureKind.RESET
        await pool.close()


async def test_an_idle_connection_is_closed_when_its_time_is_over() -> None:
    async with Origin(answer_ok) as origin:
        pool = origin.pool(upstream_keepalive_s=60.0)
        await call(pool)
        pool.sweep(1000.0)
        pool.sweep(1059.0)
        await call(pool)
        assert len(origin.visits) == 1
        pool.sweep(1061.0)  # it was used in between: its time begins anew
        await call(pool)
        assert len(origin.visits) == 1
        pool.sweep(1070.0)
        pool.sweep(1131.0)
        await asyncio.wait_for(origin.visits[0].gone.wait(), 5)
        assert pool.take() is None
        await pool.close()


async def test_only_so_many_idle_connections_are_kept() -> None:
    async with Origin(answer_ok) as origin:
        pool = origin.pool(upstream_idle_connections=2)
        callers = [Caller() for _ in range(5)]
        for caller in callers:
            begin(pool, caller)
        await asyncio.wait_for(asyncio.gather(*(caller.ended.wait() for caller in callers)), 5)
        await wait_for(lambda: sum(visit.gone.is_set() for visit in origin.visits) == 3)
        await pool.close()
        await wait_for(lambda: all(visit.gone.is_set() for visit in origin.visits))


async def test_addresses_are_tried_in_turn_and_bad_ones_last() -> None:
    resolve_to("127.0.0.3", "127.0.0.2", "127.0.0.1")
    async with Origin(answer_when_told) as origin:
        pool = origin.pool(host="upstream.test")
        for number in range(1, 4):
            caller = Caller(None)
            begin(pool, caller)
            await asyncio.wait_for(caller.ready.wait(), 5)
            await wait_for(lambda: len(origin.visits) == number)  # noqa: B023
        await pool.close()


async def test_connecting_has_a_time_limit() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):  # its queue is full, and the kernel drops who knocks
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        pool = Origin(answer_ok, port=full.getsockname()[1]).pool(connect_timeout_s=0.3)
        started_s = time.monotonic()
        caller = await call(pool)
        assert 0.2 < time.monotonic() - started_s < 5.0
        assert caller.failure is not None
        assert (caller.failure.kind, caller.failure.message) == (FailureKind.CONNECT, "connecting took too long")
        for filler in fillers:
            filler.close()


async def test_a_look_up_without_an_answer_has_the_same_limit() -> None:
    async def never(host: str, port: int, **_: Any) -> list[Any]:
        await asyncio.Event().wait()
        return []

    asyncio.get_running_loop().getaddrinfo = never  # type: ignore[method-assign,assignment]
    caller = await call(Origin(answer_ok, port=9).pool(host="slow.test", connect_timeout_s=0.1))
    assert caller.failure is not None
    assert caller.failure.kind is FailureKind.CONNECT


@pytest.mark.parametrize("host", ["a..b", "x" * 70, ".test", "\u00fc" * 80])
async def test_a_name_that_is_none_is_a_failure_like_others(host: str) -> None:
    caller = await call(Origin(answer_ok, port=9).pool(host=host))
    assert caller.failure is not None
    assert caller.failure.kind is FailureKind.CONNECT


async def test_closing_tells_those_who_wait_for_a_dial() -> None:
    async def never(host: str, port: int, **_: Any) -> list[Any]:
        await asyncio.Event().wait()
        return []

    asyncio.get_running_loop().getaddrinfo = never  # type: ignore[method-assign,assignment]
    pool: Pool = Origin(answer_ok, port=9).pool(host="slow.test")
    caller = Caller()
    begin(pool, caller)
    await asyncio.sleep(0)
    await pool.close()
    assert caller.told == ["failed"]


async def test_requests_reach_the_upstream_as_they_were_sent() -> None:
    heads: list[bytes] = []

    async def keep(visit: Visit) -> None:
        heads.append(await visit.request())
        visit.send(OK)

    async with Origin(keep) as origin:
        pool = origin.pool()
        await call(pool)
        assert heads == [REQUEST]
        await pool.close()
