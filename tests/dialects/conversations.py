"""Hypothesis strategies for conversations and answers, and what of them must survive every translation.

Every text holds a mark that occurs nowhere else (`[#12]`), so that it is found again whatever a dialect does around it:
joins texts, moves results to the front, takes system texts out of their place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import orjson
from hypothesis import strategies as st

from plano.dialects.conversation import (
    Answer,
    Block,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Reasoning,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
    Usage,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl"
MARK = re.compile(r"\[#\d+\]")

# Lone surrogates cannot come in by JSON; line ends and quotes, emoji and right-to-left text can.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", " ", "\n\n", "data: [DONE]\n\n", '"}\\u0000', "שלום", "👩‍👩‍👧", "\r\n", "event: x", "<think>"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(WORDS, VALUES, max_size=3)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,20}", fullmatch=True)
SCHEMAS = st.sampled_from(
    [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"city": {"type": "string", "minLength": 1}}, "required": ["city"]},
        {"type": "object", "properties": {"list": {"type": "array", "items": {"enum": ["a", "b"]}}}},
    ]
)


@dataclass
class Counter:
    """Numbers the marks and the calls of one example."""

    marks: int = 0
    calls: int = 0

    def text(self, words: str) -> str:
        self.marks += 1
        return f"{words}[#{self.marks}]{words}"

    def call_id(self) -> str:
        self.calls += 1
        return f"call_{self.calls:04}"


@st.composite
def tools(draw: st.DrawFn) -> list[Tool]:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    return [Tool(name, draw(st.sampled_from([None, "Does it"])), draw(SCHEMAS)) for name in names]


@st.composite
def user_turn(draw: st.DrawFn, counter: Counter, calls: list[str]) -> Turn:
    blocks: list[Block] = []
    for call in calls:
        texts = [Text(counter.text(draw(WORDS))) for _ in range(draw(st.integers(0, 2)))]
        blocks.append(ToolResult(call, [*texts]))
    least = 0 if calls else 1
    for _ in range(draw(st.integers(least, 2))):
        blocks.append(Text(counter.text(draw(WORDS))))
        if draw(st.integers(0, 4)) == 0:
            blocks.append(Image(media_type="image/png", data=PNG))
    if len(calls) > 1 and draw(st.booleans()):
        blocks = draw(st.permutations(blocks))  # results in any order and between texts
    return Turn("user", blocks)


@st.composite
def assistant_turn(draw: st.DrawFn, counter: Counter, offered: list[Tool]) -> Turn:
    blocks: list[Block] = []
    if draw(st.integers(0, 3)) == 0:
        blocks.append(Thinking(draw(WORDS) + "hm", SIGNATURE))
    blocks.extend(Text(counter.text(draw(WORDS))) for _ in range(draw(st.integers(0, 2))))
    count = draw(st.integers(0, 3)) if offered else 0
    for _ in range(count if blocks else max(count, 1 if offered else 0)):
        tool = draw(st.sampled_from(offered))
        blocks.append(ToolUse(counter.call_id(), tool.name, orjson.dumps(draw(ARGUMENTS)).decode()))
    if not any(isinstance(block, Text | ToolUse) for block in blocks):
        blocks.append(Text(counter.text(draw(WORDS))))
    return Turn("assistant", blocks)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Conversations that every dialect can express without loss: texts, inline images, calls and their results."""
    counter = Counter()
    offered = draw(st.just([]) | tools())
    turns: list[Turn] = []
    calls: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        turns.append(draw(user_turn(counter, calls)))
        if draw(st.integers(0, 5)) == 0:
            turns.append(Turn("system", [Text(counter.text(draw(WORDS)))]))
        if draw(st.integers(0, 5)) == 0:
            turns.append(draw(user_turn(counter, [])))
        turns.append(draw(assistant_turn(counter, offered)))
        calls = [block.id for block in turns[-1].blocks if isinstance(block, ToolUse)]
    turns.append(draw(user_turn(counter, calls)))
    conversation = Conversation(
        "model",
        turns,
        system=[Text(counter.text(draw(WORDS))) for _ in range(draw(st.integers(0, 2)))],
        stream=draw(st.booleans()),
        tools=offered,
        max_tokens=draw(st.none() | st.integers(1, 10_000)),
        temperature=draw(st.none() | st.sampled_from([0.0, 0.5, 1.0])),
        top_p=draw(st.none() | st.just(0.5)),
    )
    if offered:
        named = ToolChoice("tool", offered[0].name)
        conversation.tool_choice = draw(st.sampled_from([None, ToolChoice("auto"), ToolChoice("any"), named]))
    return conversation


