"""An engine's life: made, started, checked every second, closed and made anew when it can no longer work."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from plano.inference.engines.engine import Engine, EngineError
from plano.inference.lanes import FAILED, LOADING, Lane

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeeperPolicy:
    """Seconds. An engine that lived for `long_life_s` starts its backoff anew. A start that takes longer than `start_s`
    has failed: that is much more than a large model on a slow disk needs, and less than for ever."""

    start_s: float = 900.0
    check_s: float = 1.0
    restart_first_s: float = 1.0
    restart_max_s: float = 30.0
    long_life_s: float = 60.0
    close_s: float = 20.0


KEEPER_POLICY: Final = KeeperPolicy()


class EngineKeeper:
    """Keeps one role's engine alive.

    `loading` are the server's locks by the name of an engine, held while one of that name starts: vLLM's measure what
    is free of a GPU that they divide, embedded ones share weights and a core. Who is of another kind does not wait.
    `first_start` is done when the first start has ended, with the cause if it failed, else None.
    """

    def __init__(
        self,
        lane: Lane,
        make: Callable[[], Engine],
        loading: dict[str, asyncio.Lock],
        policy: KeeperPolicy = KEEPER_POLICY,
    ) -> None:
        self.first_start: asyncio.Future[EngineError | None] = asyncio.get_running_loop().create_future()
        self._lane = lane
        self._make = make
        self._loading = loading
        self._policy = policy

    async def run(self) -> None:
        """Until cancelled; then the engine is closed."""
        try:
            await self._keep_alive()
        finally:
            self._tell_first(EngineError("the server ends"))

    async def _keep_alive(self) -> None:
        delay_s = self._policy.restart_first_s
        while True:
            self._lane.set_state(LOADING, self._lane.cause)
            begun_s = time.monotonic()
            cause = await self._live_once()
            self._lane.set_state(FAILED, cause)
            if time.monotonic() - begun_s >= self._policy.long_life_s:
                delay_s = self._policy.restart_first_s
            log.error("%s: %s; next start in %.1f s", self._lane.role, cause, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, self._policy.restart_max_s)

    async def _live_once(self) -> str:
        """One engine from start to end; why it ended."""
        lane = self._lane
        lane.starts += 1
        engine: Engine | None = None
        try:
            engine = self._make()
            async with self._loading.setdefault(engine.name, asyncio.Lock()):
                await self._start(engine)
        except Exception as error:  # whatever it is, the other roles go on
            if not isinstance(error, EngineError):
                log.exception("%s: the engine does not start", lane.role)
            cause = str(error) or type(error).__name__
            if engine is not None:
                await self._close(engine, cause)
            self._tell_first(error if isinstance(error, EngineError) else EngineError(cause))
            return cause
        except asyncio.CancelledError:
            if engine is not None:
                await self._close(engine, "the server ends")
            raise
        # At the first start the cluster says so itself.
        level = logging.INFO if lane.starts > 1 else logging.DEBUG
        log.log(level, "%s: %s is ready", lane.role, " ".join(part for part in (engine.name, engine.model) if part))
        lane.open(engine)
        self._tell_first(None)
        cause = "the server ends"
        try:
            cause = await self._watch(engine)
        finally:
            lane.set_state(FAILED, cause)
            await self._close(engine, cause)
        return cause

    async def _start(self, engine: Engine) -> None:
        """Raises what the engine raises, and EngineError when it takes too long."""
        try:
            async with asyncio.timeout(self._policy.start_s) as patience:
                await engine.start()
        except TimeoutError as error:
            if not patience.expired():
                raise
            message = f"{engine.name} {engine.model}".strip()
            raise EngineError(f"{message} did not start within {self._policy.start_s:g} s") from error

    async def _watch(self, engine: Engine) -> str:
        """Returns the cause when the engine can no longer work."""
        while True:
            await asyncio.sleep(self._policy.check_s)
            try:
                cause = engine.check()
            except Exception as error:
                log.exception("%s: the engine raised in check", self._lane.role)
                cause = str(error) or type(error).__name__
            if cause is not None:
                return cause

    async def _close(self, engine: Engine, cause: str) -> None:
        # What waits goes to another replica at once, while the engine is being closed.
        self._lane.close(cause)
        try:
            async with asyncio.timeout(self._policy.close_s):
                await engine.close()
        except TimeoutError:
            log.error("%s: the engine did not close within %.0f s", self._lane.role, self._policy.close_s)
        except Exception:
            log.exception("%s: the engine raised in close", self._lane.role)

    def _tell_first(self, cause: EngineError | None) -> None:
        if not self.first_start.done():
            self.first_start.set_result(cause)
