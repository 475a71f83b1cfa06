"""Jobs for engines under test, as the server would hand them over."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

from plano.inference.engines.engine import Engine, Job
from plano.inference.wire import Status

PATIENCE_S = 20.0


class Ending(NamedTuple):
    """How a job ended. `body` is the answer, or the message of a failure."""

    status: Status
    body: Any


class Asked:
    """A job under way. `endings` are all the ends it came to: one, or something is wrong."""

    def __init__(self, engine: Engine, body: Any, timeout_s: float = PATIENCE_S, traceparent: bytes = b"") -> None:
        self.endings: list[Ending] = []
        self._ended = asyncio.Event()
        self.job = Job(body, time.monotonic() + timeout_s, traceparent, self._end)
        engine.submit([self.job])

    async def ending(self) -> Ending:
        """Raises TimeoutError when the engine keeps it waiting."""
        async with asyncio.timeout(PATIENCE_S):
            await self._ended.wait()
        assert len(self.endings) == 1
        return self.endings[0]

    def _end(self, job: Job, status: Status, body: Any) -> None:
        self.endings.append(Ending(status, body))
        self._ended.set()


async def ask(engine: Engine, body: Any, timeout_s: float = PATIENCE_S) -> Ending:
    """Hand over one job and wait for its end."""
    return await Asked(engine, body, timeout_s).ending()
