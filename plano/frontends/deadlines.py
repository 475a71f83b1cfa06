"""Deadlines without a timer each: what has one is looked at in turn, a slice at a time."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Generic, Protocol, TypeVar

NEVER: Final = float("inf")


class Deadlined(Protocol):
    """Something that has to act when its `deadline_s` (monotonic seconds) has passed. It may move it at any time,
    which costs one store; `NEVER` means not now."""

    deadline_s: float

    def expire(self, now_s: float) -> None: ...


T = TypeVar("T", bound=Deadlined)


class DeadlineTable(Generic[T]):
    """Keeps the deadlines of everything in `live` to within `tick_s`, and later in proportion when more than
    `slice_size` items are live: a look at them must not hold the loop for more than some 100 us. While nothing is
    live nothing ticks."""

    __slots__ = ("_round", "_slice_size", "_tick_s", "_ticking", "live")

    def __init__(self, tick_s: float, slice_size: int = 1_000) -> None:
        self.live: dict[T, None] = {}
        self._round: list[T] = []
        self._slice_size = slice_size
        self._tick_s = tick_s
        self._ticking = False

    def watch(self, item: T) -> None:
        """Look after `item` until it is removed from `live`."""
        self.live[item] = None
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(self._tick_s, self._tick)

    def examine(self, now_s: float) -> None:
        """Expire what is due in the next slice."""
        if not self._round:
            self._round = list(self.live)
        for item in self._round[-self._slice_size :]:
            if item.deadline_s <= now_s and item in self.live:
                item.expire(now_s)
        del self._round[-self._slice_size :]

    def _tick(self) -> None:
        try:
            self.examine(time.monotonic())
        finally:  # one item that fails must not end the deadlines of all others
            self._ticking = bool(self.live)
            if self._ticking:
                asyncio.get_running_loop().call_later(self._tick_s, self._tick)
