"""The life of a request at an agent listener: which agents, in which order, and what they know of one another.

The last agent writes the answer, and is called as a model would be (`Exchange`). Those before it answer for it: theirs
are read as a whole and become context. One after the other, or all at once where the listener says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from plano.agents.context import add_answer, read_answer
from plano.agents.filters import FilterFailed, FilterRefused
from plano.agents.payload import PATH, BadPayload, apply_payload, render_payload
from plano.dialects.conversation import Answer, BadAnswer, BadRequest, Conversation
from plano.dialects.identity.chat import encode
from plano.frontends.deliberation import Findings
from plano.frontends.delivery import Phase
from plano.frontends.errors import GatewayError, explain_agent_failure, explain_refusal, explain_unresolved
from plano.frontends.exchange import Exchange
from plano.frontends.payload import render_payload as render_request
from plano.frontends.translation import Inflater
from plano.telemetry.record import Attempt
from plano.upstreams.attempts import Step, decide_next, parse_retry_after
from plano.upstreams.call import WholeAnswer, fetch
from plano.upstreams.candidate import Candidate
from plano.upstreams.failures import Failure, FailureKind

if TYPE_CHECKING:
    from plano.frontends.agent import Agent, AgentListener

log = logging.getLogger(__name__)

Json = dict[str, Any]


class AgentFailed(Exception):
    """An agent that must not be passed over has failed."""

    def __init__(self, agent_id: str, failure: Failure) -> None:
        super().__init__(failure.message)
        self.agent_id = agent_id
        self.failure = failure


class AgentExchange(Exchange):
    """See the module."""

    __slots__ = ("_heard", "_writer")
    _writer: Agent | None  # set when the agents are chosen; None: the default model

    def _consider(self) -> None:
        listener = cast("AgentListener", self._listener)
        self._heard: Answer | None = None
        self._preferences = listener.preferences  # for the record: the names of what is chosen are the config's
        try:
            if self._ask(listener.agent_routes, multiple=True):
                return
        except BadRequest as bad:
            self._reject(GatewayError(400, "invalid_request", bad.message, param=bad.param))
            return
        self._run(listener.choose_agents(()))

    def _decided(self, findings: Findings) -> None:
        self._take(findings)
        if findings.blocked:
            self._refuse()
        else:
            self._run(cast("AgentListener", self._listener).choose_agents(findings.routes))

    def _run(self, agents: Sequence[Agent]) -> None:
        """Call these agents; the last one writes the answer, or the default model does."""
        listener = cast("AgentListener", self._listener)
        if len(agents) > 1 and listener.model_writes:
            self._writer = None
            heard = agents
        else:
            self._writer = writer = agents[-1]
            heard = agents[:-1]
            if not heard and writer.filters is None:
                self._hand_over()
                return
        self._phase = Phase.PREPARE
        self._work = asyncio.get_running_loop().create_task(self._prepare(heard))

    async def _prepare(self, agents: Sequence[Agent]) -> None:
        """Everything before the writer is called."""
        try:
            body = await self._gather_context(agents, self._routed[0])
            if self._writer is not None:
                body = await self._filter_for(self._writer, body)
            self._request.body = encode(body)
            self._routed = (body, self._routed[1], self._routed[2])
        except FilterRefused as refused:
            error = explain_refusal(refused)
        except FilterFailed as unfiltered:
            error = GatewayError(502, "filter_failed", f"The request could not be filtered: {unfiltered}.")
        except AgentFailed as failed:
            error = explain_agent_failure(failed.agent_id, failed.failure)
        except BadRequest as bad:
            error = GatewayError(400, "invalid_request", bad.message, param=bad.param)
        except Exception:
            log.exception("preparing a request for an agent failed")
            message = "The gateway could not prepare this request. Its log says more."
            error = GatewayError(500, "internal_error", message)
        else:
            self._work = None
            self._hand_over()
            return
        self._work = None
        self._reject(error)

    def _hand_over(self) -> None:
        """The writer's turn: from here on it is like any upstream."""
        writer = self._writer
        if writer is not None:
            self._proceed((writer.candidates[self._wire.name],))
            return
        chain = self._listener.frontend.candidates.chain(None, self._wire.name)
        if not chain:
            self._reject(explain_unresolved(None))
            return
        self._conversation = None  # the model's dialect may be another: what the agents said goes into it
        self._proceed(chain)

    async def _gather_context(self, agents: Sequence[Agent], body: Json) -> Json:
        """The request with what these agents have to say. Raises AgentFailed, FilterRefused, FilterFailed."""
        if not cast("AgentListener", self._listener).parallel:
            for agent in agents:
                body = self._learn(agent, body, await self._hear(agent, body))
            return body
        loop = asyncio.get_running_loop()
        hearings = [loop.create_task(self._hear(agent, body)) for agent in agents]
        try:
            answers = await asyncio.gather(*hearings)
        except BaseException:
            for hearing in hearings:
                hearing.cancel()
            raise
        for place in range(len(agents)):
            body = self._learn(agents[place], body, answers[place])
        return body

    def _learn(self, agent: Agent, body: Json, answer: Answer | None) -> Json:
        """What `agent` has said becomes context; None: it was passed over."""
        if answer is None:
            return body
        self._heard = answer
        return add_answer(self._wire.name, body, answer, agent.plan.id)

    # -- one agent that answers for the next -----------------------------------------------------------------------

    async def _hear(self, agent: Agent, body: Json) -> Answer | None:
        """The answer of `agent` to `body`; None when it failed and may be passed over."""
        candidate = agent.candidates[self._wire.name]
        filtered = encode(await self._filter_for(agent, body))
        tries = 0
        while True:
            tries += 1
            began_s = time.monotonic()
            if agent.plan.on_failure == "skip" and not candidate.breaker.admit(began_s):
                self._attempts.append(
                    Attempt(candidate.provider, candidate.name, 0, FailureKind.CIRCUIT_OPEN.value, 0.0)
                )
                self._skipped += 1
                return None
            outcome = await self._call(candidate, filtered)
            now_s = time.monotonic()
            if isinstance(outcome, Answer):
                candidate.note_success()
                self._attempts.append(Attempt(candidate.provider, candidate.name, 200, "", now_s - began_s))
                return outcome
            candidate.note_failure(outcome, now_s, random.random())
            kind = outcome.kind.value
            self._attempts.append(Attempt(candidate.provider, candidate.name, outcome.status, kind, now_s - began_s))
            decision = decide_next(
                outcome,
                candidate.plan.retry,
                tries=tries,
                candidates_left=0,
                remaining_s=self._given_up_s - now_s,
                budget=self._listener.frontend.retries,
                now_s=now_s,
                dice=random.random(),
            )
            if decision.step is not Step.RETRY:
                if agent.plan.on_failure == "skip":
                    return None
                raise AgentFailed(agent.plan.id, outcome)
            await asyncio.sleep(decision.delay_s)

    async def _call(self, candidate: Candidate, body: bytes) -> Answer | Failure:
        stream = self._routed[2]
        payload = render_request(self._request, candidate, self._trace, self._request_id, body, stream)
        left_s = self._given_up_s - time.monotonic()
        limit_s = candidate.limit_s
        outcome = await fetch(candidate.pool, payload, left_s if limit_s is None else min(left_s, limit_s))
        if isinstance(outcome, Failure):
            return outcome
        if outcome.status != 200:
            retry_after_s = parse_retry_after(outcome.retry_after, time.time()) if outcome.retry_after else None
            kind = FailureKind.STATUS if outcome.status >= 400 else FailureKind.PROTOCOL
            message = f"status {outcome.status}"
            return Failure(
                kind, message, status=outcome.status, retry_after_s=retry_after_s, body=outcome.body[:262_144]
            )
        try:
            return self._read(outcome)
        except BadAnswer as bad:
            return Failure(FailureKind.PROTOCOL, str(bad), body=outcome.body[:2_048])

    def _read(self, whole: WholeAnswer) -> Answer:
        """The answer of an agent. Raises BadAnswer."""
        body = whole.body
        if whole.coding:
            body = Inflater(whole.coding).feed(body)
        streamed = whole.content_type.startswith(b"text/event-stream")
        conversation = self._conversation
        if conversation is None:
            conversation = Conversation(None, [])
        try:
            return read_answer(self._wire.name, body, conversation, streamed=streamed)
        except BadAnswer:
            raise
        except Exception as error:
            log.exception("reading an agent's answer failed")
            raise BadAnswer("the answer could not be read") from error

    async def _filter_for(self, agent: Agent, body: Json) -> Json:
        """The request as the filters of `agent` leave it. Raises FilterRefused and FilterFailed."""
        if agent.filters is None:
            return body
        dialect = self._wire.name
        before = render_payload(dialect, body)
        after = await agent.filters.apply(before, self.filtered_request()._replace(path=PATH))
        try:
            return apply_payload(dialect, body, before, after)
        except BadPayload as bad:
            raise FilterFailed(", ".join(agent.plan.filters), f"the answer is of no use, {bad}") from bad

    # -- the writer ----------------------------------------------------------------------------------------------

    def _give_up(self, failure: Failure) -> None:
        """The writer has failed. Where it may be passed over, what was heard last is the answer."""
        writer = self._writer
        if writer is None:
            super()._give_up(failure)
        elif writer.plan.on_failure == "skip" and self._heard is not None:
            self._say(self._heard)
        else:
            self._answer_error(explain_agent_failure(writer.plan.id, failure), None)
