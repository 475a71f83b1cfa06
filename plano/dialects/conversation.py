"""What all dialects can say, in one vocabulary: the hub that every translation goes through.

A request of one dialect is parsed into a `Conversation` and rendered in another; an answer likewise as an `Answer`. The
vocabulary is the union of what the providers' APIs can express (block structure after Anthropic's Messages API, names
after the field's common use). Nothing here knows a wire format; nothing here is validated beyond its types.

A dialect that cannot express something says so through `Dropped` (harmless: a counter and a header name it) or raises
`Untranslatable` (dropping it would change the meaning: 400, naming the field of the client's request).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Json = dict[str, Any]

_UNFIT = re.compile(r"[^\x21-\x2b\x2d-\x7e]")  # in a header's list of names: no space, no comma


class BadRequest(Exception):
    """A request that its own dialect does not allow. `param` is the path of the field at fault (`messages[2].content`),
    None when it is the body as a whole."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Untranslatable(BadRequest):
    """A valid request that the upstream's dialect has no way to express, and that must not be sent without it."""


class BadAnswer(Exception):
    """An upstream's answer or stream that its own dialect does not allow. The message is safe to show a client."""


class Dropped:
    """Names of the client's fields that were left out, in order, each once (`logit_bias`, `tools[0].strict`)."""

    __slots__ = ("_known", "names")

    def __init__(self) -> None:
        self.names: list[str] = []
        self._known: set[str] = set()  # a client can make every message, tool and block name something

    def add(self, name: str) -> None:
        if name not in self._known:
            self._known.add(name)
            self.names.append(name)

    def header(self) -> bytes:
        """The names as a header value. Clients choose some of them: nothing but visible ASCII, and bounded."""
        names = [_UNFIT.sub("?", name[:128]) for name in self.names[:32]]
        more = len(self.names) - len(names)
        return ", ".join([*names, f"and {more} more"] if more else names).encode("ascii")


# -- content ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Text:
    """`cache` is the dialect-neutral cache marker of a prompt block (Anthropic's cache_control object as it is, or
    {"type": "ephemeral"} for a cache point). `citations` are kept in Anthropic's form."""

    text: str
    cache: Json | None = None
    citations: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class Image:
    """Either `url`, or `data` (base64, no line breaks) with its `media_type`, or `file_id` of the provider."""

    url: str | None = None
    media_type: str | None = None
    data: str | None = None
    file_id: str | None = None
    detail: str | None = None
    cache: Json | None = None


@dataclass(slots=True)
class Document:
    """A file given as content. `text` for plain-text documents, otherwise as in Image. `title` is its file name."""

    url: str | None = None
    media_type: str | None = None
    data: str | None = None
    file_id: str | None = None
    text: str | None = None
    title: str | None = None
    context: str | None = None
    citations: bool = False
    cache: Json | None = None


@dataclass(slots=True)
class SearchResult:
    """What a search of the client's own has found: `texts` of the page or record `title`, found at `source`. The answer
    is to cite it if `citations`."""

    source: str
    title: str
    texts: list[str]
    citations: bool = False
    cache: Json | None = None


@dataclass(slots=True)
class Audio:
    """Base64 `data` of `format` (wav, mp3)."""

    data: str
    format: str


@dataclass(slots=True)
class ToolUse:
    """The model calls a tool. `arguments` is JSON text exactly as the model wrote it ("" counts as "{}").

    `custom`: a free-form tool of the responses and chat dialects, whose `arguments` are plain text, not JSON.
    `signature` is an opaque token some providers attach to a call (Gemini's thoughtSignature)."""

    id: str
    name: str
    arguments: str
    custom: bool = False
    cache: Json | None = None
    signature: str | None = None


@dataclass(slots=True)
class ToolResult:
    """What a tool said. `content` holds Text, Image, Document and SearchResult blocks. `path` as in Turn."""

    id: str
    content: list[Block]
    is_error: bool = False
    name: str | None = None
    cache: Json | None = None
    path: str = field(default="", compare=False)


@dataclass(slots=True)
class Thinking:
    """The model's reasoning. `signature` proves its origin and must come back unchanged (Anthropic's signature,
    the responses dialect's encrypted_content, Bedrock's reasoningText.signature). `id` is the item id of the responses
    dialect; `summary`: the text is a summary of the reasoning, not the reasoning."""

    text: str
    signature: str | None = None
    id: str | None = None
    summary: bool = False


@dataclass(slots=True)
class RedactedThinking:
    """Reasoning that only its provider can read (`data` is opaque)."""

    data: str


@dataclass(slots=True)
class Refusal:
    """The model declines, in its own words."""

    text: str


@dataclass(slots=True)
class Opaque:
    """A block only one dialect knows (a server tool's result, a new content type). It survives between equal dialects;
    between different ones it is dropped, by name, or refused (see omission.py). `value` is the block as it came."""

    dialect: str
    value: Json


