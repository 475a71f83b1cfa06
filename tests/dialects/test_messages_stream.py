"""The messages dialect: transcripts of streams read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic._models import construct_type
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.assembly import Assembler, events_of
from plano.dialects.conversation import (
    Answer,
    Block,
    Conversation,
    Opaque,
    RedactedThinking,
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
from plano.dialects.messages.answer import render_answer
from plano.dialects.messages.stream import Reader, Writer
from tests.dialects.bodies import values

ASKED = Conversation("alias", [], tools=[Tool("f"), Tool("patch", custom=True)])
CREATED = 1700000000

START = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}},
}
STOP = {"type": "message_stop"}
STARTED = [Started("msg_1", "m"), UsageKnown(Usage(3, 1, known=True))]


def end(reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


TEXT = [start(0, type="text", text=""), delta(0, "text_delta", text="Hi"), stop(0)]


def encode(*events: dict[str, Any]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events
    )


def read(data: bytes, conversation: Conversation = ASKED) -> list[Event]:
    reader = Reader(conversation)
    return reader.feed(data) + reader.end()


def told(*events: dict[str, Any]) -> list[Event]:
    """What the reader makes of the events between start and end of a message."""
    whole = read(encode(START, *events, end(), STOP))
    assert whole[:2] == STARTED
    assert whole[-3:] == [Finished(StopReason.END), UsageKnown(Usage(3, 1, known=True)), Ended()]
    return whole[2:-3]


# -- reading ----------------------------------------------------------------------------------------------------------


def test_text() -> None:
    assert told(*TEXT) == [BlockStarted(0, BlockKind.TEXT), TextDelta(0, "Hi"), BlockStopped(0)]


def test_a_call_whose_arguments_come_in_deltas_in_its_start_or_not_at_all() -> None:
    assert told(
        start(0, type="tool_use", id="a", name="f", input={}),
        delta(0, "input_json_delta", partial_json=""),
        delta(0, "input_json_delta", partial_json='{"x":'),
        delta(0, "input_json_delta", partial_json="1}"),
        stop(0),
        start(1, type="tool_use", id="b", name="f", input={"x": 2}),
        stop(1),
        start(2, type="tool_use", id="c", name="f"),
        stop(2),
    ) == [
        BlockStarted(0, BlockKind.TOOL_USE, id="a", name="f"),
        ArgumentsDelta(0, '{"x":'),
        ArgumentsDelta(0, "1}"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.TOOL_USE, id="b", name="f"),
        ArgumentsDelta(1, '{"x":2}'),
        BlockStopped(1),
        BlockStarted(2, BlockKind.TOOL_USE, id="c", name="f"),
        ArgumentsDelta(2, "{}"),
        BlockStopped(2),
    ]


def test_a_call_of_a_free_text_tool_is_unwrapped() -> None:
    assert told(
        start(0, type="tool_use", id="a", name="patch", input={}),
        delta(0, "input_json_delta", partial_json='{"input": "a'),
        delta(0, "input_json_delta", partial_json='\\nb"}'),
        stop(0),
    ) == [
        BlockStarted(0, BlockKind.TOOL_USE, id="a", name="patch", custom=True),
        ArgumentsDelta(0, "a\nb"),
        BlockStopped(0),
    ]


def test_thinking_with_its_signature_citations_and_blocks_of_the_server() -> None:
    citation = {"type": "char_location", "cited_text": "x"}
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    assert told(
        start(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="hm"),
        delta(0, "signature_delta", signature="EqQB"),
        stop(0),
        start(1, type="redacted_thinking", data="EmwK"),
        stop(1),
        start(2, type="server_tool_use", id="s", name="web_search", input={}),
        delta(2, "input_json_delta", partial_json='{"query":'),
        delta(2, "input_json_delta", partial_json='"x"}'),
        stop(2),
        start(3, **result),
        stop(3),
        start(4, type="text", text="So", citations=[citation]),
        delta(4, "citations_delta", citation=citation),
        stop(4),
    ) == [
        BlockStarted(0, BlockKind.THINKING),
        TextDelta(0, "hm"),
        SignatureDelta(0, "EqQB"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.REDACTED_THINKING, data="EmwK"),
        BlockStopped(1),
        BlockStarted(
            2,
            BlockKind.OPAQUE,
            name="messages",
            data={"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        ),
        BlockStopped(2),
        BlockStarted(3, BlockKind.OPAQUE, name="messages", data=result),
        BlockStopped(3),
        BlockStarted(4, BlockKind.TEXT),
        TextDelta(4, "So"),
        CitationDelta(4, citation),
        CitationDelta(4, citation),
        BlockStopped(4),
    ]


def test_unknown_events_deltas_and_types_are_ignored() -> None:
    assert told(
        {"type": "ping"},
        {"type": "new_event", "index": 0},
        start(0, type="text", text=""),
        delta(0, "new_delta", text="?"),
        delta(0, "text_delta", text=5),
        delta(0, "text_delta", text=None),
        delta(0, "input_json_delta", partial_json="{"),
        delta(0, "signature_delta", signature="E"),
        {"type": "content_block_delta", "index": 0},
        {"type": "content_block_start", "index": 1},
        delta(0, "text_delta", text="Hi"),
        stop(0),
        stop(7),
    ) == [BlockStarted(0, BlockKind.TEXT), TextDelta(0, "Hi"), BlockStopped(0)]


def test_what_an_imitation_leaves_out_is_made_up_for() -> None:
    # No start of the message, of the block, no stop of the block, a block on a place not yet stopped.
    assert read(
        encode(
            delta(0, "thinking_delta", thinking="hm"),
            start(0, type="text", text="a"),
            start(1, type="tool_use", id="1", name="f", input={}),
            {"type": "message_stop"},
        )
    ) == [
        Started("", "alias"),
        BlockStarted(0, BlockKind.THINKING),
        TextDelta(0, "hm"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.TEXT),
        TextDelta(1, "a"),
        BlockStarted(2, BlockKind.TOOL_USE, id="1", name="f"),
        BlockStopped(1),
        ArgumentsDelta(2, "{}"),
        BlockStopped(2),
        Finished(StopReason.TOOL_USE),
        Ended(),
    ]


def test_usage_is_cumulative_and_may_name_only_some_counts() -> None:
    first = {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1, "service_tier": "standard"}
    begin = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": first}}
    events = read(encode(begin, *TEXT, end(output_tokens=9), STOP))
    assert events[0] == Started("msg_1", "m", service_tier="default")
    assert [event.usage for event in events if isinstance(event, UsageKnown)] == [
        Usage(15, 1, cache_read=5, known=True),
        Usage(15, 9, cache_read=5, known=True),
    ]
    more = read(encode(begin, *TEXT, end(input_tokens=12, output_tokens=9, cache_creation_input_tokens=4), STOP))
    assert more[-2] == UsageKnown(Usage(21, 9, cache_read=5, cache_write=4, known=True))
    unknown = read(encode({"type": "message_start", "message": {}}, *TEXT, end(), STOP))
    assert not any(isinstance(event, UsageKnown) for event in unknown)


def test_stop_reason_sequence_and_refusal() -> None:
    last = end("stop_sequence")
    last["delta"]["stop_sequence"] = "END"
    assert Finished(StopReason.STOP_SEQUENCE, "END") in read(encode(START, last, STOP))
    refused = end("refusal")
    refused["delta"]["stop_details"] = {"type": "refusal", "category": None, "explanation": "Declined."}
    assert read(encode(START, refused, STOP))[2:6] == [
        BlockStarted(0, BlockKind.REFUSAL),
        TextDelta(0, "Declined."),
        BlockStopped(0),
        Finished(StopReason.REFUSAL),
    ]


def test_nothing_is_content_after_the_stop_reason_and_nothing_is_said_after_the_end() -> None:
    reader = Reader(ASKED)
    events = reader.feed(encode(START, *TEXT, end(), *TEXT, end("max_tokens", output_tokens=5), STOP, START, *TEXT))
    assert [type(event) for event in events[5:]] == [Finished, UsageKnown, UsageKnown, Ended]
    assert reader.feed(encode(*TEXT)) == []
    assert reader.end() == []


def test_an_answer_that_lacks_only_its_end_mark_is_whole_and_any_other_is_not() -> None:
    assert read(encode(START, *TEXT, end()))[-1] == Ended()
    assert read(encode(START, *TEXT, end()).rstrip(b"\n"))[-1] == Ended()
    for broken in (b"", encode(START), encode(START, *TEXT), encode(START, *TEXT)[:-20]):
        failed = read(broken)[-1]
        assert isinstance(failed, Failed)
        assert failed.error.kind == "server"


def test_an_error_ends_the_stream() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = read(encode(START, TEXT[0], error, *TEXT, STOP))
    assert events[3:] == [Failed(UpstreamError("overloaded", "Overloaded", 0, "overloaded_error"))]
    assert read(b'data: {"error": {"message": "no"}}\n\n') == [Failed(UpstreamError("server", "no"))]
    # An error that is no event stream at all.
    assert read(json.dumps(error, indent=1).encode()) == [
        Failed(UpstreamError("overloaded", "Overloaded", 0, "overloaded_error"))
    ]


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: 5\n\n", b"data: [1]\n\n", b"\x1f\x8b\x08\x00gzip", b"<html>"])
def test_what_is_no_event_stream_fails(data: bytes) -> None:
    events = read(data)
    assert [type(event) for event in events] == [Failed]


def test_an_event_that_is_too_large_fails() -> None:
    reader = Reader(ASKED)
    assert isinstance(reader.feed(b"data: " + b"x" * (17 << 20))[-1], Failed)


def test_a_long_line_is_read() -> None:
    text = "x" * (2 << 20)
    assert TextDelta(0, text) in told(TEXT[0], delta(0, "text_delta", text=text), stop(0))


STREAM = encode(
    START,
    {"type": "ping"},
    start(0, type="thinking", thinking=""),
    delta(0, "thinking_delta", thinking="hm é"),
    delta(0, "signature_delta", signature="EqQB"),
    stop(0),
    *[{**event, "index": 1} if "index" in event else event for event in TEXT],
    start(2, type="tool_use", id="a", name="f", input={}),
    delta(2, "input_json_delta", partial_json='{"x":"日本"}'),
    stop(2),
    end("tool_use", output_tokens=7),
    STOP,
)


@pytest.mark.parametrize(
    "data",
    [
        STREAM,
        STREAM.replace(b"\n", b"\r\n"),
        STREAM.replace(b"\n", b"\r"),
        STREAM.replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
        b"\xef\xbb\xbf" + STREAM,
        b": ping\n\n" + STREAM.replace(b"\n\n", b"\n\n: ping\n\nid: 1\nretry: 5\n\n"),
        STREAM.replace(b'"type": "content_block_delta"', b'"type":\ndata: "content_block_delta"'),
        b"".join(line + b"\n" for line in STREAM.split(b"\n") if not line.startswith(b"event:")),
        STREAM + STREAM,
        STREAM + b"data: [DONE]\n\n",
        STREAM.removesuffix(b"\n\n"),
    ],
)
def test_every_spelling_and_every_cut_of_a_stream_says_the_same(data: bytes) -> None:
    expected = read(STREAM)
    assert isinstance(expected[-1], Ended)
    assert read(data) == expected
    for cut in range(1, len(data), 7):
        reader = Reader(ASKED)
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) + reader.end() == expected
    bytewise = Reader(ASKED)
    assert [event for byte in data for event in bytewise.feed(bytes([byte]))] + bytewise.end() == expected


# -- the contract of events, whatever comes ---------------------------------------------------------------------------


def check_contract(events: list[Event]) -> None:
    open_blocks: set[int] = set()
    count = 0
    finished = False
    for place, event in enumerate(events):
        assert isinstance(event, Started) == (place == 0) or isinstance(event, Failed)
        assert isinstance(event, Ended | Failed) == (place == len(events) - 1)
        if isinstance(event, BlockStarted):
            assert event.index == count
            assert not finished
            count += 1
            open_blocks.add(event.index)
        elif isinstance(event, BlockStopped):
            open_blocks.remove(event.index)
        elif isinstance(event, TextDelta | ArgumentsDelta | SignatureDelta | CitationDelta):
            assert event.index in open_blocks
        elif isinstance(event, Finished):
            assert not open_blocks
            assert not finished
            finished = True
        elif isinstance(event, Ended):
            assert finished


_indexes = st.integers(0, 2)
_block_kinds = st.sampled_from(["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"])
_delta_kinds = st.sampled_from(
    ["text_delta", "thinking_delta", "input_json_delta", "signature_delta", "citations_delta"]
)
_wild_events = (
    st.builds(
        lambda index, kind, data: start(index, type=kind, id="1", name="f", data=data), _indexes, _block_kinds, values
    )
    | st.builds(
        lambda index, kind, data: delta(index, kind, text=data, thinking=data, partial_json=data, citation=data),
        _indexes,
        _delta_kinds,
        st.text(max_size=3) | values,
    )
    | st.builds(stop, _indexes)
    | st.just(START)
    | st.builds(
        lambda reason: {"type": "message_delta", "delta": {"stop_reason": reason}}, st.none() | st.just("tool_use")
    )
    | st.just(STOP)
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["message_start", "content_block_start", "content_block_delta", "message_delta"])},
        optional={"message": values, "index": values, "content_block": values, "delta": values, "usage": values},
    )
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_wild_events, max_size=12), st.integers(0, 200))
def test_no_order_of_events_breaks_the_contract_or_the_writer(events: list[dict[str, Any]], cut: int) -> None:
    data = encode(*events)
    data = data[: max(0, len(data) - cut)]
    said = read(data)
    check_contract(said)
    writer = Writer(ASKED, CREATED)
    check_order(b"".join(writer.write(event) for event in said))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1500))
def test_no_bytes_raise(junk: bytes, place: int) -> None:
    check_contract(read(junk))
    check_contract(read(STREAM[:place] + junk + STREAM[place:]))


# -- writing ----------------------------------------------------------------------------------------------------------


def write(*events: Event, conversation: Conversation = ASKED) -> bytes:
    writer = Writer(conversation, CREATED)
    return b"".join(writer.write(event) for event in events)


def parse(data: bytes) -> list[dict[str, Any]]:
    parsed = []
    for piece in data.decode().split("\n\n")[:-1]:
        name, _, body = piece.partition("\n")
        value: dict[str, Any] = json.loads(body.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        parsed.append(value)
    return parsed


def check_order(data: bytes) -> None:
    """G2: one message, one block at a time, numbered, one message_delta, one message_stop; or an error at any point."""
    state = "before"
    index = -1
    for event in parse(data):
        kind = event["type"]
        assert state not in ("stopped", "failed")
        if kind == "error":
            state = "failed"
        elif kind == "message_start":
            assert state == "before"
            state = "between"
        elif kind == "content_block_start":
            assert state == "between"
            index += 1
            assert event["index"] == index
            state = "inside"
        elif kind == "content_block_delta":
            assert (state, event["index"]) == ("inside", index)
        elif kind == "content_block_stop":
            assert (state, event["index"]) == ("inside", index)
            state = "between"
        elif kind == "message_delta":
            assert state == "between"
            assert event["delta"]["stop_reason"]
            assert event["usage"]["output_tokens"] >= 0
            state = "concluded"
        else:
            assert (kind, state) == ("message_stop", "concluded")
            state = "stopped"
    assert state in ("stopped", "failed")


def accumulate(data: bytes) -> Message:
    """The message as the official SDK puts it together."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for event in parse(data):
        typed: Any = construct_type(type_=RawMessageStreamEvent, value=event)
        message = accumulate_event(event=typed, current_snapshot=message, json_bufs=buffers)
    result: Message = message
    return result


