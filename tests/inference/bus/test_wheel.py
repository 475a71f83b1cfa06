"""Deadlines by the slot."""

from __future__ import annotations

import asyncio
import time

import pytest

from plano.inference.wheel import DeadlineWheel
from tests.inference.bus.ends import until


async def test_items_expire_at_their_deadline_and_not_before() -> None:
    expired: dict[str, float] = {}
    wheel: DeadlineWheel[str] = DeadlineWheel(
        asyncio.get_running_loop(), lambda item: expired.setdefault(item, time.monotonic())
    )
    now_s = time.monotonic()
    deadlines = {"late": now_s + 0.06, "soon": now_s + 0.02, "past": now_s - 1.0}
    for item, deadline_s in deadlines.items():
        wheel.add(item, deadline_s, now_s)
    await until(lambda: len(expired) == 3)
    assert list(expired) == ["past", "soon", "late"]
    assert all(expired[item] >= deadlines[item] - 0.002 for item in expired)


async def test_what_is_discarded_does_not_expire() -> None:
    expired: list[str] = []
    wheel: DeadlineWheel[str] = DeadlineWheel(asyncio.get_running_loop(), expired.append)
    now_s = time.monotonic()
    slot = wheel.add("answered", now_s + 0.01, now_s)
    wheel.add("forgotten", now_s + 0.01, now_s)
    wheel.discard("answered", slot)
    wheel.discard("answered", slot)
    await until(lambda: expired)
    assert expired == ["forgotten"]
    wheel.discard("forgotten", slot)


async def test_far_deadlines_share_timers() -> None:
    wheel: DeadlineWheel[int] = DeadlineWheel(asyncio.get_running_loop(), lambda item: None)
    now_s = time.monotonic()
    slots = {wheel.add(number, now_s + 100 + number / 1_000, now_s) for number in range(1_000)}
    assert len(slots) <= 18
    wheel.close()


async def test_a_closed_wheel_turns_no_more() -> None:
    expired: list[str] = []
    wheel: DeadlineWheel[str] = DeadlineWheel(asyncio.get_running_loop(), expired.append)
    now_s = time.monotonic()
    wheel.add("call", now_s, now_s)
    wheel.close()
    await asyncio.sleep(0.02)
    assert not expired


async def test_an_item_whose_end_fails_does_not_keep_the_others_of_its_slot(caplog: pytest.LogCaptureFixture) -> None:
    expired: list[int] = []

    def expire(item: int) -> None:
        if item == 0:
            raise RuntimeError("a bug")
        expired.append(item)

    wheel: DeadlineWheel[int] = DeadlineWheel(asyncio.get_running_loop(), expire)
    now_s = time.monotonic()
    assert len({wheel.add(item, now_s + 0.01, now_s) for item in range(3)}) == 1
    await until(lambda: len(expired) == 2)
    assert expired == [1, 2]
    assert "a bug" in caplog.text