Block = (
    Text
    | Image
    | Document
    | SearchResult
    | Audio
    | ToolUse
    | ToolResult
    | Thinking
    | RedactedThinking
    | Refusal
    | Opaque
)


@dataclass(slots=True)
class Turn:
    """One turn. Tool results stand in `user` turns, tool calls in `assistant` turns. System and developer texts that
    come before the first turn are in `Conversation.system`; later ones are turns of role `system`. `path` is where the
    client's request has it (`messages[3]`), "" when that is not one place."""

    role: Literal["user", "assistant", "system"]
    blocks: list[Block]
    name: str | None = None
    path: str = field(default="", compare=False)


# -- the request ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tool:
    """A tool the model may call. `schema` is the JSON Schema of its arguments. `custom`: free text instead of JSON;
    `grammar` then is its format object. `opaque`: a provider's own tool (web search, code execution), as it came."""

    name: str
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None
    custom: bool = False
    grammar: Json | None = None
    cache: Json | None = None
    opaque: Json | None = None


@dataclass(slots=True)
class ToolChoice:
    """`name` only for `tool`. `allowed` restricts the choice to these names (responses and chat: allowed_tools)."""

    mode: Literal["auto", "any", "none", "tool"]
    name: str | None = None
    allowed: list[str] | None = None


@dataclass(slots=True)
class OutputFormat:
    """`text`, `json` (any JSON object) or `schema`."""

    kind: Literal["text", "json", "schema"]
    name: str | None = None
    schema: Json | None = None
    strict: bool | None = None
    description: str | None = None


@dataclass(slots=True)
class Reasoning:
    """How hard to think: `effort` (none, minimal, low, medium, high, xhigh, max) or a budget in tokens; `enabled` False
    switches it off, None leaves it to the model. `summary`: auto, concise, detailed. `encrypted`: give the reasoning
    back in encrypted form (responses: include reasoning.encrypted_content)."""

    enabled: bool | None = None
    effort: str | None = None
    budget_tokens: int | None = None
    summary: str | None = None
    encrypted: bool = False


@dataclass(slots=True)
class Conversation:
    """A request. None means the client did not say. `extra` holds the client's fields that have no place here, as they
    came: a renderer copies those its dialect knows by the same name and meaning, and reports the others as dropped."""

    model: str | None
    turns: list[Turn]
    system: list[Text] = field(default_factory=list)
    stream: bool = False
    include_usage: bool = False
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    output: OutputFormat | None = None
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    user: str | None = None
    metadata: Json | None = None
    service_tier: str | None = None
    store: bool | None = None
    extra: Json = field(default_factory=dict)
    # Paths of the client's fields within its messages, tools and options that nobody knows: dropped wherever it goes.
    unread: list[str] = field(default_factory=list)
    # What the client's dialect remembers of the client's own way to say things (its name for the limit of tokens, the
    # deprecated form of its tools), to answer it likewise. Nothing here is ever sent, or reported as dropped.
    notes: Json = field(default_factory=dict)
    # The client's body as it came, in the one dialect whose requests may go to an upstream of their own through here:
    # one that only streams, for a client that wants the whole answer.
    source: Json | None = field(default=None, compare=False)


# -- the answer -------------------------------------------------------------------------------------------------------


class StopReason(StrEnum):
    """Why the model stopped. `OTHER` for a reason unknown to us."""

    END = "end"
    STOP_SEQUENCE = "stop_sequence"
    MAX_TOKENS = "max_tokens"
    CONTEXT = "context"  # the context window is full
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    FILTERED = "filtered"  # a content filter or guardrail intervened
    PAUSE = "pause"
    OTHER = "other"


@dataclass(slots=True)
class Usage:
    """Tokens. `input` counts everything the model read, cached or not (OpenAI's convention; Anthropic and Bedrock
    report cache reads and writes apart from it, so parsers add and renderers subtract). `output` includes reasoning.
    `known` is False as long as the upstream has not reported anything."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    known: bool = False


@dataclass(slots=True)
class Answer:
    """A whole answer. `created` is Unix seconds. `alternatives` are further choices (chat with n > 1)."""

    id: str
    model: str
    blocks: list[Block]
    stop: StopReason
    usage: Usage
    stop_sequence: str | None = None
    created: int | None = None
    service_tier: str | None = None
    alternatives: list[Choice] = field(default_factory=list)


@dataclass(slots=True)
class Choice:
    """One of several answers to the same request."""

    index: int
    blocks: list[Block]
    stop: StopReason


# -- errors -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class UpstreamError:
    """An error an upstream reported, in a body or inside a stream. `kind` is neutral: invalid_request, authentication,
    permission, not_found, too_large, rate_limit, overloaded, server, timeout. `status` 0: the upstream gave none."""

    kind: str
    message: str
    status: int = 0
    code: str | None = None
    param: str | None = None