def kinds(data: bytes) -> list[str]:
    return [
        f"{event['type'].removeprefix('content_block_')} {event['index']}" if "index" in event else event["type"]
        for event in parse(data)
    ]


HEAD: list[Event] = [Started("msg_1", "m")]
TAIL: list[Event] = [Finished(StopReason.TOOL_USE), UsageKnown(Usage(9, 4, cache_read=2, known=True)), Ended()]


def test_interleaved_calls_are_written_one_after_the_other() -> None:
    data = write(
        *HEAD,
        BlockStarted(0, BlockKind.TEXT),
        TextDelta(0, "a"),
        BlockStarted(1, BlockKind.TOOL_USE, id="1", name="f"),
        BlockStarted(2, BlockKind.TOOL_USE, id="2", name="g"),
        ArgumentsDelta(2, '{"y":'),
        ArgumentsDelta(1, '{"x":'),
        TextDelta(0, "b"),
        BlockStopped(2),
        BlockStopped(0),
        ArgumentsDelta(1, "1}"),
        ArgumentsDelta(2, "after its stop"),
        BlockStopped(1),
        *TAIL,
    )
    check_order(data)
    assert kinds(data) == [
        "message_start",
        *("start 0", "delta 0", "delta 0", "stop 0"),
        *("start 1", "delta 1", "delta 1", "stop 1"),
        *("start 2", "delta 2", "stop 2"),
        "message_delta",
        "message_stop",
    ]
    message = accumulate(data)
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert message.content[1].input == {"x": 1}  # type: ignore[union-attr]


