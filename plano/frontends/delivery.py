"""The second half of a request's life: it is decided who answers. Attempt(s), relay, record.

Driven by calls, not by a task: from the client connection (the client leaving, its pace), from the upstream connection
(a delivery is the sink until content flows, then its `Relay` is) and from the deadline table. On the warm path, a
pooled connection and an upstream that answers, nothing is awaited and nothing scheduled.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from plano.agents.filters import FilterChain, FilteredRequest
from plano.dialects.codecs import CLIENTS
from plano.dialects.conversation import BadRequest, Conversation, Dropped
from plano.dialects.identity.chat import RoutedRequest, asks_for_usage
from plano.dialects.identity.wire import Wire
from plano.frontends.errors import GatewayError, render_failure
from plano.frontends.head import choose_framing, frame_chunk, render_head
from plano.frontends.http1 import ClientConnection
from plano.frontends.opening import Opening
from plano.frontends.outlet import Outlet
from plano.frontends.own_answer import DOCUMENT_TYPE, STREAM_TYPE
from plano.frontends.payload import render_body, render_payload
from plano.frontends.relay import Relay, TranslatingRelay
from plano.frontends.request import Request
from plano.frontends.trace import choose_request_id, make_trace
from plano.frontends.translation import Translation
from plano.frontends.usage import UNKNOWN_USAGE, KnownUsage
from plano.frontends.verdicts import is_sound_document
from plano.telemetry.record import Attempt, Judgement
from plano.upstreams.attempts import Step, decide_next
from plano.upstreams.candidate import Candidate
from plano.upstreams.connection import UpstreamConnection
from plano.upstreams.failures import Failure, FailureKind
from plano.upstreams.signing import SigningError

if TYPE_CHECKING:
    from plano.frontends.listener import Listener

log = logging.getLogger(__name__)

_NONE_DROPPED: Final = Dropped()
_NOTHING: Final[RoutedRequest] = ({}, None, False)


class Phase(Enum):
    PREPARE = "prepare"  # filters look at the request, agents answer for one another
    DECIDE = "decide"  # the task-specific models are asked
    ATTEMPT = "attempt"  # a connection or the beginning of an answer is awaited
    BACKOFF = "backoff"  # between two tries
    RELAY = "relay"  # content has been sent to the client: no way back
    ENDED = "ended"


class Delivery:
    """See the module. Times are monotonic seconds; `deadline_s` is when `expire` wants to be called."""

    __slots__ = (
        "_attempt_began_s",
        "_attempts",
        "_backoff",
        "_bytes_in",
        "_chain",
        "_conversation",
        "_dropped",
        "_failure",
        "_given_up_s",
        "_index",
        "_limit",
        "_listener",
        "_notes",
        "_opening",
        "_outlet",
        "_payload",
        "_phase",
        "_relay",
        "_request",
        "_request_id",
        "_routed",
        "_skipped",
        "_stalled",
        "_status",
        "_trace",
        "_translation",
        "_tries",
        "_ttft_s",
        "_upstream",
        "_wire",
        "candidate",
        "connection",
        "deadline_s",
    )
    candidate: Candidate  # set together with _chain

    def __init__(self, listener: Listener, connection: ClientConnection, request: Request, wire: Wire) -> None:
        self._wire = wire
        self._listener = listener
        self.connection = connection
        self._request = request
        self._bytes_in = len(request.body)
        self._trace = make_trace(request.traceparent)
        self._request_id = choose_request_id(request.request_id, self._trace[0])
        self._routed: RoutedRequest = _NOTHING
        self._chain: tuple[Candidate, ...] = ()
        self._index = 0
        self._tries = 0
        self._skipped = 0  # of the attempts: candidates that were not called, as their circuit is open
        self._attempts: list[Attempt] = []
        self._upstream: UpstreamConnection | None = None
        self._relay: Relay | None = None
        self._backoff: asyncio.TimerHandle | None = None
        self._opening: Opening | None = None
        self._payload = b""
        self._dropped = _NONE_DROPPED
        self._conversation: Conversation | None = None
        self._translation: Translation | None = None
        self._outlet: Outlet | None = None
        self._notes = b""
        self._failure: Failure | None = None
        self._phase = Phase.ATTEMPT
        self._stalled = False
        self._status = 0
        self._limit: float | None = None
        self._ttft_s: float | None = None
        self.deadline_s = self._given_up_s = request.received_s + listener.timeout_s

    def _proceed(self, chain: tuple[Candidate, ...]) -> None:
        """It is decided who answers."""
        self._chain = chain
        self.candidate = chain[0]
        self._listener.frontend.retries.deposit()
        self._attempt(chain[0])

    # -- attempt -------------------------------------------------------------------------------------------------

    def _attempt(self, candidate: Candidate) -> None:
        """Send the request to `candidate`, over an idle connection if there is one."""
        now_s = time.monotonic()
        self._backoff = None
        self._phase = Phase.ATTEMPT
        self._status = 0
        self._tries += 1
        self._attempt_began_s = now_s
        self._opening = None
        self._limit = limit_s = candidate.limit_s if not self._routed[2] else candidate.stream_limit_s
        ends_s = self._given_up_s
        self.deadline_s = ends_s if limit_s is None or now_s + limit_s > ends_s else now_s + limit_s
        breaker = candidate.breaker
        if breaker.open_until_s != 0.0 and not breaker.admit(now_s) and self._has_other(now_s):
            self._pass_over(now_s)
            return
        try:
            self._payload = self._render(candidate)
        except BadRequest as bad:
            self._skip_candidate(bad)
            return
        except SigningError as unsigned:
            self.upstream_failed(Failure(FailureKind.CONNECT, str(unsigned)))
            return
        except Exception:
            log.exception("translating a request failed")
            message = "The gateway could not translate this request. Its log says more."
            self._answer_error(GatewayError(500, "internal_error", message), None)
            return
        upstream = candidate.pool.take()
        if upstream is not None:
            self._upstream = upstream
            upstream.send(self._payload, self)
        else:
            candidate.pool.dial(self)

    def _has_other(self, now_s: float) -> bool:
        """Is there a candidate after this one whose circuit lets the request through? If not, the circuits are ignored:
        an upstream in trouble may answer, a gateway that asks nobody cannot."""
        return any(not other.breaker.refuses(now_s) for other in self._chain[self._index + 1 :])

    def _pass_over(self, now_s: float) -> None:
        """Do not call this candidate: its circuit is open."""
        self._skipped += 1
        self._failure = failure = Failure(FailureKind.CIRCUIT_OPEN, "it has failed too often, and is not called now")
        self._note_attempt(now_s, failure)
        self._fail_over()

    def _render(self, candidate: Candidate) -> bytes:
        """The request as this candidate gets it, translated if it speaks another dialect. Raises BadRequest."""
        self._translation = None
        stream = self._routed[2]
        if candidate.dialect != self._wire.name or (candidate.always_streams and not stream):
            if candidate.plain:
                body = self._wire.replace_model(self._request.body, self._routed[0], candidate.model)
                return render_payload(self._request, candidate, self._trace, self._request_id, body, stream)
            conversation = self._parse_conversation()
            self._translation = Translation(
                self._wire.name, candidate.dialect, conversation, candidate.model, self._trace[0].decode()
            )
        dropped = _NONE_DROPPED
        if self._translation is not None or candidate.quirks or self._wire.name != "chat":
            dropped = Dropped()
        self._dropped = dropped
        body = render_body(self._request, self._routed, self._wire.name, candidate, self._translation, dropped)
        return render_payload(self._request, candidate, self._trace, self._request_id, body, stream)

    def _parse_conversation(self) -> Conversation:
        """The request in the hub's words. Raises BadRequest."""
        conversation = self._conversation
        if conversation is None:
            conversation = self._conversation = CLIENTS[self._wire.name].parse_request(self._routed[0])
        return conversation

    def _skip_candidate(self, bad: BadRequest) -> None:
        """The request cannot be expressed in this candidate's dialect: the client's mistake if it is the first one;
        a fallback is passed over, and what is left to say is why the one before it failed."""
        self._phase = Phase.BACKOFF
        if self._failure is None:
            self._answer_error(GatewayError(400, "invalid_request", bad.message, param=bad.param), None)
        elif self._index + 1 < len(self._chain):
            self._fail_over()
        else:
            provider = self._chain[self._index - 1].plan.provider
            error, body = render_failure(self._failure, provider, self._wire.errors)
            self._answer_error(error, body)

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        connection.send(self._payload, self)

    def upstream_stale(self) -> None:
        """The upstream closed an idle connection just as we used it: the same attempt again, on a fresh one."""
        self._upstream = None
        self.candidate.pool.dial(self)

    def upstream_head(self, connection: UpstreamConnection, body: bytes, complete: bool) -> None:
        self._status = status = connection.status
        if (
            complete
            and status == 200
            and self._translation is None
            and not connection.coding
            and is_sound_document(connection.content_type, body)
        ):  # the common case of a document
            self._upstream = None
            self._open(connection, body, True, events=False)
        else:
            self._before_content(connection, body, complete)

    def upstream_data(self, body: bytes, complete: bool) -> None:
        self._before_content(cast(UpstreamConnection, self._upstream), body, complete)

    def _before_content(self, connection: UpstreamConnection, fresh: bytes, complete: bool) -> None:
        """The beginning of an answer: good for the client, a failure, or not yet clear?"""
        opening = self._opening
        if opening is None:
            opening = self._opening = Opening(self._wire, self.candidate, self._translation, self._routed[2])
        verdict = opening.read(connection, fresh, complete)
        if isinstance(verdict, Failure):
            self._drop_upstream(complete)
            self.upstream_failed(verdict)
        elif verdict is not None:
            self._open(connection, verdict.body, complete, events=verdict.events)

    def _drop_upstream(self, complete: bool) -> None:
        """Done with the connection; if its answer has not ended it cannot be used again."""
        upstream = self._upstream
        self._upstream = None
        if upstream is not None and not complete:
            upstream.cancel()

    # -- retry, failover, the end of all attempts ----------------------------------------------------------------

    def upstream_failed(self, failure: Failure) -> None:
        """An attempt failed and nothing was relayed: what now?"""
        self._upstream = None
        self._failure = failure
        now_s = time.monotonic()
        candidate = self.candidate
        self._note_attempt(now_s, failure)
        if failure.kind is not FailureKind.DEADLINE or self._had_its_time(now_s):
            candidate.note_failure(failure, now_s, random.random())
        decision = decide_next(
            failure,
            candidate.plan.retry,
            tries=self._tries,
            candidates_left=len(self._chain) - self._index - 1,
            remaining_s=self._given_up_s - now_s,
            budget=self._listener.frontend.retries,
            now_s=now_s,
            dice=random.random(),
        )
        if decision.step is Step.RETRY:
            self._phase = Phase.BACKOFF
            self.deadline_s = self._given_up_s
            self._wait_for_retry(now_s + decision.delay_s)
        elif decision.step is Step.FAILOVER:
            self._fail_over()
        else:
            self._give_up(failure)

    def _give_up(self, failure: Failure) -> None:
        """No attempt follows."""
        error, body = render_failure(failure, self.candidate.plan.provider, self._wire.errors)
        self._answer_error(error, body)

    def _had_its_time(self, now_s: float) -> bool:
        """The request's deadline has passed: is the upstream to blame, for it was given at least half of the time?"""
        return self._phase is Phase.ATTEMPT and now_s - self._attempt_began_s >= self._listener.timeout_s / 2

    def _wait_for_retry(self, due_s: float) -> None:
        """Try the same candidate again at `due_s`. A busy loop's timers go off early (they count from when it last
        looked at the clock), and a `Retry-After` is a minimum."""
        left_s = due_s - time.monotonic()
        if left_s > 0.0:
            self._backoff = asyncio.get_running_loop().call_later(left_s, self._wait_for_retry, due_s)
        else:
            self._attempt(self.candidate)

    def _fail_over(self) -> None:
        """On to the next candidate; through the loop, as a chain that fails at once must not grow the stack."""
        self._index += 1
        self._tries = 0
        self.candidate = self._chain[self._index]
        self._phase = Phase.BACKOFF
        self._backoff = asyncio.get_running_loop().call_later(0, self._attempt, self.candidate)

    def _note_attempt(self, now_s: float, failure: Failure | None) -> None:
        self._attempts.append(
            Attempt(
                self.candidate.plan.provider,
                self.candidate.name,
                self._status,
                failure.kind.value if failure is not None else "",
                now_s - self._attempt_began_s,
            )
        )

    def _answer_error(self, error: GatewayError, body: bytes | None) -> None:
        request = self._request
        lines = b"x-request-id: %b\r\n%b" % (self._request_id, self._notes)
        if self._attempts:
            called = self.candidate.answer_head if self._chain else b""
            lines += b"%bx-plano-attempts: %d\r\n" % (called, len(self._attempts) - self._skipped)
        self.connection.fail(request, error, lines=lines, body=body)
        self._end(error.status, error.code, UNKNOWN_USAGE, 0)

    # -- relay ---------------------------------------------------------------------------------------------------

    def _open(self, connection: UpstreamConnection, body: bytes, complete: bool, *, events: bool) -> None:
        """Content: write the head and what there is of the answer in one write. From here on nothing is retried."""
        request = self._request
        self._phase = Phase.RELAY
        if self.candidate.breaker.failures:
            self.candidate.note_success()
        self._ttft_s = time.monotonic() - request.received_s
        if self._listener.draining and request.keep_alive:
            request.keep_alive = False
            request.connection_line = b"connection: close\r\n"
        filters = self._filters_of_answer(events) if self._wire.name in CLIENTS else None
        if filters is not None and connection.coding and self._translation is None:
            self._drop_upstream(complete)
            self.upstream_failed(Failure(FailureKind.PROTOCOL, "the answer is compressed, which was not asked for"))
            return
        length = -1 if events or filters is not None else len(body) if complete else connection.content_length
        framing, chunked = choose_framing(request, length)
        translation = self._translation
        if translation is None:
            content_type, coding = connection.content_type or DOCUMENT_TYPE, connection.coding
        else:
            content_type, coding = STREAM_TYPE if self._routed[2] else DOCUMENT_TYPE, b""
        calls = len(self._attempts) - self._skipped + 1
        origin = b"%b%bx-plano-attempts: %d\r\n" % (self.candidate.answer_head, self._notes, calls)
        head = render_head(
            connection,
            content_type,
            origin,
            self._request_id,
            framing,
            coding,
            self._dropped,
            request.connection_line,
        )
        preface = self._render_preface() if events else b""
        if preface and filters is None:
            head += frame_chunk(preface) if chunked else preface
        if complete and not events and filters is None:
            self._upstream = None
            self.connection.transport.write(head + body)
            usage = self._wire.find_usage(b"", body) or UNKNOWN_USAGE
            self._finish(usage if translation is None else translation.known_usage(), len(body), None)
            return
        if translation is not None:
            relay: Relay = TranslatingRelay(self, self._wire, head, translation, connection.coding, chunked=chunked)
        else:
            strips = events and self.candidate.asks_for_usage and not asks_for_usage(self._routed[0])
            relay = Relay(self, self._wire, head, chunked=chunked, events=events, strip_usage=strips)
        self._relay = relay
        if filters is not None:
            whole = filters.buffered or not events
            self._outlet = outlet = Outlet(self, filters, self.filtered_request(), head, chunked=chunked, whole=whole)
            relay.write_to(outlet.write)
            if preface:
                outlet.write(preface)
        if complete:
            self._upstream = None
        else:
            self.deadline_s = self._idle_deadline()
            connection.sink = relay
            if relay.passes_chunks:
                connection.passer = relay
            if self.connection.writing_paused:  # the client has yet to take what was written before this answer
                self.pause()
        if isinstance(relay, TranslatingRelay):
            relay.relay_events(cast(Opening, self._opening).events, complete)
        else:
            relay.upstream_data(body, complete)

    def _filters_of_answer(self, events: bool) -> FilterChain | None:
        """What an answer passes on its way to the client; `events`: it is a stream."""
        return self._listener.output_filters

    def filtered_request(self) -> FilteredRequest:
        """What filters are told about this request."""
        request, trace = self._request, self._trace
        return FilteredRequest(
            request.target.decode("latin-1"),
            request.lines,
            request.authorization,
            request.api_key,
            self._request_id,
            b"00-%b-%b-%b" % (trace[0], trace[1], trace[3]),
        )

    def _render_preface(self) -> bytes:
        """Events that the client gets before the first one of a stream."""
        return b""

    def _idle_deadline(self) -> float:
        idle_s = self.candidate.plan.retry.idle_timeout_s
        return time.monotonic() + idle_s if idle_s is not None else float("inf")

    def relayed(self, failure: Failure | None, *, cut: bool = False, reusable: bool = True) -> None:
        """The relay has written the end of the answer (`cut`: it could not, half a document is out). `reusable`: the
        upstream has ended its answer as well."""
        if self._stalled and self._upstream is not None:
            self._upstream.transport.resume_reading()  # it serves others after us, whatever our client does
        self._drop_upstream(failure is None and reusable)
        if self._phase is Phase.ENDED:  # a filter has ended the answer within the last write
            return
        relay = cast(Relay, self._relay)
        outlet = self._outlet
        if cut:
            if outlet is not None:
                outlet.cancel()
            self._request.keep_alive = False
            self.connection.abort()
        elif outlet is not None:
            self.deadline_s = float("inf")  # the filters have deadlines of their own
            outlet.end(partial(self._delivered, failure))
            return
        self._finish(relay.usage(), relay.bytes_out, failure)

    def _delivered(self, failure: Failure | None) -> None:
        """The filters have passed the whole answer on."""
        self._finish(cast(Relay, self._relay).usage(), cast(Outlet, self._outlet).bytes_out, failure)

    def outlet_failed(self, error: GatewayError, began: bool) -> None:
        """A filter has stopped the answer. If the client has none of it yet, it gets the error."""
        self._drop_upstream(False)
        outlet, relay = cast(Outlet, self._outlet), cast(Relay, self._relay)
        self._outlet = None
        if not began:
            self._answer_error(error, None)
            return
        outlet.send_end(relay.break_stream(error))
        self._end(self._status, error.code, relay.usage(), outlet.bytes_out)

    def pause_upstream(self) -> None:
        """The filters do not keep up."""
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume_upstream(self) -> None:
        """They do again."""
        if self._upstream is not None and not self._stalled:
            self.deadline_s = self._idle_deadline()
            self._upstream.transport.resume_reading()

    # -- the client's pace, and time -----------------------------------------------------------------------------

    def client_left(self) -> None:
        """Cancel the upstream call at once: nobody would read, and somebody would pay for, the rest."""
        self._let_go()
        relay = self._relay
        bytes_out = relay.bytes_out if relay is not None else 0
        self._end(499, "client_closed", UNKNOWN_USAGE, bytes_out, client_gone=True)

    def pause(self) -> None:
        """The client does not keep up: stop reading from the upstream, and give the client a limited time."""
        outlet = self._outlet
        if self._phase is not Phase.RELAY or (self._upstream is None and outlet is None):
            return
        self._stalled = True
        if outlet is not None:
            outlet.resumed.clear()
        if self._upstream is not None:
            self._upstream.transport.pause_reading()
        self.deadline_s = time.monotonic() + self._listener.limits.body_timeout_s

    def resume(self) -> None:
        if not self._stalled:
            return
        self._stalled = False
        outlet = self._outlet
        if outlet is not None:
            outlet.resumed.set()
        self.deadline_s = float("inf")
        if self._upstream is not None:
            self.deadline_s = self._idle_deadline()
            if outlet is None or not outlet.full:
                self._upstream.transport.resume_reading()

    def expire(self, now_s: float) -> None:
        """The deadline has passed: of the request, of the attempt, of a stream that stands still, of a client."""
        if self._phase is Phase.RELAY:
            relay = cast(Relay, self._relay)
            if self._stalled:
                self.connection.abort()
            elif relay.fresh or (self._outlet is not None and self._outlet.full):
                relay.fresh = False
                self.deadline_s = self._idle_deadline()
            else:
                self._drop_upstream(False)
                idle_s = self.candidate.plan.retry.idle_timeout_s
                relay.upstream_failed(Failure(FailureKind.IDLE, f"nothing came for {idle_s:g} s"))
            return
        self._let_go()
        if now_s >= self._given_up_s:
            timeout_s = self._listener.timeout_s
            self.upstream_failed(Failure(FailureKind.DEADLINE, f"the deadline of {timeout_s:g} s passed"))
        else:
            self.upstream_failed(Failure(FailureKind.TIMEOUT, f"no answer within {self._limit:g} s"))

    def _let_go(self) -> None:
        """End what is under way: the filters of the answer, the upstream call, the wait for a connection, the pause
        before a retry."""
        if self._outlet is not None:
            self._outlet.cancel()
            self._outlet = None
        if self._backoff is not None:
            self._backoff.cancel()
            self._backoff = None
        if self._upstream is not None:
            self._drop_upstream(False)
        elif self._phase is Phase.ATTEMPT and self._chain:
            self.candidate.pool.forget(self)

    # -- record --------------------------------------------------------------------------------------------------

    def _finish(self, usage: KnownUsage, bytes_out: int, failure: Failure | None) -> None:
        """The answer is written."""
        error = ""
        if failure is not None or self._attempts:
            self._note_attempt(time.monotonic(), failure)
            if failure is not None:
                error = f"stream_{failure.kind.value}"
        self._end(self._status, error, usage, bytes_out)

    def _end(self, status: int, error: str, usage: KnownUsage, bytes_out: int, client_gone: bool = False) -> None:
        """One record, whatever happened; then the connection goes on without us."""
        self._phase = Phase.ENDED
        listener, request, trace = self._listener, self._request, self._trace
        frontend = listener.frontend
        frontend.exchanges.live.pop(self, None)
        listener.in_flight -= 1
        provider = model = ""
        if self._chain:
            provider, model = self.candidate.provider, self.candidate.name
        recorder = frontend.recorder
        recorder.add(
            (
                self._request_id,
                trace[0],
                trace[2],
                trace[1],
                listener.name,
                request.method,
                request.target,
                self._routed[1],
                provider,
                model,
                status,
                error,
                self._routed[2],
                client_gone,
                request.received_s + recorder.unix_offset_s,
                time.monotonic() - request.received_s,
                self._ttft_s,
                self._bytes_in,
                bytes_out,
                usage[0],
                usage[1],
                usage[2],
                usage[3],
                self._attempts,
                self._dropped.names,
                self._judge(),
            )
        )
        self.connection.finish(request)

    def _judge(self) -> Judgement | None:
        """What the task-specific models said; None when they were not asked."""
        return None
