"""One question to a model: the request that puts it in a dialect, and what the answer says. No I/O.

A model that turns out not to put up with a parameter is asked without it; `Manners` is what is known of it.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from plano import __version__
from plano.dialects.assembly import Assembler
from plano.dialects.codecs import UPSTREAMS
from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    BadRequest,
    Conversation,
    Dropped,
    OutputFormat,
    Reasoning,
    Text,
    Turn,
)
from plano.upstreams.candidate import Candidate
from plano.upstreams.quirks import Call, apply_quirks

Json = dict[str, Any]

MAX_ANSWER_BYTES: Final = 1024 * 1024
ROOM_TO_THINK: Final = 8  # times the tokens, for models that think before they answer

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_USER_AGENT: Final = f"user-agent: plano/{__version__}\r\n".encode("ascii")


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
    and with room to think, but little effort, once it has used up its tokens before it came to the answer."""

    schema: bool = True
    temperature: bool = True
    effort: bool = True
    thinks: bool = False

    def give_way(self, message: str) -> bool:
        """Give up what a refusal complains of. False when there is nothing left to give up."""
        lowered = message.lower()
        if self.temperature and "temperature" in lowered:
            self.temperature = False
        elif self.thinks and self.effort and ("reasoning" in lowered or "think" in lowered):
            self.effort = False
        elif self.schema:  # what most of those lack that only say "bad request"
            self.schema = False
        else:
            return False
        return True

    def adopt(self, proven: Manners) -> None:
        """Remember what has brought an answer."""
        self.schema = self.schema and proven.schema
        self.temperature = self.temperature and proven.temperature
        self.effort = self.effort and proven.effort
        self.thinks = self.thinks or proven.thinks


def render_question(question: Question, candidate: Candidate, manners: Manners, traceparent: bytes) -> bytes:
    """Head and body of the request. `manners` give way where the candidate's dialect has no way to say something.

    `traceparent` is left out unless it is one. Raises BadRequest for what the dialect cannot say at all, SigningError.
    """
    dropped = Dropped()
    render = UPSTREAMS[candidate.dialect].render_request
    try:
        body = render(_compose(question, candidate, manners), candidate.model, dropped)
    except BadRequest:
        if not manners.schema:
            raise
        manners.schema = False
        body = render(_compose(question, candidate, manners), candidate.model, dropped)
    data = orjson.dumps(apply_quirks(candidate.quirks, body, Call("chat", candidate.dialect), dropped))
    streams = candidate.always_streams
    lines = candidate.without_overrides([_USER_AGENT])
    if _TRACEPARENT.fullmatch(traceparent):
        lines += b"traceparent: %b\r\n" % traceparent
    if candidate.signed:
        lines += candidate.sign(data, streams)
    head = candidate.stream_head if streams else candidate.request_head
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (head, lines, len(data), data)


def read_answer(question: Question, candidate: Candidate, manners: Manners, body: bytes, *, streamed: bool) -> Answer:
    """The answer to the request that `render_question` made of the same values. `streamed`: `body` is a whole stream.
    Raises BadAnswer."""
    codec = UPSTREAMS[candidate.dialect]
    conversation = _compose(question, candidate, manners)
    if streamed:
        reader = codec.make_reader(conversation)
        assembler = Assembler()
        for event in (*reader.feed(body), *reader.end()):
            assembler.add(event)
        if assembler.failed is not None:
            raise BadAnswer(assembler.failed.message)
        return assembler.answer()
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadAnswer("the answer is not JSON") from error
    if not isinstance(parsed, dict):
        raise BadAnswer("the answer is not a JSON object")
    return codec.parse_answer(parsed, conversation)


def inflate(coding: bytes, body: bytes) -> bytes:
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


def _compose(question: Question, candidate: Candidate, manners: Manners) -> Conversation:
    system = question.system
    output = None
    # Claude thinks only where it is told how hard to.
    hurried = manners.thinks and manners.effort and candidate.dialect not in ("messages", "converse")
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
        reasoning=Reasoning(effort="low") if hurried else None,
    )