def test_the_conclusion_waits_for_usage_or_the_end() -> None:
    writer = Writer(ASKED, CREATED)
    assert kinds(writer.write(Started("msg_1", "m"))) == ["message_start"]
    assert writer.write(UsageKnown(Usage(1, 1, known=True))) == b""
    assert writer.write(Finished(StopReason.MAX_TOKENS)) == b""
    concluded = parse(writer.write(UsageKnown(Usage(9, 4, cache_read=2, cache_write=3, known=True))))
    assert concluded == [
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": None, "stop_details": None},
            "usage": {
                "input_tokens": 4,
                "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 2,
                "output_tokens": 4,
            },
        }
    ]
    assert writer.write(UsageKnown(Usage(10, 10, known=True))) == b""
    assert kinds(writer.write(Ended())) == ["message_stop"]
    assert writer.write(Ended()) == b""
    assert writer.write(Failed(UpstreamError("server", "late"))) == b""
    assert kinds(write(*HEAD, Finished(StopReason.END), Ended())) == ["message_start", "message_delta", "message_stop"]


def test_an_error_ends_the_stream_at_any_point() -> None:
    error = Failed(UpstreamError("overloaded", "Overloaded", 529))
    expected = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert parse(write(error)) == [expected]
    data = write(*HEAD, BlockStarted(0, BlockKind.TEXT), BlockStarted(1, BlockKind.TEXT), error, *TAIL)
    assert parse(data)[-1] == expected
    assert kinds(data) == ["message_start", "start 0", "error"]


