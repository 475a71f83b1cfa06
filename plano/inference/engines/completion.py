"""One chat completion of a configured model provider, asked for by ourselves: the way of a request without a client.

Providers, pools, dialects and quirks are the gateway's own, so whatever serves clients serves a role too. Nothing is
awaited: a `Completion` is driven by its connection and ends with one call of `done`.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import orjson

from plano import __version__
from plano.dialects.assembly import Assembler
from plano.dialects.chat.errors import parse_error
from plano.dialects.codecs import UPSTREAMS
from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    BadRequest,
    Conversation,
    Dropped,
    OutputFormat,
    StopReason,
    Text,
    Turn,
)
from plano.upstreams.candidate import Candidate
from plano.upstreams.connection import UpstreamConnection
from plano.upstreams.failures import Failure, FailureKind
from plano.upstreams.quirks import Call, apply_quirks
from plano.upstreams.signing import SigningError

Json = dict[str, Any]

MAX_ANSWER_BYTES: Final = 1024 * 1024
MAX_MESSAGE_CHARS: Final = 200  # of what a provider says about its refusal
ROOM_TO_THINK: Final = 8  # times the tokens, for models that think before they answer
PAUSE_S: Final = (0.02, 0.06)  # before connecting again; the caller has hundreds of milliseconds

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_USER_AGENT: Final = f"user-agent: plano/{__version__}\r\n".encode("ascii")
_TRY_AGAIN: Final = (FailureKind.CONNECT, FailureKind.RESET)
_REFUSALS: Final = (400, 422)


class Message(NamedTuple):
    role: Literal["user", "assistant"]
    text: str


class Question(NamedTuple):
    """What a model is asked. The answer is to be JSON valid against `schema`, of `max_tokens` at most."""

    system: str
    messages: tuple[Message, ...]
    schema_name: str
    schema: Json
    max_tokens: int


class Reply(NamedTuple):
    """What a model said; tokens are 0 where the provider does not tell."""

    text: str
    input_tokens: int
    output_tokens: int


@dataclass(slots=True)
class Manners:
    """How a candidate wants to be asked: with a JSON schema and a temperature of 0 as long as it has not refused them,
    and with room to think once it has used up its tokens before it came to the answer."""

    schema: bool = True
    temperature: bool = True
    thinks: bool = False

    def give_way(self, message: str) -> bool:
        """Give up what a refusal complains of. False when there is nothing left to give up."""
        if self.temperature and "temperature" in message.lower():
            self.temperature = False
        elif self.schema:  # what most of those lack that only say "bad request"
            self.schema = False
        else:
            return False
        return True

    def adopt(self, proven: Manners) -> None:
        """Remember what has brought an answer."""
        self.schema = self.schema and proven.schema
        self.temperature = self.temperature and proven.temperature
        self.thinks = self.thinks or proven.thinks


class Completion:
    """See the module. `candidates` are tried in order; one that cannot be reached gets a second chance if it is the
    last. `manners` are those of the candidates, in the same order; what is learnt of them is kept there.

    `done` gets the reply or why there is none, once, unless `cancel` came first. It may be called from within `start`.
    """

    __slots__ = (
        "_again",
        "_body",
        "_candidates",
        "_deadline_s",
        "_done",
        "_index",
        "_known",
        "_manners",
        "_payload",
        "_question",
        "_received",
        "_timer",
        "_traceparent",
        "_upstream",
        "began_s",
        "ended",
        "tries",
    )

    def __init__(
        self,
        question: Question,
        candidates: tuple[Candidate, ...],
        manners: tuple[Manners, ...],
        deadline_s: float,
        traceparent: bytes,
        done: Callable[[Completion, Reply | Failure], None],
    ) -> None:
        self._question = question
        self._candidates = candidates
        self._known = manners
        self._manners = replace(manners[0])
        self._deadline_s = deadline_s
        self._traceparent = traceparent if _TRACEPARENT.fullmatch(traceparent) else b""
        self._done = done
        self._index = 0
        self._again = False
        self._payload = b""
        self._body: list[bytes] = []
        self._received = 0
        self._upstream: UpstreamConnection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.began_s = time.monotonic()
        self.ended = False
        self.tries = 0

    def start(self) -> None:
        self._try()

    def cancel(self) -> None:
        """Nobody waits any more: the connection is closed, which tells the provider to stop."""
        if not self.ended:
            self.ended = True
            self._let_go(whole=False)

    # -- one try ---------------------------------------------------------------------------------------------------

    @property
    def _candidate(self) -> Candidate:
        return self._candidates[self._index]

    def _try(self) -> None:
        self._timer = None
        candidate = self._candidate
        try:
            self._payload = self._render(candidate)
        except SigningError as unsigned:
            self.upstream_failed(Failure(FailureKind.CONNECT, str(unsigned)))
            return
        except BadRequest as bad:
            self._end(Failure(FailureKind.PROTOCOL, f"{candidate.name} cannot be asked this: {bad.message}"))
            return
        self.tries += 1
        self._body.clear()
        self._received = 0
        limit_s = candidate.stream_limit_s if candidate.always_streams else candidate.limit_s
        if limit_s is not None:
            self._timer = asyncio.get_running_loop().call_later(limit_s, self._time_out)
        upstream = candidate.pool.take()
        if upstream is not None:
            self.upstream_ready(upstream)
        else:
            candidate.pool.dial(self)

    def _render(self, candidate: Candidate) -> bytes:
        """Head and body of the request. Raises BadRequest for what the candidate's dialect cannot say, SigningError."""
        dropped = Dropped()
        codec = UPSTREAMS[candidate.dialect]
        try:
            body = codec.render_request(self._compose(candidate), candidate.model, dropped)
        except BadRequest:
            if not self._manners.schema:
                raise
            self._manners.schema = False
            body = codec.render_request(self._compose(candidate), candidate.model, dropped)
        data = orjson.dumps(apply_quirks(candidate.quirks, body, Call("chat", candidate.dialect), dropped))
        streams = candidate.always_streams
        lines = candidate.without_overrides([_USER_AGENT])
        if self._traceparent:
            lines += b"traceparent: %b\r\n" % self._traceparent
        if candidate.signed:
            lines += candidate.sign(data, streams)
        head = candidate.stream_head if streams else candidate.request_head
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (head, lines, len(data), data)

    def _compose(self, candidate: Candidate) -> Conversation:
        question = self._question
        manners = self._manners
        system = question.system
        output = None
        if manners.schema:
            output = OutputFormat("schema", question.schema_name, question.schema, strict=True)
        else:
            schema = orjson.dumps(question.schema).decode()
            system = f"{system}\n\nAnswer with JSON alone, valid against this JSON Schema:\n{schema}".lstrip()
        return Conversation(
            model=candidate.model,
            turns=[Turn(message.role, [Text(message.text)]) for message in question.messages],
            system=[Text(system)] if system else [],
            stream=candidate.always_streams,
            max_tokens=question.max_tokens * (ROOM_TO_THINK if manners.thinks else 1),
            temperature=0.0 if manners.temperature else None,
            output=output,
        )

    def _time_out(self) -> None:
        self._timer = None
        self._let_go(whole=False)
        self.upstream_failed(Failure(FailureKind.TIMEOUT, "no answer in time"))

    def _let_go(self, *, whole: bool) -> None:
        """Done with the connection. One whose answer is not `whole` cannot be used again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            self._candidate.pool.forget(self)
        elif not whole:
            upstream.cancel()

    # -- Sink ------------------------------------------------------------------------------------------------------

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        connection.send(self._payload, self)

    def upstream_stale(self) -> None:
        self._upstream = None
        self._candidate.pool.dial(self)

    def upstream_head(self, connection: UpstreamConnection, body: bytes, complete: bool) -> None:
        self.upstream_data(body, complete)

    def upstream_data(self, body: bytes, complete: bool) -> None:
        self._body.append(body)
        self._received += len(body)
        if self._received > MAX_ANSWER_BYTES:
            self._let_go(whole=complete)
            self.upstream_failed(Failure(FailureKind.PROTOCOL, "the answer is too large"))
        elif complete:
            connection = self._upstream
            assert connection is not None
            self._let_go(whole=True)
            self._judge(connection, b"".join(self._body))

    def upstream_failed(self, failure: Failure) -> None:
        """The next candidate, the same once more, or the end."""
        self._upstream = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if failure.may_retry(self._candidate.plan.retry.statuses):
            if self._index + 1 < len(self._candidates):
                self._index += 1
                self._manners = replace(self._known[self._index])
                self._try()
                return
            pause_s = random.uniform(*PAUSE_S)
            if not self._again and failure.kind in _TRY_AGAIN and time.monotonic() + pause_s < self._deadline_s:
                self._again = True
                self._timer = asyncio.get_running_loop().call_later(pause_s, self._try)
                return
        self._end(failure)

    # -- the answer ------------------------------------------------------------------------------------------------

    def _judge(self, connection: UpstreamConnection, body: bytes) -> None:
        status = connection.status
        manners = self._manners
        try:
            body = _inflate(connection.coding, body)
        except BadAnswer as bad:
            self.upstream_failed(Failure(FailureKind.PROTOCOL, str(bad)))
            return
        if status >= 300:
            said = parse_error(_parse(body), status).message
            if status in _REFUSALS and manners.give_way(said):
                self._try()
            else:
                self.upstream_failed(Failure(FailureKind.STATUS, self._explain(status, said), status=status))
            return
        streamed = connection.content_type.startswith((b"text/event-stream", b"application/vnd.amazon"))
        try:
            answer = self._read(body, streamed)
        except BadAnswer as bad:
            self.upstream_failed(Failure(FailureKind.PROTOCOL, self._hide(str(bad))))
            return
        if answer.stop is StopReason.MAX_TOKENS and not manners.thinks:
            # Half an answer is none. Models that think spend the first tokens on that.
            manners.thinks = True
            self._try()
            return
        text = "".join(block.text for block in answer.blocks if isinstance(block, Text))
        if not text.strip():
            self.upstream_failed(Failure(FailureKind.EMPTY, f"the answer holds no text ({answer.stop.value})"))
            return
        self._known[self._index].adopt(manners)
        self._end(Reply(text, answer.usage.input, answer.usage.output))

    def _read(self, body: bytes, streamed: bool) -> Answer:
        """Raises BadAnswer."""
        codec = UPSTREAMS[self._candidate.dialect]
        conversation = self._compose(self._candidate)
        if streamed:
            reader = codec.make_reader(conversation)
            assembler = Assembler()
            for event in (*reader.feed(body), *reader.end()):
                assembler.add(event)
            if assembler.failed is not None:
                raise BadAnswer(assembler.failed.message)
            return assembler.answer()
        parsed = _parse(body)
        if not isinstance(parsed, dict):
            raise BadAnswer("the answer is not a JSON object")
        return codec.parse_answer(parsed, conversation)

    def _explain(self, status: int, said: str) -> str:
        # What is said about a key may quote it.
        if status in (401, 403):
            said = "the key was refused"
        return f"status {status}: {self._hide(said)}"

    def _hide(self, text: str) -> str:
        key = self._candidate.plan.access_key
        return " ".join((text.replace(key, "...") if key else text).split())[:MAX_MESSAGE_CHARS]

    def _end(self, result: Reply | Failure) -> None:
        if not self.ended:
            self.ended = True
            self._done(self, result)


def _inflate(coding: bytes, body: bytes) -> bytes:
    """The body without its content coding (RFC 9110, 8.4.1). Raises BadAnswer for one that was not to be expected."""
    if not coding:
        return body
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        raise BadAnswer("the answer is compressed in a way that was not asked for")
    try:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, told apart by their headers
        inflated = stream.decompress(body, MAX_ANSWER_BYTES)
    except zlib.error as error:
        raise BadAnswer("the answer is not compressed as it says") from error
    if stream.unconsumed_tail:
        raise BadAnswer("the answer is too large when unpacked")
    return inflated


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:MAX_MESSAGE_CHARS].decode("utf-8", "replace")
