"""Waiting for a condition: until it holds, never for luck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

DEADLINE_S = 10.0


async def wait_until(condition: Callable[[], object], what: str = "", timeout_s: float = DEADLINE_S) -> None:
    """Return as soon as `condition()` is true. Raises TimeoutError, naming `what` was awaited."""
    limit_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > limit_s:
            raise TimeoutError(what or "the condition never held")
        await asyncio.sleep(0.002)
