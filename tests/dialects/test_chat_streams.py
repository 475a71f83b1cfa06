"""Streams of the chat dialect: what servers send, cut anywhere, and what clients get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from plano.dialects.assembly import Assembler, events_of
from plano.dialects.chat.answer import parse_answer, render_answer
from plano.dialects.chat.stream import Reader, Writer
from plano.dialects.conversation import (
    Answer,
    Block,
    Choice,
    Conversation,
    Opaque,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    Tool,
    ToolUse,
    UpstreamError,
    Usage,
)
from plano.dialects.events import (
    ArgumentsDelta,
    BlockKind,
    BlockStarted,
    BlockStopped,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Finished,
    SignatureDelta,
    Started,
    TextDelta,
    UsageKnown,
)
from tests.dialects.bodies import NESTED

SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "openai_chat.json").read_text())
CHUNK = Draft202012Validator({"$ref": "#/$defs/CreateChatCompletionStreamResponse", **SCHEMAS})
PLAIN = Conversation("m", [])
ASKED = Conversation("m", [], stream=True, include_usage=True)
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def chunk(delta: Any = None, finish: Any = None, usage: Any = None, index: int = 0, **choice: Any) -> bytes:
    """One chunk; without a delta and a finish reason one without choices."""
    value: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    some = delta is not None or finish is not None
    value["choices"] = [{"index": index, "delta": delta or {}, "finish_reason": finish, **choice}] if some else []
    if usage is not None:
        value["usage"] = usage
    return b"data: " + orjson.dumps(value) + b"\n\n"


def read(*pieces: bytes) -> list[Event]:
    reader = Reader(PLAIN)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.end()


def answer_of(*pieces: bytes) -> Answer:
    events = read(*pieces)
    assert events[-1] == Ended(), events[-1]
    check_order(events)
    return assemble(events)


def assemble(events: list[Event]) -> Answer:
    assembler = Assembler("chat")
    for event in events:
        assembler.add(event)
    return assembler.answer()


def check_order(events: list[Event]) -> None:
    """The contract of events.py."""
    opened: list[int] = []
    open_now: set[int] = set()
    finished = False
    for place, event in enumerate(events):
        if isinstance(event, Started):
            assert place == 0
        elif isinstance(event, BlockStarted):
            assert event.index == len(opened)
            assert not finished
            opened.append(event.index)
            open_now.add(event.index)
        elif isinstance(event, TextDelta | ArgumentsDelta | SignatureDelta | CitationDelta):
            assert event.index in open_now
        elif isinstance(event, BlockStopped):
            open_now.remove(event.index)
        elif isinstance(event, Finished):
            assert not open_now
            finished = True
        elif isinstance(event, Ended):
            assert finished
            assert place == len(events) - 1
        elif isinstance(event, Failed):
            assert place == len(events) - 1
    assert isinstance(events[-1], Ended | Failed)


def call(index: Any = 0, *, id: str | None = None, name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    value: dict[str, Any] = {"function": {}}
    if index is not None:
        value["index"] = index
    if id is not None:
        value["id"] = id
    if name is not None:
        value["function"]["name"] = name
    if arguments is not None:
        value["function"]["arguments"] = arguments
    return value


def calls(*entries: dict[str, Any], finish: Any = None) -> bytes:
    return chunk({"tool_calls": list(entries)}, finish)


# The call behind it, and the usage, must not be told any more.
DEEP_CALL = (
    b"data: %b\n\n"
    % json.dumps(
        {
            "id": "chatcmpl-1",
            "choices": [
                {"index": 0, "delta": {"tool_calls": [call(0, name="f", arguments=NESTED), call(1, name="g")]}}
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
    ).encode()
)


def tools_of(*pieces: bytes) -> list[tuple[str, str, str]]:
    blocks = answer_of(*pieces, chunk(finish="tool_calls"), DONE).blocks
    return [(block.id, block.name, block.arguments) for block in blocks if isinstance(block, ToolUse)]


# -- what servers send ----------------------------------------------------------------------------------------------


def test_a_plain_stream() -> None:
    assert read(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk(finish="stop"),
        chunk(usage=USAGE),
        DONE,
    ) == [
        Started("chatcmpl-1", "m", 5),
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        BlockStopped(0),
        Finished(StopReason.END),
        UsageKnown(Usage(9, 2, known=True)),
        Ended(),
    ]


def test_reasoning_then_text_then_two_calls_are_blocks_of_their_own() -> None:
    events = read(
        chunk({"reasoning_content": "Hm"}),
        chunk({"content": "I "}),
        chunk({"content": "look."}),
        calls(call(0, id="a", name="f", arguments="")),
        calls(call(0, arguments="{}")),
        calls(call(1, id="b", name="g", arguments="{}")),
        chunk(finish="tool_calls"),
        DONE,
    )
    check_order(events)
    assert assemble(events).blocks == [
        Thinking("Hm"),
        Text("I look."),
        ToolUse("a", "f", "{}"),
        ToolUse("b", "g", "{}"),
    ]


QUIRKS = {
    "no space after the colon": [b'data:{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n', DONE],
    "a comment before": [b": ping\n\n", chunk({"content": "Hi"}, "stop"), DONE],
    "a byte order mark": [b"\xef\xbb\xbf", chunk({"content": "Hi"}, "stop"), DONE],
    "several data lines": [
        b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    ],
    "no [DONE]": [chunk({"content": "Hi"}), chunk(finish="stop")],
    "[DONE] twice": [chunk({"content": "Hi"}), chunk(finish="stop"), DONE, DONE],
    "no end of the last line": [chunk({"content": "Hi"}), chunk(finish="stop").rstrip()],
    "no finish reason": [chunk({"content": "Hi"}), DONE],
    "finish and content together": [chunk({"content": "Hi"}, "stop"), DONE],
    "content after the finish": [chunk({"content": "H"}, "stop"), chunk({"content": "i"}, "stop"), DONE],
    "role only, then nulls": [chunk({"role": "assistant", "content": None}), chunk({"content": "Hi"}, "stop"), DONE],
    "an empty finish reason in every chunk": [chunk({"content": "Hi"}, ""), chunk({}, ""), chunk(finish="stop"), DONE],
    "finish reason eos": [chunk({"content": "Hi"}), chunk(finish="eos"), DONE],
    "finish reason end_turn": [chunk({"content": "Hi"}), chunk(finish="end_turn"), DONE],
    "Azure's first chunk": [
        b'data: {"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n',
        chunk({"content": "Hi"}),
        chunk(finish="stop"),
        DONE,
    ],
    "a message instead of deltas": [
        b'data: {"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}\n\n',
        DONE,
    ],
    "an empty message": [b"data:\n\n", chunk({"content": "Hi"}, "stop"), DONE],
    "no stream at all": [
        b' {"id":"chatcmpl-1","model":"m","choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}'
    ],
}


@pytest.mark.parametrize("pieces", QUIRKS.values(), ids=QUIRKS)
def test_quirks_of_servers_change_nothing(pieces: list[bytes]) -> None:
    for ends in (b"\n", b"\r\n", b"\r"):
        data = b"".join(pieces).replace(b"\n", ends)
        answer = answer_of(data)
        assert (answer.blocks, answer.stop) == ([Text("Hi")], StopReason.END)
        for cut in range(len(data)):
            assert assemble(read(data[:cut], data[cut:])) == answer


@pytest.mark.parametrize(
    "pieces",
    [
        [chunk({"content": "Hi"}), chunk(finish="stop"), chunk(usage=USAGE), DONE],
        [chunk({"content": "Hi"}), chunk(usage=USAGE), chunk(finish="stop"), DONE],
        [chunk({"content": "Hi"}), chunk(finish="stop", usage=USAGE), DONE],
        [chunk({"content": "Hi"}), chunk(finish="stop", usage=USAGE)],
        [chunk({"content": "Hi"}, usage={"prompt_tokens": 9, "completion_tokens": 1}), chunk({}, "stop", USAGE), DONE],
        [
            chunk({"content": "Hi"}),
            b'data: {"choices":[],"x_groq":{"usage":%b}}\n\n' % orjson.dumps(USAGE),
            chunk({}, "stop"),
        ],
    ],
)
def test_usage_comes_before_with_or_after_the_finish(pieces: list[bytes]) -> None:
    events = read(*pieces)
    check_order(events)
    assert assemble(events).usage == Usage(9, 2, known=True)
    assert isinstance(events[-2], UsageKnown)


def test_the_finish_is_told_as_soon_as_the_usage_behind_it_has_come() -> None:
    reader = Reader(PLAIN)
    reader.feed(chunk({"content": "Hi"}))
    assert reader.feed(chunk(finish="stop")) == []
    assert reader.feed(chunk(usage=USAGE))[1:] == [Finished(StopReason.END), UsageKnown(Usage(9, 2, known=True))]
    assert reader.feed(chunk({"content": "late"})) == []


def test_tool_calls_by_the_reference_and_interleaved() -> None:
    assert tools_of(
        calls(call(0, id="a", name="f", arguments="")),
        calls(call(1, id="b", name="g", arguments="")),
        calls(call(0, arguments='{"x"'), call(1, arguments='{"y"')),
        calls(call(1, arguments=":2}"), call(0, arguments=":1}")),
    ) == [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]


TWO = [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]
CALL_QUIRKS = {
    "indexes from 1": [
        calls(call(1, id="a", name="f", arguments='{"x"')),
        calls(call(1, arguments=":1}")),
        calls(call(2, id="b", name="g", arguments='{"y":2}')),
    ],
    "no indexes": [
        calls(call(None, id="a", name="f", arguments="")),
        calls(call(None, arguments='{"x":1}')),
        calls(call(None, id="b", name="g", arguments='{"y":')),
        calls(call(None, arguments="2}")),
    ],
    "no indexes, ids everywhere": [
        calls(call(None, id="a", name="f", arguments='{"x"'), call(None, id="b", name="g", arguments='{"y"')),
        calls(call(None, id="b", arguments=":2}"), call(None, id="a", arguments=":1}")),
    ],
    "id and name in every delta": [
        calls(call(0, id="a", name="f", arguments='{"x"')),
        calls(call(0, id="a", name="f", arguments=":1}")),
        calls(call(1, id="b", name="g", arguments='{"y":2')),
        calls(call(1, id="b", name="g", arguments="}")),
    ],
    "empty id and null name in later deltas": [
        calls(call(0, id="a", name="f", arguments="")),
        calls({"index": 0, "id": "", "function": {"name": None, "arguments": '{"x":1}'}}),
        calls(call(1, id="b", name="g"), call(1, arguments='{"y":2}')),
    ],
    "both whole in one chunk": [
        calls(call(0, id="a", name="f", arguments='{"x":1}'), call(1, id="b", name="g", arguments='{"y":2}'))
    ],
    "index 0 for all": [
        calls(call(0, id="a", name="f", arguments='{"x":1}')),
        calls(call(0, id="b", name="g", arguments='{"y":2}')),
    ],
    "arguments as objects": [
        calls(call(0, id="a", name="f", arguments={"x": 1}), call(1, id="b", name="g", arguments={"y": 2}))
    ],
    "the name after the id": [
        calls(call(0, id="a")),
        calls(call(0, arguments='{"x"')),
        calls(call(0, name="f", arguments=":1}")),
        calls(call(1, name="g")),
        calls(call(1, arguments='{"y":2}')),
    ],
    "a new id with every delta": [
        calls(call(0, id="a", name="f", arguments='{"x"')),
        calls(call(0, id="zz", arguments=":1}")),
        calls(call(1, id="b", name="g", arguments='{"y":2}')),
    ],
}


@pytest.mark.parametrize("pieces", CALL_QUIRKS.values(), ids=CALL_QUIRKS)
def test_quirks_of_tool_calls_change_nothing(pieces: list[bytes]) -> None:
    found = tools_of(*pieces)
    assert [(name, arguments) for _, name, arguments in found] == [(name, arguments) for _, name, arguments in TWO]
    assert found[0][0] == "a"
    assert found[1][0] in ("b", "call_0_1_chatcmpl-1")


def test_calls_without_any_id_get_the_ids_of_the_whole_answer() -> None:
    entries = [call(0, name="f", arguments="{}"), call(0, name="f", arguments='{"a":1}')]
    streamed = answer_of(*[calls(entry) for entry in entries], chunk(finish="stop"), DONE)
    whole = parse_answer({"id": "chatcmpl-1", "choices": [{"message": {"tool_calls": entries}}]})
    assert (streamed.blocks, streamed.stop) == (whole.blocks, StopReason.TOOL_USE)


def test_custom_tools_and_the_deprecated_function_call() -> None:
    first = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x "}}
    more = {"index": 0, "type": "custom", "custom": {"input": "= 1"}}
    answer = answer_of(calls(first), calls(more), chunk(finish="tool_calls"), DONE)
    assert answer.blocks == [ToolUse("a", "f", "x = 1", custom=True)]
    answer = answer_of(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
        chunk(finish="function_call"),
        DONE,
    )
    assert answer.blocks == [ToolUse("call_0_0_chatcmpl-1", "f", "{}")]
    assert answer.stop is StopReason.TOOL_USE


def test_a_function_that_stands_for_a_free_text_tool_gives_its_text() -> None:
    asked = Conversation("m", [], tools=[Tool("sql", custom=True)])
    stream = (
        calls(call(0, id="a", name="sql", arguments='{"inp'), call(1, id="b", name="f", arguments="{}"))
        + calls(call(0, arguments='ut":"SELECT \\"a\\""}'))
        + chunk(finish="tool_calls")
        + DONE
    )
    function = {"name": "sql", "arguments": '{"input":"SELECT \\"a\\""}'}
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": function}]}
    whole = json.dumps({"id": "chatcmpl-1", "choices": [{"message": message}]}).encode()
    for data, others in ((stream, [ToolUse("b", "f", "{}")]), (whole, [])):
        reader = Reader(asked)
        events = [*reader.feed(data), *reader.end()]
        check_order(events)
        assert assemble(events).blocks == [ToolUse("a", "sql", 'SELECT "a"', custom=True), *others]


def test_reasoning_under_all_its_names_is_said_once() -> None:
    details = [{"type": "reasoning.text", "text": "Hm", "index": 0}]
    signature = [{"type": "reasoning.text", "text": "", "signature": "s", "format": "x", "index": 0}]
    answer = answer_of(
        chunk({"reasoning": "Hm", "reasoning_content": "Hm", "reasoning_details": details, "content": ""}),
        chunk({"reasoning": ".", "reasoning_content": None}),
        chunk({"reasoning_details": signature, "content": None}),
        chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}]}),
        chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Oh"}]}, {"text": "Hi"}]}),
        chunk({"content": "<think>"}),
        chunk(finish="stop"),
        DONE,
    )
    assert answer.blocks == [
        Thinking("Hm.", "chat:x:s"),
        RedactedThinking("chat::d"),
        Thinking("Oh"),
        Text("Hi<think>"),
    ]


def test_refusals_citations_audio_and_images() -> None:
    annotation = {"type": "url_citation", "url_citation": {"url": "https://x/", "title": "t"}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    answer = answer_of(
        chunk({"annotations": [annotation]}),
        chunk({"content": "a"}),
        chunk({"annotations": [annotation]}),
        chunk({"refusal": "no"}),
        chunk({"images": [image]}),
        chunk(finish="stop"),
        DONE,
    )
    text = answer.blocks[0]
    assert isinstance(text, Text)
    assert [citation["url"] for citation in text.citations] == ["https://x/"] * 2
    assert answer.blocks[1:] == [Refusal("no"), Opaque("chat", image)]
    assert answer.stop is StopReason.REFUSAL


def test_several_choices_finish_each_for_itself() -> None:
    events = read(
        chunk({"content": "a"}),
        chunk({"content": "b"}, index=1),
        chunk({"content": "A"}),
        chunk(finish="stop"),
        chunk({"content": "B"}, index=1),
        chunk(finish="length", index=1),
        DONE,
    )
    check_order(events)
    answer = assemble(events)
    assert answer.blocks == [Text("aA")]
    assert answer.alternatives == [Choice(1, [Text("bB")], StopReason.MAX_TOKENS)]


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([b""], "before an answer began"),
        ([DONE], "before an answer began"),
        ([b": ping\n\n"], "before an answer began"),
        ([b"\x1f\x8b\x08 gzip\n\n"], "before an answer began"),
        ([chunk({"content": "Hi"})], "before the answer was complete"),
        ([chunk({"content": "Hi"})[:-20]], "not valid JSON"),
        ([b"data: nonsense\n\n"], "not valid JSON"),
        ([b"data: 7\n\n"], "not an object"),
        ([calls(call(0, arguments="{}")), chunk(finish="tool_calls"), DONE], "without a name"),
        ([DEEP_CALL, chunk(finish="tool_calls"), DONE], "nested too deeply"),
        ([b'{"choices":'], "neither a stream nor valid JSON"),
        ([b'{"choices":[]}'], "no choices"),
    ],
)
def test_what_is_no_whole_answer_fails_and_says_why(pieces: list[bytes], error: str) -> None:
    events = read(*pieces)
    check_order(events)
    assert isinstance(events[-1], Failed)
    assert error in events[-1].error.message


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'data: {"error":{"message":"x","type":"server_error"}}\n\n', UpstreamError("server", "x")),
        (b'data: {"error":{"message":"x","code":429},"choices":[]}\n\n', UpstreamError("rate_limit", "x", 429, "429")),
        (b'event: error\ndata: {"message":"x"}\n\n', UpstreamError("server", "x")),
        (b'data: {"object":"error","message":"x","code":400}\n\n', UpstreamError("invalid_request", "x", 400, "400")),
        (
            b'data: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n',
            UpstreamError("overloaded", "x"),
        ),
        (b'{"error":{"message":"x","type":"rate_limit_error"}}', UpstreamError("rate_limit", "x")),
        (b'[{"error":{"message":"x","code":503}}]', UpstreamError("overloaded", "x", 503, "503")),
    ],
)
def test_an_error_in_the_stream_ends_it(data: bytes, error: UpstreamError) -> None:
    assert read(data) == [Failed(error)]
    if data.startswith((b"data", b"event")):
        events = read(chunk({"content": "Hi"}), data, chunk({"content": "more"}), DONE)
        check_order(events)
        assert events[-1] == Failed(error)


def test_a_line_of_more_than_a_megabyte_is_an_event_like_others() -> None:
    long = "x" * (3 << 19)
    assert answer_of(chunk({"content": long}), chunk(finish="stop"), DONE).blocks == [Text(long)]


def test_an_event_without_end_fails_instead_of_growing() -> None:
    reader = Reader(PLAIN)
    reader.feed(b"data: ")
    events: list[Event] = []
    for _ in range(40):
        events += reader.feed(b"x" * (1 << 19))
    events += reader.end()
    assert events == [Failed(UpstreamError("server", "The upstream sent an event that is too large."))]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["", "a", "stop", "[DONE]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["index", "id", "function", "name", "arguments", "custom", "type", "text", "data"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
KEYS = [
    *("content", "reasoning", "reasoning_details", "refusal", "tool_calls", "function_call", "audio", "images"),
    *("annotations", "role"),
]
deltas = st.one_of(json_values, st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4))
choices = st.one_of(
    json_values,
    st.lists(
        st.fixed_dictionaries({}, optional={"index": json_values, "delta": deltas, "finish_reason": json_values}),
        max_size=2,
    ),
)
chunks = st.fixed_dictionaries({}, optional={"id": json_values, "choices": choices, "usage": json_values})


@given(st.lists(st.one_of(chunks, json_values), max_size=5), st.booleans())
def test_whatever_a_server_sends_raises_nothing_and_keeps_the_order(values: list[Any], done: bool) -> None:
    data = b"".join(b"data: " + orjson.dumps(value) + b"\n\n" for value in values) + (DONE if done else b"")
    events = read(data)
    check_order(events)
    writer = Writer(ASKED, 1)
    text = b"".join(writer.write(event) for event in events)
    assert text.endswith(DONE)
    assert read(*[data[place : place + 1] for place in range(len(data))]) == events


# -- what clients get -----------------------------------------------------------------------------------------------


def write(*events: Event, conversation: Conversation = PLAIN) -> list[Any]:
    """The data of the client's events; the last one, [DONE], is checked here."""
    writer = Writer(conversation, 1)
    data = b"".join(writer.write(event) for event in events)
    assert data.endswith(DONE)
    assert data.count(DONE) == 1
    return [json.loads(event.removeprefix(b"data: ")) for event in data.split(b"\n\n")[:-2]]


