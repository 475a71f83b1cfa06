"""What the three roles' engines have in common: jobs over to the model's thread, answers back."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final

from plano.config.plan import RolePlan
from plano.inference.calls import BadCall
from plano.inference.engines.engine import Engine, EngineError, Job
from plano.inference.engines.vllm.arguments import Runner, key_of
from plano.inference.engines.vllm.runtime import Runtime, explain
from plano.inference.roles.model_json import BadModelAnswer
from plano.inference.wire import Status

log = logging.getLogger(__name__)

Json = dict[str, Any]

DEFAULT_CONCURRENCY: Final = 256  # vLLM batches by itself; more than this only waits there instead of in our queue


class VllmEngine(Engine):
    """A role's engine on a `Runtime`. A subclass says how a body is answered (`answer`) and what has to be gone
    through once before that is fast (`warm_up`); both run on the model's loop."""

    name = "vllm"
    runner: ClassVar[Runner] = "generate"

    def __init__(self, plan: RolePlan) -> None:
        self.plan = plan
        self.model = plan.model or ""
        self.concurrency = plan.concurrency or int(plan.engine_args.get("max_num_seqs") or DEFAULT_CONCURRENCY)
        self._key = key_of(plan, self.runner)
        self._runtime: Runtime | None = None
        self._server: asyncio.AbstractEventLoop | None = None
        self._open: set[Job] = set()  # touched by the server's thread only
        self._tasks: dict[Job, asyncio.Task[Any]] = {}  # touched by the model's thread only

    @abstractmethod
    async def answer(self, body: Any, traceparent: bytes) -> Json:
        """The packed answer. Raises BadCall, BadModelAnswer, or whatever vLLM raises."""

    @abstractmethod
    async def warm_up(self, runtime: Runtime) -> None:
        """Read what is needed of the model, and take every path once. Raises EngineError for an unfit model."""

    @property
    def runtime(self) -> Runtime:
        """The loaded model. Raises EngineError while there is none."""
        if self._runtime is None:
            raise EngineError(f"{self.model} is not loaded")
        return self._runtime

    # -- on the server's thread ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._server = asyncio.get_running_loop()
        runtime = self._runtime = await Runtime.acquire(self._key)
        try:
            await runtime.run(self.warm_up(runtime))
        except BaseException as error:
            self._runtime = None
            await runtime.release()
            if isinstance(error, EngineError) or not isinstance(error, Exception):
                raise
            raise EngineError(f"{self.model} loads, but cannot be used: {explain(error)}") from error

    def submit(self, jobs: Sequence[Job]) -> None:
        runtime = self._runtime
        for job in jobs:
            job.on_cancel = partial(self._cancel, job)
            self._open.add(job)
            if runtime is None or not runtime.begin(self._work(job)):
                self._settle(job, Status.UNAVAILABLE, self._why_gone())

    async def close(self) -> None:
        runtime, self._runtime = self._runtime, None
        why = runtime.failure if runtime is not None and runtime.failure is not None else "the engine is being closed"
        for job in tuple(self._open):
            self._settle(job, Status.UNAVAILABLE, why)
        if runtime is not None:
            await runtime.release()

    def check(self) -> str | None:
        return None if self._runtime is None else self._runtime.failure

    def metrics(self) -> dict[str, float]:
        return {} if self._runtime is None else self._runtime.figures.read()

    def _settle(self, job: Job, status: Status, body: Any) -> None:
        self._open.discard(job)
        if status is Status.OK:
            job.finish(body)
        else:
            job.fail(status, body)

    def _cancel(self, job: Job) -> None:
        self._open.discard(job)
        runtime = self._runtime
        if runtime is not None:
            runtime.call(partial(self._abort, job))

    def _why_gone(self) -> str:
        runtime = self._runtime
        return "the engine is not loaded" if runtime is None else runtime.failure or "the engine has ended"

    # -- on the model's thread ----------------------------------------------------------------------------------------

    async def _work(self, job: Job) -> None:
        # `ended` is set before `on_cancel` is called: either it shows here, or `_abort` finds the task.
        if job.ended:
            return
        if self.check() is not None:
            self._report(job, Status.UNAVAILABLE, self._why_gone())
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks[job] = task
        try:
            body = await self.answer(job.request, job.traceparent)
        except asyncio.CancelledError:
            self._report(job, Status.UNAVAILABLE, self._why_gone())
            raise
        except BadCall as error:
            self._report(job, Status.BAD_CALL, str(error))
        except BadModelAnswer as error:
            self._report(job, Status.FAILED, f"{self.model} gave no usable answer: {error}")
        except Exception as error:  # what vLLM raises ends this job and no other
            if _is_death(error):
                self._report(job, Status.UNAVAILABLE, explain(error))
            else:
                log.warning("%s: a call failed", self.model, exc_info=error)
                self._report(job, Status.FAILED, explain(error))
        else:
            self._report(job, Status.OK, body)
        finally:
            del self._tasks[job]

    def _abort(self, job: Job) -> None:
        task = self._tasks.get(job)
        if task is not None:
            task.cancel()

    def _report(self, job: Job, status: Status, body: Any) -> None:
        assert self._server is not None
        try:
            self._server.call_soon_threadsafe(self._settle, job, status, body)
        except RuntimeError:
            log.debug("%s: the server's loop has ended before an answer", self.model)


def _is_death(error: Exception) -> bool:
    """Whether it says that the engine core is no longer there."""
    from vllm.v1.engine.exceptions import EngineDeadError

    return isinstance(error, EngineDeadError) or isinstance(error.__cause__, EngineDeadError)
