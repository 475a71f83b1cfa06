"""Deadlines that are looked at in turn."""

from __future__ import annotations

import asyncio

from plano.frontends.deadlines import NEVER, DeadlineTable


class Wait:
    """Something with a deadline; it leaves the table when that has passed, as requests do."""

    def __init__(self, table: DeadlineTable[Wait], deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.expired_s: list[float] = []
        self.over = asyncio.Event()
        self._table = table
        table.watch(self)

    def expire(self, now_s: float) -> None:
        self.expired_s.append(now_s)
        self._table.live.pop(self, None)
        self.over.set()


async def test_what_is_due_expires_and_nothing_else() -> None:
    table: DeadlineTable[Wait] = DeadlineTable(60.0)
    due, later, never = Wait(table, 10.0), Wait(table, 10.1), Wait(table, NEVER)
    table.examine(10.0)
    assert (due.expired_s, later.expired_s, never.expired_s) == ([10.0], [], [])
    table.examine(11.0)
    assert (due.expired_s, later.expired_s, never.expired_s) == ([10.0], [11.0], [])


async def test_a_deadline_that_moves_is_kept_where_it_moved_to() -> None:
    table: DeadlineTable[Wait] = DeadlineTable(60.0)
    wait = Wait(table, 10.0)
    wait.deadline_s = 20.0
    table.examine(15.0)
    assert wait.expired_s == []
    table.examine(20.0)
    assert wait.expired_s == [20.0]


async def test_what_has_left_does_not_expire_even_within_the_round() -> None:
    table: DeadlineTable[Wait] = DeadlineTable(60.0, slice_size=1)
    waits = [Wait(table, 1.0) for _ in range(3)]
    table.examine(5.0)
    expired = next(wait for wait in waits if wait.expired_s)
    for wait in waits:
        table.live.pop(wait, None)
    for _ in range(5):
        table.examine(5.0)
    assert [wait for wait in waits if wait.expired_s] == [expired]


async def test_many_are_looked_at_a_slice_at_a_time_and_none_is_forgotten() -> None:
    table: DeadlineTable[Wait] = DeadlineTable(60.0, slice_size=10)
    waits = [Wait(table, 1.0) for _ in range(35)]
    done = []
    for _ in range(4):
        table.examine(5.0)
        done.append(sum(bool(wait.expired_s) for wait in waits))
    assert done == [10, 20, 30, 35]


async def test_one_who_comes_during_a_round_has_its_turn_in_the_next() -> None:
    table: DeadlineTable[Wait] = DeadlineTable(60.0, slice_size=1)
    first, second = Wait(table, 1.0), Wait(table, 1.0)
    table.examine(5.0)
    late = Wait(table, 1.0)
    table.examine(5.0)
    assert first.expired_s
    assert second.expired_s
    assert not late.expired_s
    table.examine(5.0)
    assert late.expired_s


async def test_the_table_ticks_only_while_something_is_live() -> None:
    table: DeadlineTable[Wait] = DeadlineTable(0.001)
    ticks = 0
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def count(delay: float, callback: object, *args: object) -> asyncio.TimerHandle:
        nonlocal ticks
        ticks += delay == 0.001
        return call_later(delay, callback, *args)  # type: ignore[arg-type]

    loop.call_later = count  # type: ignore[method-assign,assignment]
    for _ in range(2):
        wait = Wait(table, 0.0)
        await asyncio.wait_for(wait.over.wait(), 5.0)
        before = ticks
        await asyncio.sleep(0.02)
        assert ticks == before > 0