def test_chunks_have_the_shape_of_openais() -> None:
    values = write(
        Started("id", "m", None, "default"),
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "Hi"),
        BlockStopped(0),
        Finished(StopReason.MAX_TOKENS),
        UsageKnown(Usage(9, 2, known=True)),
        Ended(),
        conversation=ASKED,
    )
    head = {"id": "id", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": "default"}

    def expected(delta: Any, finish: Any = None) -> Any:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**head, "choices": [choice], "usage": None}

    assert values[:3] == [
        expected({"role": "assistant", "content": "", "refusal": None}),
        expected({"content": "Hi"}),
        expected({}, "length"),
    ]
    assert values[3]["choices"] == []
    assert values[3]["usage"]["total_tokens"] == 11
    assert len(values) == 4


def test_usage_is_for_those_who_asked() -> None:
    events = events_of(Answer("i", "m", [Text("Hi")], StopReason.END, Usage(1, 2, known=True)))
    assert all("usage" not in value for value in write(*events))


def test_tools_are_counted_from_zero_and_may_interleave() -> None:
    values = write(
        Started("id", "m"),
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "a"),
        BlockStarted(1, BlockKind.TOOL_USE, id="a", name="f"),
        BlockStarted(2, BlockKind.TOOL_USE, id="b", name="g"),
        ArgumentsDelta(2, '{"y":2}'),
        ArgumentsDelta(1, '{"x":1}'),
        BlockStopped(0),
        BlockStopped(1),
        BlockStopped(2),
        Finished(StopReason.TOOL_USE),
        Ended(),
    )
    entries = [value["choices"][0]["delta"].get("tool_calls") for value in values[2:-1]]
    assert [(entry[0]["index"], entry[0]["function"]) for entry in entries] == [
        (0, {"name": "f", "arguments": ""}),
        (1, {"name": "g", "arguments": ""}),
        (1, {"arguments": '{"y":2}'}),
        (0, {"arguments": '{"x":1}'}),
    ]


