"""The life of a request at a prompt listener: which targets serve it, what their endpoints say, who words the answer.

The function model and the guard are asked at the same time. Calls that are ready are made, all at once; their results
are context for a model, which is called as for any request (`Exchange`), or are the answer themselves. What no target
fits goes to the default target, to the agents of the listener (`AgentExchange`), or to the model as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from plano.agents.filters import FilterChain, FilterFailed, FilterRefused
from plano.dialects.conversation import BadRequest
from plano.dialects.identity.chat import encode, iterate_events
from plano.frontends.agent_exchange import AgentExchange
from plano.frontends.deliberation import FUNCTION, Findings
from plano.frontends.delivery import Phase
from plano.frontends.errors import GatewayError, explain_refusal, explain_target_failure, explain_unresolved
from plano.frontends.exchange import Exchange
from plano.frontends.own_answer import compose_answer, render_own
from plano.functions.disclosure import DisclosingFilter, Disclosure
from plano.functions.history import (
    asks_something,
    list_messages,
    parse_state,
    restore_calls,
    select_messages,
    without_state,
)
from plano.functions.targets import prepare_default
from plano.functions.visits import BadArguments, Caller, Result, TargetFailed, Visit
from plano.functions.wording import (
    brings_tools,
    choose_system_prompt,
    compose_request,
    content_of,
    render_context,
)
from plano.inference.calls import FunctionAnswer, FunctionCall
from plano.routing.models import UNSPECIFIED
from plano.routing.preferences import brings_preferences, take_preferences
from plano.telemetry.record import Attempt
from plano.upstreams.candidate import Candidate
from plano.upstreams.failures import Failure

if TYPE_CHECKING:
    from plano.frontends.prompt import PromptListener

log = logging.getLogger(__name__)

Json = dict[str, Any]


class PromptExchange(AgentExchange):
    """See the module. `_messages` is the conversation as the function model sees it, `_said` its own words."""

    __slots__ = ("_disclosure", "_inquired", "_messages", "_said", "_to_agents")

    def _consider(self) -> None:
        self._heard = None
        self._disclosure: Disclosure | None = None
        self._messages: list[Json] = []
        self._said = ""
        self._inquired = False
        self._to_agents = False
        listener = cast("PromptListener", self._listener)
        self._preferences = listener.preferences  # for the record: the names of what is chosen are the config's
        try:
            inquiry = self._inquire()
            self._inquired = inquiry is not None
            model = self._routed[1]
            if not listener.agents and model is not None and model not in UNSPECIFIED:
                self._find_chain()  # a model that does not exist is the client's mistake, whatever would be decided
            if self._ask([], inquiry=inquiry):
                return
        except BadRequest as bad:
            self._reject(GatewayError(400, "invalid_request", bad.message, param=bad.param))
            return
        except GatewayError as error:
            self._reject(error)
            return
        self._pass_on()

    def _inquire(self) -> FunctionCall | None:
        """The question for the function model; None when there is none. Takes the client's state out of the request.
        Raises BadRequest."""
        targets = cast("PromptListener", self._listener).targets
        dialect = self._wire.name
        body = self._routed[0]
        messages = list_messages(dialect, body, self._parse_conversation())
        state = parse_state(body.get("metadata"))
        kept = without_state(body)
        if kept is not body:
            self._replace_body(kept)
        self._messages = select_messages(restore_calls(messages, state))
        if state:
            self._disclosure = Disclosure(self._messages)
        if not targets.tools or not asks_something(messages):
            return None
        return FunctionCall(tuple(self._messages), targets.tools)

    def _decided(self, findings: Findings) -> None:
        """The function model has answered, or, when that was settled before, the orchestrator."""
        if self._to_agents:
            self._choose_agents(findings)
            return
        answer = findings.function
        names: tuple[str, ...] = ()
        if answer is not None:
            self._said = answer.raw
            names = tuple(dict.fromkeys(call.name for call in answer.calls))
            if answer.outcome == "clarify":
                names = answer.candidates
        self._take(findings._replace(routes=names))
        if findings.blocked:
            self._refuse()
        elif answer is not None and answer.outcome != "none":
            self._serve(answer)
        elif self._inquired:
            self._fall_back()
        else:
            self._pass_on()

    def _guards(self) -> bool:
        return super()._guards() and not self._to_agents  # it has been asked by then

    # -- a target serves ---------------------------------------------------------------------------------------------

    def _serve(self, answer: FunctionAnswer) -> None:
        """Make the calls, or ask the user for what is missing."""
        question = answer.question
        visits: Sequence[Visit] = ()
        if answer.outcome == "calls":
            try:
                ready = cast("PromptListener", self._listener).targets.prepare(answer.calls)
            except BadArguments as bad:
                self._reject(GatewayError(400, "invalid_arguments", str(bad)))
                return
            visits, question = ready.visits, ready.question
        if visits:
            self._begin_work(visits, "")
        elif question:
            self._begin_work((), question)
        else:
            self._name_routes(())
            self._fall_back()

    def _begin_work(self, visits: Sequence[Visit], question: str) -> None:
        self._phase = Phase.PREPARE
        self._work = asyncio.get_running_loop().create_task(self._answer(visits, question))

    async def _answer(self, visits: Sequence[Visit], question: str) -> None:
        """Call the endpoints and go on from what they say; without any put the question to the user."""
        own: tuple[bytes, bytes] | None = None
        chain: tuple[Candidate, ...] = ()
        try:
            results = await self._visit(visits)
            if results and results[0].visit.id:  # the call of a default target is nobody's tool call
                self._disclosure = Disclosure(self._messages, results, self._said)
            if _needs_words(results):
                self._ask_for_words(choose_system_prompt(results, self._system_prompt()), render_context(results))
                chain = self._find_chain()
            elif results:
                own = await self._render_own("\n".join([content_of(result) for result in results]))
            else:
                own = await self._render_own(question)
        except TargetFailed as failed:
            fault = explain_target_failure(failed)
        except FilterRefused as refused:
            fault = explain_refusal(refused)
        except FilterFailed as unfiltered:
            fault = GatewayError(502, "filter_failed", f"The answer could not be filtered: {unfiltered}.")
        except BadRequest as bad:
            fault = GatewayError(400, "invalid_request", bad.message, param=bad.param)
        except GatewayError as error:
            fault = error
        except Exception:
            log.exception("serving a prompt failed")
            message = "The gateway could not serve this prompt. Its log says more."
            fault = GatewayError(500, "internal_error", message)
        else:
            self._work = None
            if own is None:
                self._proceed(chain)
            else:
                self._respond(own[0], own[1])
            return
        self._work = None
        self._reject(fault)

    async def _visit(self, visits: Sequence[Visit]) -> list[Result]:
        """The results of these calls. Raises TargetFailed."""
        trace_id, span_id, _, flags = self._trace
        traceparent = b"00-%b-%b-%b" % (trace_id, span_id, flags)
        caller = Caller(self._request_id.decode("latin-1"), traceparent.decode("latin-1"), self._given_up_s)
        try:
            results = await cast("PromptListener", self._listener).endpoints.visit(visits, caller)
        except TargetFailed as failed:
            self._note_visit(failed.target, failed.status, failed.kind.value, failed.duration_s)
            raise
        for result in results:
            if result.visit.placed is not None:
                self._note_visit(result.visit.target.name, result.status, "", result.duration_s)
        return results

    def _note_visit(self, target: str, status: int, error: str, duration_s: float) -> None:
        self._attempts.append(Attempt("target", target, status, error, duration_s))

    async def _render_own(self, text: str) -> tuple[bytes, bytes]:
        """(content type, body) of an answer that says `text`, past the filters of answers. Raises FilterRefused and
        FilterFailed."""
        conversation = self._parse_conversation()
        answer = compose_answer(conversation, text, self._trace[0].decode())
        content_type, body = render_own(self._wire.name, conversation, answer)
        pieces = [body]
        if conversation.stream:
            body = self._render_preface() + body
            filters = self._listener.output_filters
            pieces = [body] if filters is None or filters.buffered else list(iterate_events(body))
        else:
            filters = self._filters_of_answer(False)
        if filters is None:
            return content_type, body
        filtered = [await filters.apply(piece, self.filtered_request()) for piece in pieces]
        return content_type, b"".join(filtered)

    # -- none does ---------------------------------------------------------------------------------------------------

    def _fall_back(self) -> None:
        """No target fits, or nobody could say which: the default target."""
        default = cast("PromptListener", self._listener).targets.default
        if default is None or default.call is None:
            self._pass_on()
            return
        try:
            messages = list_messages(self._wire.name, self._routed[0], self._parse_conversation())
            visit = prepare_default(default, messages)
        except BadArguments as unplaced:
            self._reject(GatewayError(400, "invalid_arguments", str(unplaced)))
        except BadRequest as bad:
            self._reject(GatewayError(400, "invalid_request", bad.message, param=bad.param))
        else:
            self._name_routes((default.name,))
            self._begin_work((visit,), "")

    def _pass_on(self) -> None:
        """Neither a target nor a default one: the agents of this listener, else the model."""
        listener = cast("PromptListener", self._listener)
        self._to_agents = bool(listener.agents)
        try:
            if self._to_agents:
                if self._ask(listener.agent_routes, multiple=True):
                    return
            else:
                self._ask_for_words(self._system_prompt(), "", keep_tools=brings_tools(self._routed[0]))
                chain = self._find_chain()
        except BadRequest as bad:
            self._reject(GatewayError(400, "invalid_request", bad.message, param=bad.param))
            return
        except GatewayError as error:
            self._reject(error)
            return
        if self._to_agents:
            self._run(listener.choose_agents(()))
        else:
            self._proceed(chain)

    def _choose_agents(self, findings: Findings) -> None:
        """The orchestrator has chosen; what guard and function model said before still holds."""
        before = self._findings
        degraded = (*before.degraded, *findings.degraded)
        self._take(before._replace(routes=findings.routes, confidence=findings.confidence, degraded=degraded))
        self._run(cast("PromptListener", self._listener).choose_agents(findings.routes))

    def _name_routes(self, names: tuple[str, ...]) -> None:
        self._take(self._findings._replace(routes=names))

    # -- the model that words the answer -----------------------------------------------------------------------------

    def _system_prompt(self) -> str | None:
        """What a model is told where no target that was called has words of its own."""
        listener = cast("PromptListener", self._listener)
        default = listener.targets.default
        if default is not None and default.call is None and default.system_prompt:
            return default.system_prompt
        return listener.system_prompt

    def _ask_for_words(self, system_prompt: str | None, context: str, *, keep_tools: bool = False) -> None:
        """Make the request one for the model. Raises BadRequest."""
        body = self._routed[0]
        brought = brings_preferences(body)
        if brought:  # routes are for model listeners; no provider sees them
            take_preferences(body)
        composed = compose_request(self._wire.name, body, system_prompt, context, keep_tools=keep_tools)
        if brought or composed is not body:
            self._replace_body(composed)

    def _replace_body(self, body: Json) -> None:
        self._request.body = encode(body)
        self._routed = (body, self._routed[1], self._routed[2])
        self._conversation = None

    def _find_chain(self) -> tuple[Candidate, ...]:
        """The model that the client names, else the default; targets and agents are not models. Raises GatewayError
        and BadRequest."""
        listener = cast("PromptListener", self._listener)
        candidates = listener.frontend.candidates
        model = self._routed[1]
        chain = candidates.chain(model, self._wire.name)
        if not chain and listener.agents:  # what the client names may be meant for an agent
            chain = candidates.chain(None, self._wire.name)
        if not chain and FUNCTION in self._findings.degraded:
            message = "The function model gives no answer, and there is no model to go to instead."
            raise GatewayError(503, "function_unavailable", message, retry_after_s=1.0)
        if not chain:
            raise explain_unresolved(model)
        return chain

    def _give_up(self, failure: Failure) -> None:
        if self._to_agents:
            super()._give_up(failure)
        else:
            Exchange._give_up(self, failure)

    # -- what the client is told of the calls ------------------------------------------------------------------------

    def _filters_of_answer(self, events: bool) -> FilterChain | None:
        filters = self._listener.output_filters
        disclosure = self._disclosure
        if events or disclosure is None or self._wire.name != "chat":
            return filters
        first = DisclosingFilter(disclosure)
        return FilterChain([first]) if filters is None else filters.after(first)

    def _render_preface(self) -> bytes:
        disclosure = self._disclosure
        if disclosure is None or self._wire.name != "chat":
            return b""
        return disclosure.lead_in(self._trace[0].decode(), int(time.time()))


def _needs_words(results: Sequence[Result]) -> bool:
    """Does a model word the answer? Else the results are the answer."""
    return any(result.visit.target.dispatch for result in results)