def test_a_reader_that_ends_early_leaves_a_proper_stream() -> None:
    for events in (
        [Ended()],
        [*HEAD, Ended()],
        [BlockStarted(0, BlockKind.TEXT), TextDelta(0, "a"), Ended()],
        [*HEAD, BlockStarted(0, BlockKind.TEXT), BlockStarted(1, BlockKind.TEXT), TextDelta(1, "a"), Ended()],
        [*HEAD, BlockStarted(0, BlockKind.TEXT), BlockStarted(1, BlockKind.TEXT), *TAIL],
    ):
        check_order(write(*events))


def test_other_choices_and_other_dialects_blocks_go_nowhere() -> None:
    data = write(
        *HEAD,
        BlockStarted(0, BlockKind.TEXT),
        BlockStarted(1, BlockKind.TEXT, choice=1),
        BlockStarted(2, BlockKind.OPAQUE, name="responses", data={"type": "web_search_call"}),
        TextDelta(1, "other"),
        TextDelta(0, "mine"),
        BlockStopped(1),
        BlockStopped(0),
        BlockStopped(2),
        BlockStarted(3, BlockKind.OPAQUE, name="messages", data={"type": "container_upload", "file_id": "x"}),
        BlockStopped(3),
        Finished(StopReason.MAX_TOKENS, choice=1),
        Finished(StopReason.END),
        Ended(),
    )
    check_order(data)
    assert b"other" not in data
    assert b"web_search_call" not in data
    assert [block.type for block in accumulate(data).content] == ["text", "container_upload"]
    assert accumulate(data).stop_reason == "end_turn"