def test_an_error_is_an_event_and_then_the_end() -> None:
    error = UpstreamError("overloaded", "Too busy", 529)
    writer = Writer(PLAIN, 1)
    begin = writer.write(Started("i", "m")) + writer.write(BlockStarted(0, BlockKind.TEXT))
    assert begin + writer.write(TextDelta(0, "Hi"))
    data = writer.write(Failed(error))
    event, done, rest = data.split(b"\n\n")
    assert json.loads(event.removeprefix(b"data: ")) == {
        "error": {"message": "Too busy", "type": "overloaded_error", "param": None, "code": None}
    }
    assert (done + b"\n\n", rest) == (DONE, b"")
    assert writer.write(TextDelta(0, "late")) == b""
    assert writer.write(Ended()) == b""


def test_a_reader_that_ends_early_leaves_a_whole_stream() -> None:
    values = write(Started("i", "m"), BlockStarted(0, BlockKind.TEXT), TextDelta(0, "Hi"), Ended())
    assert values[-1]["choices"][0]["finish_reason"] == "stop"
    assert write(Ended())[-1]["choices"][0]["finish_reason"] == "stop"


def test_clients_of_the_deprecated_functions_get_function_calls() -> None:
    answer = Answer("i", "m", [ToolUse("1", "f", '{"a":1}'), ToolUse("2", "g", "")], StopReason.TOOL_USE, Usage())
    values = write(*events_of(answer), conversation=Conversation("m", [], notes={"functions": True}))
    assert [value["choices"][0]["delta"].get("function_call") for value in values] == [
        None,
        {"name": "f", "arguments": ""},
        {"arguments": '{"a":1}'},
        None,
    ]
    assert values[-1]["choices"][0]["finish_reason"] == "function_call"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
