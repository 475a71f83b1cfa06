"""What the task-specific models have to say about a request: is it an attack, which route serves it, and what do the
tools of the prompt targets have to be called with?

All are asked at the same time, and the slowest one is what the client waits for. A model that gives no answer in time
costs its opinion, never the request (what happens then is the config's choice: design, section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from plano.config.plan import InferencePlan
from plano.dialects.conversation import Conversation
from plano.inference.calls import (
    BadCall,
    Decision,
    FunctionAnswer,
    FunctionCall,
    GuardCall,
    OrchestratorCall,
    Route,
    Verdict,
)
from plano.inference.client import InferenceClient, Outcome, PendingCall
from plano.inference.roles.guard import texts_to_judge
from plano.inference.roles.turns import select_turns
from plano.inference.wire import Status

GUARD: Final = "guard"
ORCHESTRATOR: Final = "orchestrator"
FUNCTION: Final = "function"


class Findings(NamedTuple):
    """`routes` are the chosen ones, by name and in order, empty when none serves; `confidence` goes with them.
    `probability` of an attack (None: not asked, or no answer); `blocked` is the verdict. `degraded` names the roles
    that gave no answer. `function` is what the function model said, None when it was not asked or gave no answer."""

    routes: tuple[str, ...] = ()
    confidence: float | None = None
    probability: float | None = None
    flagged: bool = False
    blocked: bool = False
    degraded: tuple[str, ...] = ()
    function: FunctionAnswer | None = None


class Deliberation:
    """One request's questions. `done` is called once, on the event loop and not from within `ask`, unless `cancel` came
    first."""

    __slots__ = (
        "_blocked",
        "_calls",
        "_confidence",
        "_degraded",
        "_done",
        "_flagged",
        "_function",
        "_known",
        "_plan",
        "_probability",
        "_routes",
    )

    def __init__(self, plan: InferencePlan, done: Callable[[Findings], None]) -> None:
        self._plan = plan
        self._done: Callable[[Findings], None] | None = done
        self._calls: dict[str, PendingCall] = {}
        self._known: frozenset[str] = frozenset()
        self._routes: tuple[str, ...] = ()
        self._confidence: float | None = None
        self._probability: float | None = None
        self._flagged = False
        self._blocked = False
        self._degraded: list[str] = []
        self._function: FunctionAnswer | None = None

    def ask(
        self,
        client: InferenceClient,
        conversation: Conversation,
        routes: Sequence[Route],
        *,
        guarded: bool,
        traceparent: bytes,
        multiple: bool = False,
        inquiry: FunctionCall | None = None,
    ) -> bool:
        """Send the questions; False when there is nothing to ask (`done` is then not called)."""
        plan = self._plan
        if guarded:
            texts = texts_to_judge(conversation, plan.guard.scope)
            if texts:
                body = GuardCall(texts).pack()
                self._calls[GUARD] = client.call(GUARD, body, plan.guard.timeout_s, traceparent, self._take_verdict)
        if routes:
            turns = select_turns(conversation)
            if turns:
                self._known = frozenset(route.name for route in routes)
                timeout_s = plan.orchestrator.timeout_s
                body = OrchestratorCall(turns, tuple(routes), multiple).pack()
                self._calls[ORCHESTRATOR] = client.call(ORCHESTRATOR, body, timeout_s, traceparent, self._take_decision)
        if inquiry is not None:
            timeout_s = plan.function.timeout_s
            self._calls[FUNCTION] = client.call(FUNCTION, inquiry.pack(), timeout_s, traceparent, self._take_function)
        return bool(self._calls)

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._done = None
        calls = list(self._calls.values())
        self._calls.clear()
        for call in calls:
            call.cancel()

    def _take_verdict(self, outcome: Outcome) -> None:
        self._calls.pop(GUARD, None)
        try:
            if outcome.status is not Status.OK:
                raise BadCall(outcome.message)
            verdict = Verdict.unpack(outcome.body)
        except BadCall:
            self._degraded.append(GUARD)
            self._blocked = self._plan.guard.on_failure == "block"
        else:
            self._probability = verdict.probability
            self._flagged = verdict.flagged
            self._blocked = verdict.probability >= self._plan.guard.threshold
        self._settle()

    def _take_decision(self, outcome: Outcome) -> None:
        self._calls.pop(ORCHESTRATOR, None)
        try:
            if outcome.status is not Status.OK:
                raise BadCall(outcome.message)
            chosen, self._confidence = Decision.unpack(outcome.body)
            self._routes = tuple(name for name in chosen if name in self._known)
        except BadCall:
            self._degraded.append(ORCHESTRATOR)
        self._settle()

    def _take_function(self, outcome: Outcome) -> None:
        self._calls.pop(FUNCTION, None)
        try:
            if outcome.status is not Status.OK:
                raise BadCall(outcome.message)
            self._function = FunctionAnswer.unpack(outcome.body)
        except BadCall:
            self._degraded.append(FUNCTION)
        self._settle()

    def _settle(self) -> None:
        done = self._done
        if done is None or (self._calls and not self._blocked):
            return
        self.cancel()  # blocked: which way it would have gone is nobody's concern
        done(
            Findings(
                self._routes,
                self._confidence,
                self._probability,
                self._flagged,
                self._blocked,
                tuple(self._degraded),
                self._function,
            )
        )
