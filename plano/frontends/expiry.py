"""Time-outs without a timer per request: two structures that cost one dictionary operation where it is hot."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T", bound=Hashable)


class ExpiryQueue(Generic[T]):
    """Items that expire a constant time after they were added. Insertion order is expiry order, so a sweep looks only
    at what has expired."""

    __slots__ = ("_entries", "_expire", "_timeout_s")

    def __init__(self, timeout_s: float, expire: Callable[[T], None]) -> None:
        self._timeout_s = timeout_s
        self._expire = expire
        self._entries: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item: T) -> bool:
        return item in self._entries

    def add(self, item: T, now_s: float) -> None:
        """Start (or start again) the time of `item`."""
        self._entries.pop(item, None)
        self._entries[item] = now_s + self._timeout_s

    def remove(self, item: T) -> None:
        self._entries.pop(item, None)

    def items(self) -> list[T]:
        return list(self._entries)

    def sweep(self, now_s: float, most: int = 500) -> None:
        """Expire at most `most` items that are due: a sweep is a slice of the loop's time, not all of it."""
        entries = self._entries
        for _ in range(most):
            item = next(iter(entries), None)
            if item is None or entries[item] > now_s:
                return
            del entries[item]
            self._expire(item)


class Deadlined(Protocol):
    """Something that has to act when its `deadline_s` (monotonic) has passed. It may move it at any time."""

    deadline_s: float

    def expire(self, now_s: float) -> None: ...


class DeadlineTable:
    """Everything in flight, looked at in turn. A deadline is kept to within one tick as long as fewer than
    `slice_size` items are in flight, and later in proportion beyond that."""

    __slots__ = ("_round", "_slice_size", "live")

    def __init__(self, slice_size: int = 1_000) -> None:
        self.live: dict[Deadlined, None] = {}
        self._round: list[Deadlined] = []
        self._slice_size = slice_size

    def tick(self, now_s: float) -> None:
        if not self._round:
            self._round = list(self.live)
        for item in self._round[-self._slice_size :]:
            if item.deadline_s <= now_s and item in self.live:
                item.expire(now_s)
        del self._round[-self._slice_size :]