citations = st.sampled_from(
    [
        {"type": "web_search_result_location", "url": "https://x/", "title": "t", "cited_text": "c"},
        {"type": "char_location", "cited_text": "c"},
    ]
)
blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, texts, citations=st.lists(citations, max_size=2)),
    st.builds(ToolUse, names, names, st.sampled_from(["", '{"a":1}']), signature=st.none() | texts),
    st.builds(Thinking, texts, signature=st.none() | texts, id=st.none() | texts, summary=st.booleans()),
    st.builds(RedactedThinking, texts),
    st.builds(Refusal, texts.filter(bool)),
)
answers = st.builds(
    Answer,
    texts,
    texts,
    st.lists(blocks, max_size=6),
    st.sampled_from(StopReason),
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9), known=st.just(True)),
    created=st.integers(0, 9),
    service_tier=st.sampled_from([None, "default", "standard"]),
    alternatives=st.lists(st.lists(blocks, max_size=3), max_size=2).map(
        lambda lists: [Choice(index, some, StopReason.END) for index, some in enumerate(lists, 1)]
    ),
)


def without_indexes(message: dict[str, Any]) -> dict[str, Any]:
    """What the SDK adds to the parts of a stream that it has put together."""
    for entry in message.get("tool_calls") or []:
        entry.pop("index", None)
    return {key: value for key, value in message.items() if value is not None}


