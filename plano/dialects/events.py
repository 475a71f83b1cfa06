"""The vocabulary of streams: what an upstream's stream reader says and a client's stream writer is told.

The order is a contract. `Started` first, once. Blocks are numbered 0, 1, 2 ... in the order in which they open;
`BlockStarted` before its deltas, `BlockStopped` after the last of them. A reader may have several blocks open at once
(chat interleaves tool calls); a writer whose dialect wants one at a time closes and reopens nothing, it holds the later
block's deltas back until the earlier one has stopped. `Finished` follows when every block has stopped; `UsageKnown` may
come at any time, and once more after `Finished`; `Ended` is last, once, unless `Failed` came instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from plano.dialects.conversation import StopReason, UpstreamError, Usage


class BlockKind(StrEnum):
    TEXT = "text"
    THINKING = "thinking"
    REDACTED_THINKING = "redacted_thinking"
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    OPAQUE = "opaque"


@dataclass(slots=True)
class Started:
    """`created` is Unix seconds, None when the upstream does not say."""

    id: str
    model: str
    created: int | None = None
    service_tier: str | None = None


@dataclass(slots=True)
class BlockStarted:
    """`id` and `name` of a tool call; `data` of redacted thinking or of an opaque block (then the block as it came).
    `choice` is the index of the alternative answer the block belongs to (chat with n > 1). Of a thinking block, `id` is
    its item id in the responses dialect, and `summary` says that its text is a summary of the reasoning. Of an opaque
    block, `name` is the dialect that knows it."""

    index: int
    kind: BlockKind
    id: str | None = None
    name: str | None = None
    custom: bool = False
    data: Any = None
    choice: int = 0
    summary: bool = False


@dataclass(slots=True)
class TextDelta:
    """More text of a text, thinking or refusal block."""

    index: int
    text: str


@dataclass(slots=True)
class ArgumentsDelta:
    """More of a tool call's arguments (JSON text, or plain text of a custom tool)."""

    index: int
    text: str


@dataclass(slots=True)
class SignatureDelta:
    """The signature of a thinking block (or of a tool call), whole."""

    index: int
    signature: str


@dataclass(slots=True)
class CitationDelta:
    """A citation of a text block, in Anthropic's form."""

    index: int
    citation: dict[str, Any]


@dataclass(slots=True)
class BlockStopped:
    index: int


@dataclass(slots=True)
class UsageKnown:
    """The counts so far; a later one replaces an earlier one."""

    usage: Usage


@dataclass(slots=True)
class Finished:
    stop: StopReason
    stop_sequence: str | None = None
    choice: int = 0


@dataclass(slots=True)
class Failed:
    """The upstream reported an error, or its stream makes no sense, or it ended too early."""

    error: UpstreamError


@dataclass(slots=True)
class Ended:
    """The stream is complete."""


Event = (
    Started
    | BlockStarted
    | TextDelta
    | ArgumentsDelta
    | SignatureDelta
    | CitationDelta
    | BlockStopped
    | UsageKnown
    | Finished
    | Failed
    | Ended
)


class StreamReader(Protocol):
    """Bytes of an upstream's stream in, events out. Raises nothing, whatever it is fed; after `Failed` or `Ended` it
    says nothing more."""

    def feed(self, data: bytes) -> list[Event]:
        """The next bytes, cut anywhere."""

    def end(self) -> list[Event]:
        """The upstream has closed the stream: what was held back, then `Ended`, or `Failed` for half an answer."""


class StreamWriter(Protocol):
    """Events in, bytes of the client's stream out. Tolerates a reader that ends early: after `Failed` or `Ended` the
    stream is properly ended in the client's dialect."""

    def write(self, event: Event) -> bytes:
        """What the client gets for this event; may be empty."""
