"""The engine of one role as the server sees it. `Job` is what it is handed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from plano.inference.engines.job import Job, Json

__all__ = ["Engine", "EngineError", "Job", "Json"]


class EngineError(Exception):
    """An engine that cannot be made, does not start, or is no longer there. The message says what to do about it; it
    is shown to the operator."""


class Engine(ABC):
    """Does the work of one role.

    `concurrency` is how many jobs it wants at once; the server keeps the others in the role's queue and hands over what
    waits together. `name` and `model` are for people (`/cluster`, metrics, logs); engines of one name start one after
    the other.
    """

    name: str = ""
    model: str = ""
    concurrency: int = 64

    @abstractmethod
    async def start(self) -> None:
        """Load, and warm up every path that a job can take. Raises EngineError."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Take these jobs; never blocks longer than a millisecond, never raises for what is in them."""

    async def close(self) -> None:
        """Stop, and free everything. Jobs still under way fail with `Status.UNAVAILABLE`."""
        return

    def check(self) -> str | None:
        """Why the engine can no longer work, None while it can. Asked for once a second; the server then fails what
        waits, closes the engine and starts a new one."""
        return None

    def metrics(self) -> dict[str, float]:
        """The engine's own figures, by a name in snake case with its unit (`kv_cache_usage_ratio`,
        `prefix_cache_hits_total`). Those ending in `_total` are counters."""
        return {}