@given(answers)
def test_what_the_sdk_assembles_from_a_stream_is_the_whole_answer(answer: Answer) -> None:
    whole = render_answer(answer, ASKED, 1)
    state = ChatCompletionStreamState()
    for value in write(*events_of(answer), conversation=ASKED):
        assert [error.message for error in CHUNK.iter_errors(value)] == []
        state.handle_chunk(ChatCompletionChunk.model_validate(value, strict=True))
    assembled = state.current_completion_snapshot.model_dump(exclude={"choices": {"__all__": {"logprobs"}}})
    assert len(assembled["choices"]) == len(whole["choices"])
    for got, expected in zip(assembled["choices"], whole["choices"], strict=True):
        assert got["finish_reason"] == expected["finish_reason"]
        for entry in got["message"].get("tool_calls") or []:
            entry.pop("parsed_arguments", None)
            (entry.get("function") or {}).pop("parsed_arguments", None)
        assert without_indexes(got["message"]) == without_indexes(expected["message"])
    assert (assembled["id"], assembled["model"], assembled["created"]) == (answer.id, answer.model, answer.created)
    assert assembled["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


@given(answers)
def test_a_stream_for_a_client_read_again_says_the_same(answer: Answer) -> None:
    writer = Writer(ASKED, 1)
    data = b"".join(writer.write(event) for event in events_of(answer))
    again = answer_of(data)
    joined = parse_answer(render_answer(answer, ASKED, 1))
    for kind in (Text, Refusal, ToolUse):
        got = [block for block in again.blocks if isinstance(block, kind)]
        expected = [block for block in joined.blocks if isinstance(block, kind)]
        if kind is ToolUse:
            assert got == expected
        else:
            assert "".join(block.text for block in got) == "".join(block.text for block in expected)
    assert again.usage == joined.usage


def test_a_call_without_a_name_fails_once_where_the_stream_just_ends() -> None:
    events = read(calls(call(id="call_1", arguments="{}"), finish="tool_calls"))
    assert [type(event).__name__ for event in events if isinstance(event, (Ended, Failed))] == ["Failed"]
