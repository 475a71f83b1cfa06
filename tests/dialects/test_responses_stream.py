"""Streams of responses upstreams: all that servers of this dialect send, and what they leave out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.assembly import Assembler
from plano.dialects.conversation import (
    Answer,
    Conversation,
    Opaque,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
    Turn,
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
from plano.dialects.responses.answer import parse_answer
from plano.dialects.responses.stream import Reader
from tests.dialects.bodies import values

GOLDEN = Path(__file__).parent / "golden"
PLAIN = Conversation("m", [Turn("user", [Text("Hi")])], stream=True)
STARTED = ("response.created", {"response": {"id": "resp_1", "model": "m-1", "created_at": 7, "status": "in_progress"}})
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look"}
HELLO = {"type": "output_text", "text": "Hello", "annotations": []}


def sse(*events: tuple[str, dict[str, Any]]) -> bytes:
    lines = [f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n" for kind, data in events]
    return "".join(lines).encode()


def completed(*items: dict[str, Any], **fields: Any) -> tuple[str, dict[str, Any]]:
    response = {"id": "resp_1", "model": "m-1", "created_at": 7, "status": "completed", "output": list(items), **fields}
    return "response.completed", {"response": response}


def part(kind: str, text: str = "", index: int = 0, at: int = 0, item: str = "msg_1", **fields: Any) -> Any:
    """An event about a content part."""
    name = "delta" if kind.endswith("delta") else "text"
    data = {"item_id": item, "output_index": at, "content_index": index, name: text}
    return f"response.{kind}", {**data, **fields}


def added(item: dict[str, Any], at: int = 0) -> Any:
    return "response.output_item.added", {"output_index": at, "item": item}


def done(item: dict[str, Any], at: int = 0) -> Any:
    return "response.output_item.done", {"output_index": at, "item": item}


def arguments(kind: str, text: str, at: int = 0, item: str = "fc_1") -> Any:
    name = "delta" if kind == "delta" else "arguments"
    return f"response.function_call_arguments.{kind}", {"item_id": item, "output_index": at, name: text}


def read(*events: Any, conversation: Conversation = PLAIN) -> list[Event]:
    reader = Reader(conversation)
    return reader.feed(sse(*events)) + reader.end()


def assemble(events: list[Event]) -> Answer:
    check_contract(events)
    assembler = Assembler("responses")
    for event in events:
        assembler.add(event)
    return assembler.answer()


def check_contract(events: list[Event]) -> None:
    """The order that events.py promises."""
    opened: dict[int, bool] = {}
    started = finished = False
    for number, event in enumerate(events):
        last = number == len(events) - 1
        assert isinstance(event, Failed | Ended) == last, events
        if isinstance(event, Started):
            assert not started
            started = True
        elif isinstance(event, BlockStarted):
            assert started
            assert event.index == len(opened)
            opened[event.index] = True
        elif isinstance(event, TextDelta | ArgumentsDelta | SignatureDelta | CitationDelta):
            assert opened[event.index]
        elif isinstance(event, BlockStopped):
            assert opened[event.index]
            opened[event.index] = False
        elif isinstance(event, Finished):
            assert not any(opened.values())
            finished = True
    if isinstance(events[-1], Ended):
        assert started
        assert finished


# -- the API's own streams --------------------------------------------------------------------------------------------


def test_a_text() -> None:
    events = read(
        STARTED,
        ("response.in_progress", STARTED[1]),
        added({**MESSAGE, "status": "in_progress", "content": []}),
        part("content_part.added", part={"type": "output_text", "text": ""}),
        part("output_text.delta", "Hel"),
        part("output_text.delta", "lo"),
        part("output_text.done", "Hello"),
        part("content_part.done", part=HELLO),
        done({**MESSAGE, "content": [HELLO]}),
        completed({**MESSAGE, "content": [HELLO]}, usage={"input_tokens": 1, "output_tokens": 2}),
    )
    assert events == [
        Started("resp_1", "m-1", 7),
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "Hel"),
        TextDelta(0, "lo"),
        BlockStopped(0),
        Finished(StopReason.END),
        UsageKnown(Usage(1, 2, known=True)),
        Ended(),
    ]


def test_a_recorded_stream_keeps_the_contract() -> None:
    for path in sorted(GOLDEN.glob("*/stream.responses.txt")):
        reader = Reader(PLAIN)
        check_contract(reader.feed(path.read_bytes()) + reader.end())


def test_calls_that_interleave() -> None:
    events = read(
        STARTED,
        added({**CALL, "arguments": ""}, 0),
        added({**CALL, "id": "fc_2", "call_id": "c2", "arguments": ""}, 1),
        arguments("delta", '{"a"', 0),
        arguments("delta", '{"b"', 1, "fc_2"),
        arguments("delta", ": 1}", 0),
        arguments("delta", ": 2}", 1, "fc_2"),
        arguments("done", '{"b": 2}', 1, "fc_2"),
        done({**CALL, "id": "fc_2", "call_id": "c2", "arguments": '{"b": 2}'}, 1),
        arguments("done", '{"a": 1}', 0),
        done({**CALL, "arguments": '{"a": 1}'}, 0),
        completed(),
    )
    answer = assemble(events)
    assert answer.blocks == [ToolUse("c1", "look", '{"a": 1}'), ToolUse("c2", "look", '{"b": 2}')]
    assert answer.stop is StopReason.TOOL_USE


def test_the_signature_of_a_thought_comes_before_it_stops() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    summary = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    events = read(
        STARTED,
        added({**item, "encrypted_content": "not yet"}),
        ("response.reasoning_summary_part.added", {"output_index": 0, "summary_index": 0, "part": {}}),
        ("response.reasoning_summary_text.delta", {"output_index": 0, "summary_index": 0, "delta": "a"}),
        ("response.reasoning_summary_text.done", {"output_index": 0, "summary_index": 0, "text": "a"}),
        ("response.reasoning_summary_part.done", {"output_index": 0, "summary_index": 0, "part": summary[0]}),
        ("response.reasoning_summary_part.added", {"output_index": 0, "summary_index": 1, "part": {}}),
        ("response.reasoning_summary_text.done", {"output_index": 0, "summary_index": 1, "text": "b"}),
        done({**item, "summary": summary, "encrypted_content": "gAAAAB"}),
        completed(),
    )
    thought = BlockStarted(0, BlockKind.THINKING, id="rs_1", summary=True)
    assert events[1:8] == [
        thought,
        TextDelta(0, "a"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.THINKING, id="rs_1", summary=True),
        TextDelta(1, "b"),
        SignatureDelta(1, "responses:rs_1:gAAAAB"),
        BlockStopped(1),
    ]


def test_a_thought_without_words_has_its_signature() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAB"}
    answer = assemble(read(STARTED, added({**item, "encrypted_content": None}), done(item), completed(item)))
    assert answer.blocks == [Thinking("", "responses:rs_1:gAAAAB", "rs_1")]
    assert assemble(read(STARTED, done({**item, "encrypted_content": ""}), completed())).blocks == []


def test_annotations_are_told_once() -> None:
    note = {"type": "url_citation", "url": "https://a/b", "title": "T", "start_index": 0, "end_index": 3}
    other = {**note, "url": "https://a/c"}
    cited = {**HELLO, "annotations": [note, other]}
    answer = assemble(
        read(
            STARTED,
            added(MESSAGE),
            part("output_text.delta", "Hello"),
            part("output_text.annotation.added", annotation_index=0, annotation=note),
            part("content_part.done", part=cited),
            done({**MESSAGE, "content": [cited]}),
            completed({**MESSAGE, "content": [cited]}),
        )
    )
    (text,) = answer.blocks
    assert isinstance(text, Text)
    assert [citation["url"] for citation in text.citations] == ["https://a/b", "https://a/c"]


def test_refusals_and_parts_nobody_knows() -> None:
    refusal = {"type": "refusal", "refusal": "No."}
    strange = {"type": "output_smell", "smell": "rose"}
    answer = assemble(
        read(
            STARTED,
            added(MESSAGE),
            part("content_part.added", part={"type": "refusal", "refusal": ""}),
            part("refusal.delta", "N"),
            part("refusal.done", refusal="No."),
            part("content_part.done", part=refusal),
            part("content_part.added", index=1, part=strange),
            part("content_part.done", index=1, part=strange),
            done({**MESSAGE, "content": [refusal, strange]}),
            completed(),
        )
    )
    assert answer.blocks[0] == Refusal("No.")
    assert isinstance(answer.blocks[1], Opaque)
    assert answer.stop is StopReason.REFUSAL


def test_items_nobody_knows_pass_whole_and_their_events_are_ignored() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    events = read(
        STARTED,
        added({**search, "status": "in_progress"}),
        ("response.web_search_call.searching", {"output_index": 0, "item_id": "ws_1"}),
        ("response.from_the_future", {"x": 1}),
        ("keepalive", {"sequence_number": 3}),
        done(search),
        completed(search),
    )
    assert events[1:3] == [BlockStarted(0, BlockKind.OPAQUE, name="responses", data=search), BlockStopped(0)]


def test_custom_tool_calls() -> None:
    item = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c1", "name": "sql", "input": ""}
    answer = assemble(
        read(
            STARTED,
            added(item),
            ("response.custom_tool_call_input.delta", {"output_index": 0, "item_id": "ctc_1", "delta": "SELECT"}),
            ("response.custom_tool_call_input.done", {"output_index": 0, "item_id": "ctc_1", "input": "SELECT 1"}),
            done({**item, "input": "SELECT 1"}),
            completed(),
        )
    )
    assert answer.blocks == [ToolUse("c1", "sql", "SELECT 1", custom=True)]


# -- servers that leave things out ------------------------------------------------------------------------------------

SAID = [Text("Hello"), ToolUse("c1", "look", '{"a": 1}')]
FINAL_MESSAGE = {**MESSAGE, "content": [HELLO]}
FINAL_CALL = {**CALL, "arguments": '{"a": 1}'}


@pytest.mark.parametrize(
    "events",
    [
        # only what is done
        [
            STARTED,
            part("output_text.done", "Hello"),
            arguments("done", '{"a": 1}', 1),
            done(FINAL_CALL, 1),
            completed(),
        ],
        [STARTED, added(MESSAGE), done(FINAL_MESSAGE), added(CALL, 1), done(FINAL_CALL, 1), completed()],
        [STARTED, done(FINAL_MESSAGE), done(FINAL_CALL, 1), completed(FINAL_MESSAGE, FINAL_CALL)],
        # only the end
        [completed(FINAL_MESSAGE, FINAL_CALL)],
        # deltas, and nothing that says they are all
        [
            STARTED,
            part("output_text.delta", "Hel"),
            part("output_text.delta", "lo"),
            added(CALL, 1),
            arguments("delta", '{"a"', 1),
            arguments("delta", ": 1}", 1),
            completed(),
        ],
        # some deltas, the rest with what is done
        [
            STARTED,
            part("output_text.delta", "He"),
            part("content_part.done", part=HELLO),
            added(CALL, 1),
            arguments("delta", '{"a"', 1),
            done(FINAL_CALL, 1),
            completed(FINAL_MESSAGE, FINAL_CALL),
        ],
        # the arguments with the announcement, and again with the end
        [STARTED, done(FINAL_MESSAGE), added(FINAL_CALL, 1), done(FINAL_CALL, 1), completed()],
        # a call that is not announced
        [STARTED, done(FINAL_MESSAGE), arguments("delta", '{"a": 1}', 1), done(FINAL_CALL, 1), completed()],
        # no numbers: by id, or in order
        [
            STARTED,
            ("response.output_item.added", {"item": MESSAGE}),
            ("response.output_text.delta", {"item_id": "msg_1", "delta": "Hello"}),
            ("response.output_item.done", {"item": FINAL_MESSAGE}),
            ("response.output_item.added", {"item": CALL}),
            ("response.function_call_arguments.delta", {"item_id": "fc_1", "delta": '{"a": 1}'}),
            ("response.output_item.done", {"item": FINAL_CALL}),
            completed(FINAL_MESSAGE, FINAL_CALL),
        ],
        # numbers with gaps, ids that change in the end
        [
            STARTED,
            done(FINAL_MESSAGE, 0),
            done(FINAL_CALL, 2),
            completed(FINAL_MESSAGE, FINAL_CALL),
        ],
        [
            STARTED,
            done({**FINAL_MESSAGE, "id": "msg_9"}, 0),
            done(FINAL_CALL, 1),
            completed(FINAL_MESSAGE, {**FINAL_CALL, "id": "fc_9"}),
        ],
    ],
)
def test_whatever_is_left_out_or_told_twice_counts_once(events: list[Any]) -> None:
    answer = assemble(read(*events))
    assert answer.blocks == SAID
    assert answer.stop is StopReason.TOOL_USE


def test_a_server_that_says_nothing_of_itself() -> None:
    events = read(("response.output_text.delta", {"delta": "x"}), ("response.completed", {}))
    assert assemble(events).blocks == [Text("x")]
    assert events[0] == Started("", "m")


def test_an_upstream_that_does_not_stream() -> None:
    body = {"id": "resp_1", "object": "response", "model": "m-1", "status": "completed", "error": None}
    reader = Reader(PLAIN)
    events = reader.feed(json.dumps({**body, "output": [FINAL_MESSAGE]}, indent=2).encode()) + reader.end()
    assert assemble(events).blocks == [Text("Hello")]


# -- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        ({"incomplete_details": {"reason": "max_output_tokens"}}, StopReason.MAX_TOKENS),
        ({"incomplete_details": {"reason": "content_filter"}}, StopReason.FILTERED),
        ({}, StopReason.OTHER),
    ],
)
def test_incomplete(fields: dict[str, Any], stop: StopReason) -> None:
    end = ("response.incomplete", {"response": {"status": "in_progress", "output": [], **fields}})
    events = read(STARTED, part("output_text.delta", "x"), end)
    assert events[-2:] == [Finished(stop), Ended()]


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        (
            ("response.failed", {"response": {"error": {"code": "rate_limit_exceeded", "message": "slow"}}}),
            "rate_limit",
            "slow",
        ),
        (("response.completed", {"response": {"status": "failed", "error": {"message": "x"}}}), "server", "x"),
        (("response.failed", {}), "server", "The upstream reported an error."),
        (("error", {"code": "server_error", "message": "boom", "param": None}), "server", "boom"),
        (("error", {"error": {"type": "invalid_request_error", "message": "bad"}}), "invalid_request", "bad"),
    ],
)
def test_errors_in_the_stream(event: Any, kind: str, message: str) -> None:
    events = read(STARTED, part("output_text.delta", "x"), event, completed())
    assert isinstance(events[-1], Failed)
    assert (events[-1].error.kind, events[-1].error.message) == (kind, message)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b": ping\n\n",
        b"data: [DONE]\n\n",
        sse(STARTED),
        sse(STARTED, part("output_text.delta", "x")),
        sse(STARTED) + b"data: {]\n\n",
        b'{"error": {"message": "no stream for you", "type": "server_error"}}',
        b"<html>Bad gateway</html>",
        b'data: {"error": {"message": "x"}}\n\n',
    ],
)
def test_a_stream_that_is_not_whole_has_failed(data: bytes) -> None:
    reader = Reader(PLAIN)
    events = reader.feed(data) + reader.end()
    assert isinstance(events[-1], Failed)
    assert events[-1].error.kind == "server"
    assert reader.feed(sse(completed())) == reader.end() == []


def test_nothing_is_said_after_the_end() -> None:
    reader = Reader(PLAIN)
    assert isinstance(reader.feed(sse(STARTED, completed()))[-1], Ended)
    assert reader.feed(sse(part("output_text.delta", "x"), completed())) == reader.end() == []


def test_a_line_of_more_than_a_mebibyte() -> None:
    text = "x" * (3 << 20)
    assert assemble(read(STARTED, part("output_text.delta", text), completed())).blocks == [Text(text)]


# -- frames -----------------------------------------------------------------------------------------------------------

RECORDED = (GOLDEN / "tools" / "stream.responses.txt").read_bytes()


@pytest.mark.parametrize(
    "data",
    [
        RECORDED.replace(b"\n", b"\r\n"),
        RECORDED.replace(b"\n", b"\r"),
        RECORDED.replace(b"data: ", b"data:"),
        RECORDED.replace(b"event: ", b": ping\n\nid: 7\nretry: 10\nevent: "),
        b"\xef\xbb\xbf" + RECORDED,
        RECORDED.rstrip(b"\n"),
        RECORDED + b"data: [DONE]\n\n",
        b"".join(line for line in RECORDED.splitlines(keepends=True) if not line.startswith(b"event:")),
        b"\n".join(line.replace(b'"type":"response.', b'"kind":"', 1) for line in RECORDED.split(b"\n")),
    ],
)
def test_frames_of_all_kinds_give_the_same_answer(data: bytes) -> None:
    reader = Reader(PLAIN)
    answer = parse_answer(json.loads((GOLDEN / "tools" / "answer.responses.json").read_text()))
    assert assemble(reader.feed(data) + reader.end()).blocks == answer.blocks


_kinds = st.sampled_from(
    [
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.output_text.annotation.added",
        "response.refusal.delta",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.done",
        "response.completed",
        "response.failed",
        "error",
    ]
)
_parts = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["output_text", "refusal", "reasoning_text", "x"]) | values,
        "text": st.text(max_size=3) | values,
        "refusal": values,
        "annotations": values,
    },
)
_items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "function_call", "custom_tool_call", "reasoning", "x"]) | values,
        "id": st.sampled_from(["a", "b"]) | values,
        "name": st.text(max_size=3) | values,
        "call_id": st.text(max_size=3) | values,
        "arguments": st.text(max_size=3) | values,
        "input": values,
        "content": st.lists(_parts, max_size=2) | values,
        "summary": st.lists(_parts, max_size=2) | values,
        "encrypted_content": st.text(max_size=3) | values,
    },
)
_datas = st.fixed_dictionaries(
    {},
    optional={
        "output_index": st.integers(0, 2) | values,
        "content_index": st.integers(0, 1) | values,
        "summary_index": st.integers(0, 1) | values,
        "item_id": st.sampled_from(["a", "b"]) | values,
        "delta": st.text(max_size=3) | values,
        "text": st.text(max_size=3) | values,
        "arguments": st.text(max_size=3) | values,
        "part": _parts | values,
        "item": _items | values,
        "annotation": values,
        "error": values,
        "response": st.fixed_dictionaries(
            {}, optional={"output": st.lists(_items, max_size=2) | values, "usage": values}
        )
        | values,
    },
)


@settings(max_examples=300)
@given(st.lists(st.tuples(_kinds, _datas), max_size=8), st.binary(max_size=8))
def test_no_stream_raises_and_all_keep_the_contract(events: list[Any], junk: bytes) -> None:
    check_contract(read(*events))
    check_contract(read(*events, completed()))
    reader = Reader(PLAIN)
    check_contract(reader.feed(junk) + reader.feed(sse(*events)) + reader.end())
