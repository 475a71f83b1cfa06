"""Deadlines of many calls at the price of one timer per few milliseconds in which any of them ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

log = logging.getLogger(__name__)

SLOT_S: Final = 0.002
_FAR_S: Final = 4.0
_FAR_SLOTS: Final = 31  # far deadlines share slots, 32 at a time (64 ms), so that long ones need few timers

T = TypeVar("T")


class DeadlineWheel(Generic[T]):
    """Calls `expire` for each item at its deadline, 2 ms late at most (64 ms if it was more than 4 s away), unless it
    was discarded before. An item is in one wheel once at most."""

    __slots__ = ("_expire", "_loop", "_slots", "_timers")

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[T], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._slots: dict[int, dict[T, None]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def add(self, item: T, deadline_s: float, now_s: float) -> int:
        """The slot to discard it from. Both times in monotonic seconds."""
        slot = int(deadline_s / SLOT_S) + 1
        if deadline_s - now_s > _FAR_S:
            slot |= _FAR_SLOTS
        items = self._slots.get(slot)
        if items is None:
            self._slots[slot] = {item: None}
            self._timers[slot] = self._loop.call_later(slot * SLOT_S - now_s, self._expire_slot, slot)
        else:
            items[item] = None
        return slot

    def discard(self, item: T, slot: int) -> None:
        items = self._slots.get(slot)
        if items is not None:
            items.pop(item, None)

    def close(self) -> None:
        """Forget everything."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._slots.clear()

    def _expire_slot(self, slot: int) -> None:
        del self._timers[slot]
        wait_s = slot * SLOT_S - time.monotonic()
        if wait_s > SLOT_S:  # the loop's clock stands still while it works: its timers may come early
            self._timers[slot] = self._loop.call_later(wait_s, self._expire_slot, slot)
            return
        for item in self._slots.pop(slot):
            try:
                self._expire(item)
            except Exception:  # the others in the slot have no other timer
                log.exception("a deadline was not dealt with")