def test_free_text_refusals_and_what_a_kind_does_not_have() -> None:
    data = write(
        *HEAD,
        BlockStarted(0, BlockKind.TOOL_USE, id="1", name="patch", custom=True),
        ArgumentsDelta(0, 'say "é'),
        ArgumentsDelta(0, '"\n'),
        SignatureDelta(0, "gemini:x"),
        TextDelta(0, "no"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.REFUSAL),
        TextDelta(1, "No."),
        ArgumentsDelta(1, "no"),
        BlockStopped(1),
        Finished(StopReason.END),
        Ended(),
    )
    check_order(data)
    message = accumulate(data)
    assert message.content[0].input == {"input": 'say "é"\n'}  # type: ignore[union-attr]
    assert message.content[1].text == "No."  # type: ignore[union-attr]
    assert message.stop_reason == "tool_use"


def test_texts_that_are_no_utf_8_are_escaped() -> None:
    data = write(Started("\ud800", "m"), BlockStarted(0, BlockKind.TEXT), TextDelta(0, "a\ud83d"), *TAIL)
    assert b'"a\\ud83d"' in data
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    opaque = BlockStarted(0, BlockKind.OPAQUE, name="messages", data={"type": "x", "y": deep})
    check_order(write(*HEAD, opaque, BlockStopped(0), *TAIL))
    check_order(write(Failed(UpstreamError("server", "\ud800"))))


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_blocks: st.SearchStrategy[Block] = (
    st.builds(Text, _texts)
    | st.builds(Text, _texts, citations=st.just([{"type": "char_location", "cited_text": "x", "document_index": 0}]))
    | st.builds(Thinking, _texts, st.none() | st.just("EqQB"))
    | st.builds(RedactedThinking, _texts)
    | st.builds(
        lambda value, name: ToolUse("id", name, json.dumps(value)), st.dictionaries(_texts, _texts), st.just("f")
    )
    | st.builds(lambda text: ToolUse("id", "patch", text, custom=True), _texts)
    | st.just(Opaque("messages", {"type": "container_upload", "file_id": "file_1"}))
)
_answers = st.builds(
    Answer,
    st.just("msg_1"),
    st.just("m"),
    st.lists(_blocks, max_size=5),
    st.sampled_from(list(StopReason)),
    st.builds(lambda i, o, c: Usage(i + c, o, cache_read=c, known=True), *[st.integers(0, 99)] * 3),
    stop_sequence=st.none() | _texts,
)


@settings(max_examples=120, deadline=None)
@given(_answers)
def test_the_sdk_assembles_from_a_stream_what_it_gets_in_one_piece(answer: Answer) -> None:
    data = write(*events_of(answer))
    check_order(data)
    whole = construct_type(type_=Message, value=render_answer(answer, ASKED, CREATED))
    assert accumulate(data).to_dict() == whole.to_dict()  # type: ignore[attr-defined]


@settings(max_examples=80, deadline=None)
@given(_answers)
def test_what_is_written_is_read_again(answer: Answer) -> None:
    assembler = Assembler("messages")
    for event in read(write(*events_of(answer))):
        assembler.add(event)
    again = assembler.answer()
    assert again.blocks == answer.blocks
    assert again.usage == answer.usage