@st.composite
def any_conversations(draw: st.DrawFn) -> Conversation:
    """Conversations that use anything: a dialect may refuse them, but only in the way refusals are made."""
    conversation = draw(conversations())
    media = [
        Image(url="https://example.com/a.png"),
        Image(file_id="file-1"),
        Image(data="", media_type="image/tiff"),
        Document(text="plain", title="a/b.txt", citations=True),
        Document(data="JVBERi0=", media_type="application/pdf"),
        Document(url="data:text/plain;base64,AAAA"),
        Document(file_id="f"),
    ]
    more = st.sampled_from(
        [
            *media,
            Refusal("No."),
            RedactedThinking("AQID"),
            Thinking("unsigned"),
            Thinking("summary", "gAAAA=", "rs_1", True),
            ToolUse("x", "free", "not json", custom=True),
            ToolUse("bad id!", "bad name!", "{"),
            ToolUse("", "", "[]"),
            ToolResult("nobody", [Text(""), *media[:2]], is_error=True),
            Text("cited", {"type": "ephemeral", "ttl": "1h"}, [{"type": "char_location"}]),
        ]
    )
    for turn in conversation.turns:
        turn.blocks.extend(draw(st.lists(more, max_size=1)))
        turn.name = draw(st.sampled_from([None, "Ann"]))
    conversation.turns = draw(st.permutations(conversation.turns) | st.just(conversation.turns) | st.just([]))
    conversation.tools.extend(
        draw(
            st.lists(
                st.sampled_from(
                    [
                        Tool("free", custom=True, grammar={"type": "grammar", "syntax": "lark", "definition": "x"}),
                        Tool("", strict=True, schema={"properties": 1}),
                        Tool("search", opaque={"type": "web_search_20250305", "name": "search"}),
                        Tool("w", opaque={"type": "web_search"}),
                        Tool("cached", cache={"type": "ephemeral"}),
                    ]
                ),
                max_size=2,
            )
        )
    )
    conversation.tool_choice = draw(
        st.none() | st.sampled_from([ToolChoice("none"), ToolChoice("tool", "gone"), ToolChoice("any", allowed=["x"])])
    )
    conversation.output = draw(
        st.sampled_from([None, OutputFormat("text"), OutputFormat("json"), OutputFormat("schema")])
        | st.builds(OutputFormat, st.just("schema"), st.just("n"), SCHEMAS, st.booleans(), st.none())
    )
    conversation.reasoning = draw(
        st.none()
        | st.builds(
            Reasoning,
            st.sampled_from([None, True, False]),
            st.sampled_from([None, "none", "minimal", "low", "high", "xhigh", "odd"]),
            st.sampled_from([None, 0, 1024, 100_000]),
            st.sampled_from([None, "auto"]),
            st.booleans(),
        )
    )
    conversation.stop = draw(st.lists(st.sampled_from(["END", "", "\n\nHuman:"]), max_size=3))
    conversation.top_k = draw(st.sampled_from([None, 3]))
    conversation.n = draw(st.sampled_from([None, 1, 2]))
    conversation.seed = draw(st.sampled_from([None, 0, 2**40]))
    conversation.parallel_tools = draw(st.sampled_from([None, True, False]))
    conversation.service_tier = draw(st.sampled_from([None, "auto", "flex", "odd"]))
    conversation.metadata = draw(st.sampled_from([None, {"a": "b"}, {"user_id": "u"}, {"x": 1}]))
    conversation.user = draw(st.sampled_from([None, "u"]))
    conversation.extra = draw(st.sampled_from([{}, {"logit_bias": {"1": 2}}, {"guardrailConfig": 3}, {"x": None}]))
    return conversation


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Whole answers: reasoning, texts, then calls, as models give them."""
    counter = Counter()
    blocks: list[Block] = []
    if draw(st.booleans()):
        blocks.append(Thinking(draw(WORDS) + "hm", SIGNATURE))
    blocks.extend(Text(counter.text(draw(WORDS))) for _ in range(draw(st.integers(0, 2))))
    calls = draw(st.integers(0 if blocks else 1, 3))
    blocks.extend(ToolUse(counter.call_id(), draw(NAMES), orjson.dumps(draw(ARGUMENTS)).decode()) for _ in range(calls))
    usage = Usage(draw(st.integers(10, 10_000)), draw(st.integers(0, 10_000)), draw(st.integers(0, 10)), known=True)
    stop = StopReason.TOOL_USE if calls else draw(st.sampled_from([StopReason.END, StopReason.MAX_TOKENS]))
    return Answer("msg_1", "model", blocks, stop, usage, created=1_700_000_000)


# -- what must survive ------------------------------------------------------------------------------------------------


@dataclass
class Essence:
    """What of one stretch of turns of the same role must survive: marks of its texts, calls (name and arguments),
    results (which call, marks) and the number of images, each in order."""

    role: str
    texts: list[str] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    results: dict[int, list[str]] = field(default_factory=dict)
    images: int = 0


def marks(text: str) -> list[str]:
    return MARK.findall(text)


def essence_of(conversation: Conversation) -> list[Essence]:
    """The stretches of a conversation, system turns aside."""
    stretches: list[Essence] = []
    numbers: dict[str, int] = {}
    for turn in conversation.turns:
        if turn.role == "system" or not turn.blocks:
            continue
        if not stretches or stretches[-1].role != turn.role:
            stretches.append(Essence(turn.role))
        add_blocks(stretches[-1], turn.blocks, numbers)
    return stretches


def add_blocks(stretch: Essence, blocks: list[Block], numbers: dict[str, int]) -> None:
    """`numbers` tells the calls so far by their ids: ids may be rewritten, but must pair as before."""
    for block in blocks:
        if isinstance(block, Text):
            stretch.texts.extend(marks(block.text))
        elif isinstance(block, ToolUse):
            numbers[block.id] = len(numbers)
            stretch.calls.append((block.name, orjson.loads(block.arguments or "{}")))
        elif isinstance(block, ToolResult):
            texts = [mark for part in block.content if isinstance(part, Text) for mark in marks(part.text)]
            stretch.results[numbers[block.id]] = texts
        elif isinstance(block, Image):
            stretch.images += 1


def system_marks(conversation: Conversation) -> list[str]:
    """The marks of all system texts, wherever they stand."""
    texts = list(conversation.system)
    for turn in conversation.turns:
        if turn.role == "system":
            texts.extend(block for block in turn.blocks if isinstance(block, Text))
    return [mark for text in texts for mark in marks(text.text)]
