"""Streams of the responses dialect for clients: the order of events, their shapes, and what they add up to."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.assembly import events_of
from plano.dialects.conversation import (
    Answer,
    Block,
    Conversation,
    Opaque,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    Turn,
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
from plano.dialects.responses.answer import render_answer
from plano.dialects.responses.request import parse_request
from plano.dialects.responses.stream import Writer
from plano.dialects.sse import SseParser
from tests.demo import openapi as reference

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Conversation("m", [Turn("user", [Text("Hi")])], stream=True)
CLIENT = parse_request(
    {
        "model": "m",
        "input": "x",
        "stream": True,
        "instructions": "Be brief.",
        "tools": [
            {"type": "namespace", "name": "crm", "description": "", "tools": [{"type": "function", "name": "look"}]},
            {"type": "custom", "name": "sql"},
        ],
    }
)
START = Started("msg_7", "m-1", 9)


def parse(stream: bytes) -> list[dict[str, Any]]:
    """The events of a stream, checked: names, numbers, shapes."""
    parser = SseParser()
    frames = parser.feed(stream) + parser.end()
    events: list[dict[str, Any]] = [json.loads(frame.data) for frame in frames]
    assert [frame.event for frame in frames] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def check_shapes(events: list[dict[str, Any]]) -> None:
    for event in events:
        reference.check_any("ResponseStreamEvent", event)


def write(*events: Event, conversation: Conversation = PLAIN) -> list[dict[str, Any]]:
    writer = Writer(conversation, 5)
    written = parse(b"".join([writer.write(event) for event in events]))
    check_shapes(written)
    return written


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


# -- orders -----------------------------------------------------------------------------------------------------------


def test_text_then_two_tools() -> None:
    written = write(
        START,
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "Loo"),
        TextDelta(0, "king"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.TOOL_USE, id="c1", name="a"),
        ArgumentsDelta(1, "{}"),
        BlockStopped(1),
        BlockStarted(2, BlockKind.TOOL_USE, id="c2", name="b"),
        BlockStopped(2),
        Finished(StopReason.TOOL_USE),
        UsageKnown(Usage(1, 2, known=True)),
        Ended(),
    )
    assert kinds(written) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event["output_index"] for event in written[2:-1]] == [0] * 7 + [1] * 4 + [2] * 4
    assert written[8]["item"]["content"][0]["text"] == "Looking"
    assert written[-2]["item"]["arguments"] == "{}"
    response = written[-1]["response"]
    assert [item["type"] for item in response["output"]] == ["message", "function_call", "function_call"]
    assert response["usage"]["total_tokens"] == 3


def test_calls_that_interleave_are_open_at_once() -> None:
    written = write(
        START,
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "x"),
        BlockStarted(1, BlockKind.TOOL_USE, id="c1", name="a"),
        BlockStarted(2, BlockKind.TOOL_USE, id="c2", name="b"),
        ArgumentsDelta(1, '{"a"'),
        ArgumentsDelta(2, '{"b"'),
        TextDelta(0, "y"),
        ArgumentsDelta(1, ": 1}"),
        ArgumentsDelta(2, ": 2}"),
        BlockStopped(0),
        BlockStopped(1),
        BlockStopped(2),
        Finished(StopReason.TOOL_USE),
        Ended(),
    )
    deltas = [(event["output_index"], event["delta"]) for event in written if event["type"].endswith("delta")]
    assert deltas == [(0, "x"), (1, '{"a"'), (2, '{"b"'), (0, "y"), (1, ": 1}"), (2, ": 2}")]
    done = [event["item"] for event in written if event["type"] == "response.output_item.done"]
    assert done[0]["content"][0]["text"] == "xy"
    assert [item["arguments"] for item in done[1:]] == ['{"a": 1}', '{"b": 2}']
    assert written[-1]["response"]["output"] == done


def test_thinking_refusal_and_citations() -> None:
    cited = {"type": "web_search_result_location", "url": "https://a/b", "title": "T"}
    written = write(
        START,
        BlockStarted(0, BlockKind.THINKING, id="rs_a", summary=True),
        TextDelta(0, "s"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.THINKING, id="rs_a", summary=True),
        TextDelta(1, "t"),
        SignatureDelta(1, "responses:rs_a:gAAAAB"),
        BlockStopped(1),
        BlockStarted(2, BlockKind.THINKING),
        TextDelta(2, "raw"),
        SignatureDelta(2, "EqQ"),
        BlockStopped(2),
        BlockStarted(3, BlockKind.REDACTED_THINKING, data="EmwK"),
        BlockStopped(3),
        BlockStarted(4, BlockKind.TEXT),
        TextDelta(4, "abc"),
        CitationDelta(4, cited),
        BlockStopped(4),
        BlockStarted(5, BlockKind.REFUSAL),
        TextDelta(5, "No."),
        BlockStopped(5),
        Finished(StopReason.END),
        Ended(),
    )
    summary = ["reasoning_summary_part.added", "reasoning_summary_text.delta"]
    summary += ["reasoning_summary_text.done", "reasoning_summary_part.done"]
    raw = ["content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done"]
    text = ["content_part.added", "output_text.delta", "output_text.annotation.added"]
    text += ["output_text.done", "content_part.done"]
    refusal = ["content_part.added", "refusal.delta", "refusal.done", "content_part.done"]
    added, done = ["output_item.added"], ["output_item.done"]
    items = [summary + summary, raw, [], text + refusal]
    expected = [kind for item in items for kind in added + item + done]
    assert kinds(written) == ["created", "in_progress", *expected, "completed"]
    output = written[-1]["response"]["output"]
    assert [item["id"] for item in output] == ["rs_a", "rs_7_1", "rs_redacted_7_2", "msg_7_3"]
    assert [item.get("encrypted_content") for item in output] == ["gAAAAB", "EqQ", "EmwK", None]


def test_free_text_tools_and_signatures_of_calls() -> None:
    written = write(
        START,
        BlockStarted(0, BlockKind.TOOL_USE, id="c0", name="look"),
        ArgumentsDelta(0, "{}"),
        SignatureDelta(0, "gemini:x"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.TOOL_USE, id="c1", name="sql"),
        ArgumentsDelta(1, '{"inp'),
        ArgumentsDelta(1, 'ut": "SELECT 1"}'),
        BlockStopped(1),
        BlockStarted(2, BlockKind.TOOL_USE, id="c2", name="sql", custom=True),
        ArgumentsDelta(2, "SELECT"),
        ArgumentsDelta(2, " 2"),
        BlockStopped(2),
        Finished(StopReason.TOOL_USE),
        Ended(),
        conversation=CLIENT,
    )
    deltas = [event["delta"] for event in written if event["type"] == "response.custom_tool_call_input.delta"]
    assert deltas == ["SELECT 1", "SELECT", " 2"]
    output = written[-1]["response"]["output"]
    assert (output[0]["namespace"], output[0]["name"]) == ("crm", "look")
    assert (output[1]["id"], output[1]["encrypted_content"]) == ("rs_for_c0", "gemini:x")
    assert [item["input"] for item in output[2:]] == ["SELECT 1", "SELECT 2"]


@pytest.mark.parametrize(
    ("stop", "end", "status"),
    [
        (StopReason.END, "completed", "completed"),
        (StopReason.MAX_TOKENS, "incomplete", "incomplete"),
        (StopReason.FILTERED, "incomplete", "incomplete"),
    ],
)
def test_ends(stop: StopReason, end: str, status: str) -> None:
    events = [START, BlockStarted(0, BlockKind.TEXT), TextDelta(0, "x"), BlockStopped(0), Finished(stop), Ended()]
    written = write(*events)
    assert kinds(written)[-2:] == ["output_item.done", end]
    assert written[-2]["item"]["status"] == written[-1]["response"]["status"] == status


def test_a_failure_ends_the_stream_with_what_there_is() -> None:
    error = UpstreamError("rate_limit", "Slow down", 429)
    written = write(
        START,
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "Hel"),
        BlockStarted(1, BlockKind.TOOL_USE, id="c1", name="a"),
        ArgumentsDelta(1, '{"a'),
        Failed(error),
        TextDelta(0, "lo"),
        Ended(),
    )
    assert kinds(written)[-2:] == ["error", "failed"]
    assert (written[-2]["code"], written[-2]["message"]) == ("rate_limit", "Slow down")
    response = written[-1]["response"]
    assert response["status"] == "failed"
    assert response["error"] == {"code": "rate_limit_exceeded", "message": "Slow down"}
    assert [item["status"] for item in response["output"]] == ["incomplete", "incomplete"]
    assert response["output"][0]["content"][0]["text"] == "Hel"
    assert not any(event["type"] == "response.output_item.done" for event in written)


@pytest.mark.parametrize(
    "events",
    [
        [Ended()],
        [Failed(UpstreamError("server", "boom"))],
        [TextDelta(0, "x"), BlockStopped(3), Ended()],
        [BlockStarted(0, BlockKind.TEXT), TextDelta(0, "x"), Ended()],
        [START, START, BlockStarted(0, BlockKind.TOOL_USE), Finished(StopReason.END), Ended(), Ended()],
        [
            START,
            BlockStarted(0, BlockKind.TEXT, choice=1),
            TextDelta(0, "x"),
            Finished(StopReason.END, choice=1),
            Ended(),
        ],
        [START, BlockStarted(0, BlockKind.OPAQUE, name="messages", data={"type": "x"}), BlockStopped(0), Ended()],
        [START, BlockStarted(0, BlockKind.OPAQUE, data="x"), BlockStopped(0), Ended()],
    ],
)
def test_readers_that_break_the_contract_get_a_whole_stream(events: list[Event]) -> None:
    written = write(*events)
    assert kinds(written)[:2] == ["created", "in_progress"]
    assert kinds(written)[-1] in ("completed", "failed")
    if kinds(written)[-1] == "completed":
        opened = [event["output_index"] for event in written if event["type"] == "response.output_item.added"]
        closed = [event["output_index"] for event in written if event["type"] == "response.output_item.done"]
        assert opened == closed


# -- golden -----------------------------------------------------------------------------------------------------------

STREAMS = sorted(GOLDEN.glob("*/stream-for.responses*.txt"))


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_streams_are_what_the_reference_says(path: Path) -> None:
    events = parse(path.read_bytes())
    check_shapes(events)
    check_sdk(path.read_bytes(), events[-1]["response"])


def check_sdk(stream: bytes, final: dict[str, Any]) -> None:
    """What OpenAI's SDK makes of the stream is the response that the stream ends with."""
    # The SDK has changed the library it is built on once; its own client class knows which one it is.
    library = importlib.import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])
    answer = library.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = library.MockTransport(lambda request: answer)
    client = openai.OpenAI(
        api_key="x", base_url="http://plano/v1", http_client=openai.DefaultHttpxClient(transport=transport)
    )
    with client.responses.stream(model="m", input="x") as events:
        for _ in events:
            pass
        if final["status"] == "completed":
            response = events.get_final_response()
            assert response.id == final["id"]
            assert [item.type for item in response.output] == [item["type"] for item in final["output"]]
            parts = [part for item in final["output"] if item["type"] == "message" for part in item["content"]]
            assert response.output_text == "".join(part.get("text", "") for part in parts)


