"""Engine `embedded`: small weights shipped with the package, on one core, without a download.

One worker thread per engine does the work, so that the event loop stays free; the numeric library is held to one thread
of its own, because a second one would take a core from the frontends.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import PriorityQueue
from typing import Any, Final

from plano.config.plan import RolePlan
from plano.inference.calls import BadCall, FunctionCall, GuardCall, OrchestratorCall, RoleName
from plano.inference.engines.engine import Engine, EngineError, Job
from plano.inference.wire import Status

log = logging.getLogger(__name__)

Json = dict[str, Any]
Answer = Callable[[Any], Json]
# All of them are known to the engine, for it does the short ones first.
CONCURRENCY: Final = 512
_MODELS: Final[dict[RoleName, str]] = {
    "orchestrator": "plano-route-embedded",
    "guard": "plano-guard-embedded",
    "function": "plano-function-embedded",
}


def make_embedded_engine(role: RoleName, plan: RolePlan) -> Engine:
    """The engine of a role; its weights are loaded by `start`."""
    return EmbeddedEngine(role, plan.concurrency or CONCURRENCY)


class EmbeddedEngine(Engine):
    """See the module. Jobs are done one after the other, the one with the least text first: a few very long prompts
    must not cost everybody else the deadline, for a guard that gives no answer in time guards nothing."""

    name = "embedded"

    def __init__(self, role: RoleName, concurrency: int = CONCURRENCY) -> None:
        self.model = _MODELS[role]
        self.concurrency = concurrency
        self._role = role
        self._answer: Answer | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[Job] = set()
        self._order: PriorityQueue[tuple[int, int, Job]] = PriorityQueue()
        self._submitted = 0
        self._answered = 0
        self._failed = 0
        self._read_extra: Callable[[], dict[str, float]] = dict

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"embedded-{self._role}")
        try:
            self._answer = await self._loop.run_in_executor(self._thread, self._load)
        except ImportError as error:
            await self.close()
            raise EngineError(f"the embedded {self._role} needs a package that is missing: {error}") from error
        except Exception as error:
            await self.close()
            raise EngineError(
                f"the embedded {self._role} does not load: {error}. Install the package again."
            ) from error

    def submit(self, jobs: Sequence[Job]) -> None:
        if self._thread is None:
            for job in jobs:
                job.fail(Status.UNAVAILABLE, f"the embedded {self._role} is not running")
            return
        self._waiting.update(jobs)
        for job in jobs:
            self._submitted += 1
            self._order.put((measure_text(job.request), self._submitted, job))
            self._thread.submit(self._work)

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            # Work that has begun ends within milliseconds; what has not begun is dropped here and failed below.
            await asyncio.get_running_loop().run_in_executor(None, lambda: thread.shutdown(cancel_futures=True))
        for job in self._waiting:
            job.fail(Status.UNAVAILABLE, f"the embedded {self._role} has been stopped")
        self._waiting.clear()
        self._answer = None

    def metrics(self) -> dict[str, float]:
        return {"answers_total": self._answered, "failures_total": self._failed, **self._read_extra()}

    def _load(self) -> Answer:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from threadpoolctl import threadpool_limits

        match self._role:
            case "orchestrator":
                answer = self._load_orchestrator()
            case "guard":
                answer = self._load_guard()
            case "function":
                answer = self._load_function()
        threadpool_limits(limits=1)  # after the numeric library is loaded: it knows only what is there
        return answer

    def _load_orchestrator(self) -> Answer:
        from plano.inference.calls import Route, Turn
        from plano.inference.embedded.routing import EmbeddedOrchestrator

        orchestrator = EmbeddedOrchestrator()
        routes = (Route("weather", "Forecasts"), Route("music", "Plays songs"))
        orchestrator.decide(OrchestratorCall((Turn("user", "hello there and good morning"),), routes, multiple=True))
        self._read_extra = lambda: {"second_looks_total": float(orchestrator.second_looks)}
        return lambda body: orchestrator.decide(OrchestratorCall.unpack(body)).pack()

    def _load_guard(self) -> Answer:
        from plano.inference.embedded.guard import EmbeddedGuard

        guard = EmbeddedGuard()
        guard.judge(("hello there",))
        return lambda body: guard.judge(GuardCall.unpack(body).texts).pack()

    def _load_function(self) -> Answer:
        from plano.inference.embedded.function import EmbeddedFunction
        from plano.inference.embedded.vectors import TextRanker

        ranker = TextRanker()
        ranker.rank("hello there", ("a greeting", "a farewell"))
        function = EmbeddedFunction(ranker)
        return lambda body: function.answer(FunctionCall.unpack(body)).pack()

    def _work(self) -> None:
        """In the thread, once for every job: the shortest one there is. One that nobody waits for is not begun."""
        assert self._loop is not None
        _, _, job = self._order.get_nowait()
        if not job.ended:
            self._loop.call_soon_threadsafe(self._end, job, *self._try(job.request))
        else:
            self._loop.call_soon_threadsafe(self._waiting.discard, job)

    def _try(self, body: Any) -> tuple[Status, Any]:
        assert self._answer is not None
        try:
            return Status.OK, self._answer(body)
        except BadCall as bad:
            return Status.BAD_CALL, str(bad)
        except Exception:  # one call must not end the tier; it is logged and counted
            log.exception("the embedded %s failed", self._role)
            return Status.FAILED, f"the embedded {self._role} could not answer"

    def _end(self, job: Job, status: Status, body: Any) -> None:
        self._waiting.discard(job)
        if status is Status.OK:
            self._answered += 1
            job.finish(body)
        else:
            self._failed += 1
            job.fail(status, body)


def measure_text(body: Any) -> int:
    """How much text is in the body of a call, in characters; bodies that are none count as short."""
    size = 0
    places = [body]
    while places:
        place = places.pop()
        if isinstance(place, str):
            size += len(place)
        elif isinstance(place, dict):
            places.extend(place.values())
        elif isinstance(place, list | tuple):
            places.extend(place)
    return size
