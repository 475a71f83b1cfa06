"""Engine `upstream`: a configured model provider does a role's work by a chat completion with a JSON schema."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from plano.config.plan import ClusterPlan, RolePlan
from plano.dialects.conversation import BadRequest
from plano.inference.calls import BadCall, RoleName
from plano.inference.engines.choosing import require_target
from plano.inference.engines.completion import Completion
from plano.inference.engines.engine import Engine, EngineError, Job
from plano.inference.engines.inquiries import Inquiry, asker_for
from plano.inference.engines.question import Manners, Question, Reply
from plano.inference.roles.model_json import BadModelAnswer
from plano.inference.wire import Status
from plano.upstreams.candidate import Candidate, Candidates
from plano.upstreams.failures import Failure

log = logging.getLogger(__name__)

CONCURRENCY: Final = 64  # jobs at once, where the config does not say
AT_ONCE: Final = 8  # questions of one job: a long text is judged in pieces
SWEEP_S: Final = 5.0  # how exactly idle connections are closed
_COUNTERS: Final = (
    "requests_total",
    "tries_total",
    "failures_total",
    "cancelled_total",
    "input_tokens_total",
    "output_tokens_total",
    "request_seconds_total",
)


def make_upstream_engine(role: RoleName, role_plan: RolePlan, cluster_plan: ClusterPlan) -> Engine:
    """The engine for a role, done by the provider of `role_plan.model`, or by the default one; its fallback models
    take over when it fails. Raises EngineError where no provider can do it."""
    served = require_target(role, role_plan, cluster_plan)
    if role_plan.engine_args:
        raise EngineError(
            f"inference.{role}.engine_args do not go with engine 'upstream', which only asks {served.name}. Leave them "
            f"out, or choose engine 'vllm'."
        )
    return UpstreamEngine(served.name, asker_for(role, role_plan), Candidates(cluster_plan), role_plan)


class UpstreamEngine(Engine):
    """See the module. `model` is the first candidate's name; nothing is asked of it before the first job, because that
    costs money."""

    name = "upstream"

    def __init__(self, model: str, ask: Callable[[Any], Inquiry], candidates: Candidates, plan: RolePlan) -> None:
        self.model = model
        self.concurrency = plan.concurrency or CONCURRENCY
        self._requested = plan.model
        self._ask = ask
        self._candidates = candidates
        self._chain: tuple[Candidate, ...] = ()
        self._manners: tuple[Manners, ...] = ()
        self._errands: set[_Errand] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._counters = dict.fromkeys(_COUNTERS, 0.0)
        self._trouble = ""

    async def start(self) -> None:
        try:
            self._chain = self._candidates.chain(self._requested, "chat")
        except BadRequest as bad:
            raise EngineError(f"{self.model}: {bad.message}") from bad
        self._manners = tuple(Manners() for _ in self._chain)
        await self._candidates.refresh_credentials()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            try:
                inquiry = self._ask(job.request)
            except BadCall as bad:
                job.fail(Status.BAD_CALL, str(bad))
            except Exception:
                log.exception("a question to %s could not be put together", self.model)
                job.fail(Status.FAILED, "the question could not be put together")
            else:
                errand = _Errand(self, job, inquiry)
                self._errands.add(errand)
                job.on_cancel = errand.cancel
                errand.go_on()

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        for errand in list(self._errands):
            errand.cancel()
            errand.job.fail(Status.UNAVAILABLE, "the engine is closing")
        for pool in self._candidates.pools:
            await pool.close()

    def metrics(self) -> dict[str, float]:
        return {**self._counters, "under_way": float(sum(len(errand.under_way) for errand in self._errands))}

    def ask(self, question: Question, errand: _Errand) -> Completion:
        """Begin with one of an errand's questions; `errand.hear` gets the end of it."""
        self._counters["requests_total"] += 1
        return Completion(
            question, self._chain, self._manners, errand.job.deadline_s, errand.job.traceparent, errand.hear
        )

    def count(self, completion: Completion, result: Reply | Failure | None) -> None:
        """A question has ended; None: nobody waited any more."""
        counters = self._counters
        counters["tries_total"] += completion.tries
        counters["request_seconds_total"] += time.monotonic() - completion.began_s
        if isinstance(result, Reply):
            counters["input_tokens_total"] += result.input_tokens
            counters["output_tokens_total"] += result.output_tokens
        else:
            counters["failures_total" if result is not None else "cancelled_total"] += 1

    def end(self, errand: _Errand, trouble: str | None) -> None:
        """An errand is over. `trouble`: it failed because of the provider; "": it did not; None: it was called off."""
        self._errands.discard(errand)
        if trouble is not None:
            self._tell(trouble)

    def _tell(self, trouble: str) -> None:
        """Log what goes wrong when that changes, not for every call."""
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        elif self._trouble and not trouble:
            log.info("%s answers again", self.model)
        self._trouble = trouble

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = time.monotonic()
            for pool in self._candidates.pools:
                pool.sweep(now_s)
            await self._candidates.refresh_credentials()


class _Errand:
    """One job: its questions, some of them at the provider, and what has come back."""

    __slots__ = ("_engine", "_inquiry", "_next", "_texts", "job", "under_way")

    def __init__(self, engine: UpstreamEngine, job: Job, inquiry: Inquiry) -> None:
        self._engine = engine
        self._inquiry = inquiry
        self._next = 0
        self._texts: list[str | None] = [None] * len(inquiry.questions)
        self.job = job
        self.under_way: dict[Completion, int] = {}

    def go_on(self) -> None:
        """Ask as much as may be asked at once; answer the job when there is nothing left to wait for."""
        questions = self._inquiry.questions
        while self._next < len(questions) and len(self.under_way) < AT_ONCE and not self.job.ended:
            completion = self._engine.ask(questions[self._next], self)
            self.under_way[completion] = self._next
            self._next += 1
            completion.start()
        if not self.under_way and not self.job.ended:
            self._answer()

    def hear(self, completion: Completion, result: Reply | Failure) -> None:
        """One question has ended."""
        index = self.under_way.pop(completion)
        self._engine.count(completion, result)
        if isinstance(result, Reply):
            self._texts[index] = result.text
            self.go_on()
        else:
            self._fail(f"{self._engine.model}: {result.message}")

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._call_off()
        self._engine.end(self, None)

    def _answer(self) -> None:
        try:
            body = self._inquiry.read([text or "" for text in self._texts])
        except BadCall as bad:
            self._engine.end(self, "")
            self.job.fail(Status.BAD_CALL, str(bad))
        except BadModelAnswer as bad:
            self._fail(f"{self._engine.model} answered something else than it was asked for: {bad}")
        except Exception:
            log.exception("an answer of %s could not be read", self._engine.model)
            self._fail(f"the answer of {self._engine.model} could not be read")
        else:
            self._engine.end(self, "")
            self.job.finish(body)

    def _fail(self, message: str) -> None:
        self._call_off()
        self._engine.end(self, message)
        self.job.fail(Status.FAILED, message)

    def _call_off(self) -> None:
        for completion in list(self.under_way):
            completion.cancel()
            self._engine.count(completion, None)
        self.under_way.clear()