# -- properties -------------------------------------------------------------------------------------------------------

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_names = st.sampled_from(["look", "sql", "get"])
_blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, _texts),
    st.builds(
        lambda text, url: Text(text, citations=[{"type": "web_search_result_location", "url": url, "title": None}]),
        _texts,
        st.sampled_from(["https://a/b", "x"]),
    ),
    st.builds(Refusal, _texts),
    st.builds(
        Thinking,
        _texts,
        st.none() | st.sampled_from(["EqQ", "responses:rs_a:gAAAAB"]),
        st.none() | st.sampled_from(["rs_a", "rs_b", "x"]),
        st.booleans(),
    ),
    st.builds(RedactedThinking, _texts),
    st.builds(
        ToolUse,
        _texts,
        _names,
        _texts | st.sampled_from(['{"input": "x"}', "{}"]),
        st.booleans(),
        signature=st.none() | _texts,
    ),
    st.builds(
        Opaque, st.sampled_from(["responses", "messages", "responses.part"]), st.just({"type": "x", "id": "x_1"})
    ),
)
_answers = st.builds(
    Answer,
    st.sampled_from(["", "chatcmpl-7", "msg_7", "resp_7", "a b:c"]),
    st.sampled_from(["m-1", ""]),
    st.lists(_blocks, max_size=6),
    st.sampled_from(list(StopReason)),
    st.builds(Usage, st.integers(0, 9), st.integers(0, 9), known=st.booleans()),
    created=st.none() | st.just(9),
    service_tier=st.sampled_from([None, "default", "flex", "standard"]),
)


