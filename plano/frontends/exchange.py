"""The life of one request: admit, parse, filter, guard and decide; then attempt(s), relay and record, which are in
`Delivery`. Read from top to bottom the two are the story.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from plano.agents.filters import FilterChain, FilterFailed, FilterRefused
from plano.dialects.codecs import CLIENTS
from plano.dialects.conversation import Answer, BadRequest, Conversation
from plano.dialects.identity.chat import encode
from plano.dialects.identity.wire import Wire
from plano.frontends.deliberation import Deliberation, Findings
from plano.frontends.delivery import Delivery, Phase
from plano.frontends.errors import MAX_SHOWN_MODEL, GatewayError, explain_refusal, explain_unresolved
from plano.frontends.head import render_notes
from plano.frontends.http1 import ClientConnection
from plano.frontends.own_answer import compose_answer, render_own
from plano.frontends.request import Request
from plano.frontends.usage import UNKNOWN_USAGE
from plano.inference.calls import FunctionCall, Route
from plano.routing.models import UNSPECIFIED
from plano.routing.preferences import brings_preferences, take_preferences
from plano.telemetry.record import Judgement
from plano.upstreams.candidate import Candidate

if TYPE_CHECKING:
    from plano.config.plan import PreferencePlan
    from plano.frontends.listener import Listener

log = logging.getLogger(__name__)

_NO_FINDINGS: Final = Findings()


class Exchange(Delivery):
    """See the module."""

    __slots__ = (
        "_asked_routes",
        "_deliberation",
        "_findings",
        "_preferences",
        "_work",
    )

    def __init__(self, listener: Listener, connection: ClientConnection, request: Request, wire: Wire) -> None:
        super().__init__(listener, connection, request, wire)
        self._preferences: tuple[PreferencePlan, ...] = ()
        self._work: asyncio.Task[None] | None = None
        self._deliberation: Deliberation | None = None
        self._asked_routes = False
        self._findings = _NO_FINDINGS

    # -- admit, parse, decide ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything up to the first attempt. Whatever is wrong with the request is answered here."""
        listener = self._listener
        frontend = listener.frontend
        request = self._request
        listener.in_flight += 1
        frontend.exchanges.watch(self)
        self.connection.handler = self
        try:
            if len(frontend.exchanges.live) > listener.max_in_flight:
                message = "The gateway is at its limit of requests in flight."
                raise GatewayError(503, "overloaded", message, retry_after_s=1.0)
            if request.content_coding is not None:
                raise GatewayError(415, "content_coding", "Request bodies must not be compressed.")
            self._routed = self._wire.parse_request(request.body)
        except BadRequest as bad:
            self._reject(GatewayError(400, "invalid_request", bad.message, param=bad.param))
        except GatewayError as error:
            self._reject(error)
        else:
            filters = listener.input_filters
            if filters is None or self._wire.name not in CLIENTS:
                self._consider()
            else:
                self._filter(filters, self._filtered)

    def _filter(self, chain: FilterChain, then: Callable[[bytes], None]) -> None:
        """Have the filters look at the request; `then` goes on with what they make of it."""
        self._phase = Phase.PREPARE
        self._work = asyncio.get_running_loop().create_task(self._apply(chain, then))

    async def _apply(self, chain: FilterChain, then: Callable[[bytes], None]) -> None:
        try:
            body = await chain.apply(self._request.body, self.filtered_request())
        except FilterRefused as refused:
            error = explain_refusal(refused)
        except FilterFailed as failed:
            error = GatewayError(502, "filter_failed", f"The request could not be filtered: {failed}.")
        except Exception:
            log.exception("filtering a request failed")
            message = "The gateway could not filter this request. Its log says more."
            error = GatewayError(500, "internal_error", message)
        else:
            self._work = None
            then(body)
            return
        self._work = None
        self._reject(error)

    def _filtered(self, body: bytes) -> None:
        """The filters of the listener have let the request pass, as `body`."""
        try:
            self._routed = self._wire.parse_request(body)
        except BadRequest as bad:
            message = f"The filters of this listener made something else than a request: {bad.message}"
            self._reject(GatewayError(502, "filter_failed", message))
            return
        self._request.body = body
        self._consider()

    def _consider(self) -> None:
        """Decide who answers, asking whoever has a say in it."""
        try:
            if (self._listener.deliberates or brings_preferences(self._routed[0])) and self._deliberate():
                return
            chain = self._find_chain()
        except BadRequest as bad:
            self._reject(GatewayError(400, "invalid_request", bad.message, param=bad.param))
            return
        except GatewayError as error:
            self._reject(error)
            return
        self._proceed(chain)

    def _reject(self, error: GatewayError) -> None:
        """The client's mistake, or our limits: nobody is called."""
        body, model, stream = self._routed
        if model is not None and len(model) > MAX_SHOWN_MODEL:
            self._routed = (body, model[:MAX_SHOWN_MODEL], stream)  # it goes into the record
        self._answer_error(error, None)

    def _deliberate(self) -> bool:
        """Ask the guard and the orchestrator, both at once, if there is a question for them; `_decided` goes on from
        there. Raises BadRequest and GatewayError."""
        listener, request = self._listener, self._request
        body, model, _ = self._routed
        preferences = None
        if brings_preferences(body):
            preferences = take_preferences(body)
            request.body = encode(body)
        if self._wire.name not in CLIENTS:  # a plain endpoint has no conversation
            return False
        self._preferences = listener.preferences if preferences is None else preferences
        if model is not None and model not in UNSPECIFIED:
            self._check_model()
        return self._ask([Route(preference.name, preference.description) for preference in self._preferences])

    def _check_model(self) -> None:
        """A model that does not exist is the client's mistake, whatever would be decided. Raises GatewayError."""
        self._find_chain()

    def _ask(self, routes: list[Route], *, multiple: bool = False, inquiry: FunctionCall | None = None) -> bool:
        """Put the questions there are to the task-specific models; False when there is none. Raises BadRequest."""
        guarded = self._guards()
        if not routes and not guarded and inquiry is None:
            return False
        frontend = self._listener.frontend
        conversation = self._parse_conversation()
        trace_id, span_id, _, flags = self._trace
        traceparent = b"00-%b-%b-%b" % (trace_id, span_id, flags)
        deliberation = Deliberation(frontend.plan.inference, self._decided)
        if not deliberation.ask(
            frontend.inference,
            conversation,
            routes,
            guarded=guarded,
            traceparent=traceparent,
            multiple=multiple,
            inquiry=inquiry,
        ):
            return False
        self._asked_routes = bool(routes) or inquiry is not None
        self._phase = Phase.DECIDE
        self._deliberation = deliberation
        return True

    def _guards(self) -> bool:
        """Is this request looked at by the guard?"""
        return self._listener.jailbreak_message is not None

    def _decided(self, findings: Findings) -> None:
        """The task-specific models have answered, or had the time to."""
        self._take(findings)
        if findings.blocked:
            self._refuse()
            return
        try:
            chain = self._find_chain()
        except BadRequest as bad:
            self._reject(GatewayError(400, "invalid_request", bad.message, param=bad.param))
        except GatewayError as error:
            self._reject(error)
        else:
            self._proceed(chain)

    def _take(self, findings: Findings) -> None:
        self._deliberation = None
        self._findings = findings
        self._notes = render_notes(findings.routes, findings.degraded)

    def _find_chain(self) -> tuple[Candidate, ...]:
        """The candidates in the order in which they are tried: the models of the chosen route, else the model that the
        client names, else the default. Raises GatewayError when there is none, BadRequest when the model's provider
        does not serve this endpoint."""
        candidates = self._listener.frontend.candidates
        model = self._routed[1]
        if self._findings.routes:
            models = self._chosen_models()
            chain = candidates.rank(models, self._wire.name)
            model = models[0]
        else:
            chain = candidates.chain(model, self._wire.name)
        if not chain:
            raise explain_unresolved(model)
        return chain

    def _chosen_models(self) -> tuple[str, ...]:
        """The models of the chosen route, the best first; empty when no route was chosen."""
        for preference in self._preferences:
            if self._findings.routes and preference.name == self._findings.routes[0]:
                return preference.models
        return ()

    def _refuse(self) -> None:
        """The guard has stopped the prompt, or is not there and the config says that nothing passes without it."""
        if self._findings.probability is None:
            message = "The guard of prompts gives no answer, and nothing passes without it."
            self._answer_error(GatewayError(503, "guard_unavailable", message, retry_after_s=1.0), None)
            return
        conversation = cast(Conversation, self._conversation)
        message = self._listener.jailbreak_message or ""
        self._say(compose_answer(conversation, message, self._trace[0].decode()))

    def _say(self, answer: Answer) -> None:
        """Answer in the client's dialect what no upstream has written for it."""
        content_type, body = render_own(self._wire.name, cast(Conversation, self._conversation), answer)
        self._respond(content_type, body)

    def _respond(self, content_type: bytes, body: bytes) -> None:
        """Answer with 200 and this body, which no upstream has written."""
        lines = b"x-request-id: %b\r\n%b" % (self._request_id, self._notes)
        self.connection.respond(self._request, 200, body, content_type=content_type, lines=lines)
        self._end(200, "", UNKNOWN_USAGE, len(body))

    # -- time, and the client leaving ----------------------------------------------------------------------------

    def expire(self, now_s: float) -> None:
        if self._phase is Phase.DECIDE or self._phase is Phase.PREPARE:
            self._let_go()
            message = f"The deadline of {self._listener.timeout_s:g} s passed before it was decided who answers."
            self._answer_error(GatewayError(504, "deadline_exceeded", message), None)
        else:
            super().expire(now_s)

    def _let_go(self) -> None:
        """End what is under way: filters and agents, the questions, and what the delivery is at."""
        if self._work is not None:
            self._work.cancel()
            self._work = None
        if self._deliberation is not None:
            self._deliberation.cancel()
            self._deliberation = None
        super()._let_go()

    def _judge(self) -> Judgement | None:
        findings = self._findings
        if findings is _NO_FINDINGS:
            return None
        return Judgement(
            findings.routes,
            self._preferences is self._listener.preferences,
            self._asked_routes,
            findings.confidence,
            findings.probability,
            findings.flagged,
            findings.blocked,
            findings.degraded,
        )