@settings(max_examples=150, deadline=None)
@given(_answers, st.sampled_from([PLAIN, CLIENT]))
def test_a_stream_ends_with_the_answer_that_it_would_have_been_in_one_piece(
    answer: Answer, conversation: Conversation
) -> None:
    writer = Writer(conversation, 5)
    events = parse(b"".join([writer.write(event) for event in events_of(answer)]))
    assert events[-1]["response"] == render_answer(answer, conversation, 5)
    by_index = {
        event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"
    }
    assert [by_index[index] for index in sorted(by_index)] == events[-1]["response"]["output"]
    for index, item in by_index.items():
        deltas = [
            event["delta"]
            for event in events
            if event.get("output_index") == index and event["type"].endswith(".delta")
        ]
        whole = [
            part.get("text", part.get("refusal", "")) for part in item.get("summary", []) + item.get("content", [])
        ]
        if item["type"] == "message":
            assert "".join(deltas) == "".join(whole)
        elif item["type"] in ("function_call", "custom_tool_call"):
            assert "".join(deltas) == item.get("arguments", item.get("input"))


@settings(max_examples=60, deadline=None)
@given(_answers)
def test_all_events_are_what_the_reference_says(answer: Answer) -> None:
    answer.blocks = [block for block in answer.blocks if not isinstance(block, Opaque)]
    writer = Writer(CLIENT, 5)
    check_shapes(parse(b"".join([writer.write(event) for event in events_of(answer)])))


_wild: st.SearchStrategy[Event] = st.one_of(
    st.builds(Started, _texts, _texts),
    st.builds(BlockStarted, st.integers(0, 3), st.sampled_from(list(BlockKind)), id=st.none() | _texts, name=_names),
    st.builds(TextDelta, st.integers(0, 3), _texts),
    st.builds(ArgumentsDelta, st.integers(0, 3), _texts),
    st.builds(SignatureDelta, st.integers(0, 3), _texts),
    st.builds(CitationDelta, st.integers(0, 3), st.dictionaries(_texts, _texts, max_size=2)),
    st.builds(BlockStopped, st.integers(0, 3)),
    st.builds(UsageKnown, st.builds(Usage, known=st.booleans())),
    st.builds(Finished, st.sampled_from(list(StopReason))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_wild, max_size=14), st.sampled_from([Ended(), Failed(UpstreamError("server", "boom"))]))
def test_no_order_of_events_breaks_the_stream(events: list[Event], end: Event) -> None:
    writer = Writer(CLIENT, 5)
    written = parse(b"".join([writer.write(event) for event in [*events, end]]))
    assert kinds(written)[0] == "created"
    assert kinds(written)[-1] in ("completed", "incomplete", "failed")
