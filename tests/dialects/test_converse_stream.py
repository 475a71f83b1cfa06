"""Bedrock's event stream, as transcripts: frames in, events out."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.assembly import Assembler
from plano.dialects.conversation import Conversation, StopReason, Tool, UpstreamError, Usage
from plano.dialects.converse.answer import parse_answer
from plano.dialects.converse.eventstream import encode_frame
from plano.dialects.converse.names import converse_tool_name
from plano.dialects.converse.stream import Reader
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
from tests.dialects.bedrock import event, exception, stream

START = ("messageStart", {"role": "assistant", "p": "abcdefgh"})
USAGE = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 9, "cacheReadInputTokens": 2}
METADATA = ("metadata", {"usage": USAGE, "metrics": {"latencyMs": 5}})
KNOWN = UsageKnown(Usage(input=5, output=4, cache_read=2, known=True))


def delta(index: int, value: Any) -> tuple[str, Any]:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": value, "p": "ab"}


def call(index: int, name: str, **more: Any) -> tuple[str, Any]:
    use = {"toolUseId": f"t{index}", "name": name, **more}
    return "contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": use}}


def stop(index: int) -> tuple[str, Any]:
    return "contentBlockStop", {"contentBlockIndex": index}


def message_stop(reason: str = "end_turn", **more: Any) -> tuple[str, Any]:
    return "messageStop", {"stopReason": reason, **more}


def read(*pieces: bytes, conversation: Conversation | None = None) -> list[Event]:
    reader = Reader(conversation or Conversation("m", []))
    events = [one for piece in pieces for one in reader.feed(piece)]
    events += reader.end()
    assert reader.feed(b"more") == []
    assert reader.end() == []
    return events


def told(*events: tuple[str, Any], conversation: Conversation | None = None) -> list[Event]:
    return read(stream(*events), conversation=conversation)


TEXT = (START, delta(0, {"text": "Hel"}), delta(0, {"text": "lo"}), stop(0), message_stop(), METADATA)
TEXT_EVENTS = [
    Started("", ""),
    BlockStarted(0, BlockKind.TEXT),
    TextDelta(0, "Hel"),
    TextDelta(0, "lo"),
    BlockStopped(0),
    Finished(StopReason.END),
    KNOWN,
    Ended(),
]


def test_text() -> None:
    assert told(*TEXT) == TEXT_EVENTS


def test_an_answer_ends_with_its_metadata_and_does_not_wait_for_the_connection() -> None:
    assert Reader(Conversation("m", [])).feed(stream(*TEXT))[-1] == Ended()


def test_every_cut_gives_the_same() -> None:
    data = stream(*TEXT)
    for cut in range(1, len(data)):
        assert read(data[:cut], data[cut:]) == TEXT_EVENTS, cut
    assert read(*(data[place : place + 1] for place in range(len(data)))) == TEXT_EVENTS


def test_thinking_text_and_two_calls() -> None:
    assert told(
        START,
        delta(0, {"reasoningContent": {"text": "Hm"}}),
        delta(0, {"reasoningContent": {"signature": "c2ln"}}),
        stop(0),
        delta(1, {"text": "Looking."}),
        stop(1),
        call(2, "f"),
        delta(2, {"toolUse": {"input": ""}}),
        delta(2, {"toolUse": {"input": '{"a":'}}),
        delta(2, {"toolUse": {"input": "1}"}}),
        stop(2),
        call(3, "g"),
        stop(3),
        message_stop("tool_use"),
        METADATA,
    ) == [
        Started("", ""),
        BlockStarted(0, BlockKind.THINKING),
        TextDelta(0, "Hm"),
        SignatureDelta(0, "c2ln"),
        BlockStopped(0),
        BlockStarted(1, BlockKind.TEXT),
        TextDelta(1, "Looking."),
        BlockStopped(1),
        BlockStarted(2, BlockKind.TOOL_USE, "t2", "f"),
        ArgumentsDelta(2, '{"a":'),
        ArgumentsDelta(2, "1}"),
        BlockStopped(2),
        BlockStarted(3, BlockKind.TOOL_USE, "t3", "g"),
        BlockStopped(3),
        Finished(StopReason.TOOL_USE),
        KNOWN,
        Ended(),
    ]


def test_interleaved_calls_are_numbered_in_the_order_in_which_they_open() -> None:
    events = told(
        START,
        call(1, "f"),
        call(0, "g"),
        delta(1, {"toolUse": {"input": "{}"}}),
        delta(0, {"toolUse": {"input": "[]"}}),
        stop(0),
        stop(1),
        message_stop("tool_use"),
    )
    assert events[1:7] == [
        BlockStarted(0, BlockKind.TOOL_USE, "t1", "f"),
        BlockStarted(1, BlockKind.TOOL_USE, "t0", "g"),
        ArgumentsDelta(0, "{}"),
        ArgumentsDelta(1, "[]"),
        BlockStopped(1),
        BlockStopped(0),
    ]


def test_redacted_thinking_comes_whole() -> None:
    parts = [base64.b64encode(part).decode() for part in (b"a", b"bc")]
    events = told(
        START,
        *(delta(0, {"reasoningContent": {"redactedContent": part}}) for part in parts),
        stop(0),
        delta(1, {"reasoningContent": {"redactedContent": "AQID"}}),
        message_stop(),
    )
    assert events[1:5] == [
        BlockStarted(0, BlockKind.REDACTED_THINKING, data=base64.b64encode(b"abc").decode()),
        BlockStopped(0),
        BlockStarted(1, BlockKind.REDACTED_THINKING, data="AQID"),
        BlockStopped(1),
    ]


def test_citations() -> None:
    citation = {"title": "T", "sourceContent": [{"text": "c"}], "location": {"documentPage": {"start": 1, "end": 2}}}
    events = told(START, delta(0, {"text": "a"}), delta(0, {"citation": citation}), stop(0), message_stop())
    assert events[3] == CitationDelta(
        0,
        {
            "type": "page_location",
            "cited_text": "c",
            "document_index": 0,
            "document_title": "T",
            "start_page_number": 1,
            "end_page_number": 2,
        },
    )


def test_names_and_free_text_tools_are_the_clients_again() -> None:
    conversation = Conversation("m", [], tools=[Tool("code.run", custom=True)])
    events = told(
        START,
        call(0, converse_tool_name("code.run")),
        delta(0, {"toolUse": {"input": '{"input":"pri'}}),
        delta(0, {"toolUse": {"input": 'nt(1)"}'}}),
        stop(0),
        message_stop("tool_use"),
        conversation=conversation,
    )
    assert events[1:4] == [
        BlockStarted(0, BlockKind.TOOL_USE, "t0", "code.run", custom=True),
        ArgumentsDelta(0, "print(1)"),
        BlockStopped(0),
    ]


def test_what_only_bedrock_knows_is_opaque_and_whole() -> None:
    result = {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "s", "status": "success"}}}
    image = {"contentBlockIndex": 2, "start": {"image": {"format": "png"}}}
    events = told(
        START,
        call(0, "nova_grounding", type="server_tool_use"),
        delta(0, {"toolUse": {"input": '{"q":"x"}'}}),
        stop(0),
        ("contentBlockStart", result),
        delta(1, {"toolResult": [{"text": "a"}]}),
        delta(1, {"toolResult": [{"json": {"b": 1}}]}),
        stop(1),
        ("contentBlockStart", image),
        delta(2, {"image": {"source": {"bytes": "AAAA"}}}),
        stop(2),
        message_stop(),
    )
    use = {"toolUseId": "t0", "name": "nova_grounding", "type": "server_tool_use", "input": {"q": "x"}}
    content = [{"text": "a"}, {"json": {"b": 1}}]
    assert [one.data for one in events if isinstance(one, BlockStarted)] == [
        {"toolUse": use},
        {"toolResult": {"toolUseId": "s", "status": "success", "content": content}},
        {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
    ]
    assert all(one.name == "converse" for one in events if isinstance(one, BlockStarted))


def test_a_stream_assembles_to_the_answer() -> None:
    events = told(
        START,
        delta(0, {"reasoningContent": {"text": "Hm"}}),
        delta(0, {"reasoningContent": {"signature": "s"}}),
        stop(0),
        delta(1, {"text": "a"}),
        stop(1),
        call(2, "f"),
        delta(2, {"toolUse": {"input": '{"a":1}'}}),
        stop(2),
        message_stop("stop_sequence", additionalModelResponseFields={"stop_sequence": "X"}),
        METADATA,
    )
    assembler = Assembler("converse")
    for one in events:
        assembler.add(one)
    content = [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}},
        {"text": "a"},
        {"toolUse": {"toolUseId": "t2", "name": "f", "input": {"a": 1}}},
    ]
    body = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "stop_sequence",
        "additionalModelResponseFields": {"stop_sequence": "X"},
        "usage": USAGE,
    }
    assert assembler.answer() == parse_answer(body, Conversation("m", []))


# -- what is not as the reference says --------------------------------------------------------------------------------


def test_unknown_events_and_deltas_are_ignored() -> None:
    extra = (
        ("newEvent", {"x": 1}),
        delta(0, {"newDelta": {}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {}}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"text": {}}}),
        delta(0, {"text": ""}),
    )
    assert told(START, *extra, *TEXT[1:]) == TEXT_EVENTS
    headless = encode_frame({}, b"not json")
    assert read(headless + stream(*TEXT)) == TEXT_EVENTS


def test_blocks_that_were_not_closed_and_a_start_that_did_not_come() -> None:
    assert told(TEXT[1], TEXT[2], TEXT[4], TEXT[5]) == TEXT_EVENTS


def test_usage_may_come_first_and_twice() -> None:
    assert told(START, METADATA, *TEXT[1:5]) == [TEXT_EVENTS[0], KNOWN, *TEXT_EVENTS[1:6], TEXT_EVENTS[7]]
    assert told(*TEXT, METADATA) == TEXT_EVENTS


def test_a_stream_without_metadata_is_whole_all_the_same() -> None:
    assert told(*TEXT[:5]) == [*TEXT_EVENTS[:6], Ended()]
    data = stream(*TEXT)
    assert read(data[: len(data) - 3]) == [*TEXT_EVENTS[:6], Ended()]


def test_what_comes_after_the_end_is_ignored() -> None:
    late = (delta(0, {"text": "late"}), call(1, "f"), message_stop("tool_use"))
    assert told(*TEXT[:5], *late, METADATA) == TEXT_EVENTS


def test_a_block_whose_kind_changes_becomes_two() -> None:
    events = told(
        START,
        delta(0, {"reasoningContent": {"text": "Hm"}}),
        delta(0, {"reasoningContent": {"redactedContent": "AQID"}}),
        delta(0, {"text": "a"}),
        message_stop(),
    )
    assert [one.kind for one in events if isinstance(one, BlockStarted)] == [
        BlockKind.THINKING,
        BlockKind.REDACTED_THINKING,
        BlockKind.TEXT,
    ]
    assert sum(isinstance(one, BlockStopped) for one in events) == 3


# -- failures ---------------------------------------------------------------------------------------------------------


def failure(events: list[Event]) -> UpstreamError:
    assert isinstance(events[-1], Failed)
    assert not any(isinstance(one, Ended) for one in events)
    return events[-1].error


@pytest.mark.parametrize("whole", [0, 1, 2, 3, 4])
def test_a_stream_that_is_cut_off_failed(whole: int) -> None:
    data = stream(*TEXT[:whole])
    assert failure(read(data)) == UpstreamError("server", "Bedrock closed the stream before the answer was whole.")
    assert failure(read(data + event(*TEXT[whole])[:-1])).kind == "server"


@pytest.mark.parametrize(
    ("name", "kind", "status"),
    [
        ("internalServerException", "server", 500),
        ("modelStreamErrorException", "server", 424),
        ("serviceUnavailableException", "overloaded", 503),
        ("throttlingException", "rate_limit", 429),
        ("validationException", "invalid_request", 400),
        ("somethingNewException", "server", 0),
    ],
)
def test_an_exception_in_mid_stream(name: str, kind: str, status: int) -> None:
    events = read(stream(*TEXT[:2]) + exception(name, {"message": "Sorry."}) + stream(*TEXT[2:]))
    assert events == [*TEXT_EVENTS[:3], Failed(UpstreamError(kind, "Sorry.", status, name))]


def test_exceptions_that_say_little_or_more() -> None:
    assert (
        failure(read(exception("throttlingException", {}))).message
        == "Bedrock ended the stream with throttlingException."
    )
    empty = encode_frame({":message-type": "exception"}, b"")
    assert failure(read(empty)) == UpstreamError("server", "Bedrock ended the stream with an exception.")
    detailed = {"originalMessage": "Too many", "originalStatusCode": 429}
    assert failure(read(exception("modelStreamErrorException", detailed))).kind == "rate_limit"


def test_an_error_that_is_not_modelled() -> None:
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "Oops"}
    error = failure(read(encode_frame(headers, b"")))
    assert (error.kind, error.message, error.code) == ("server", "Oops", "InternalFailure")


@pytest.mark.parametrize(
    "bad",
    [
        delta(0, "text"),
        delta(0, {"toolUse": {"input": "{}"}}),  # of a call that was not started
        delta(0, {"toolUse": {"input": {}}}),
        delta(0, {"reasoningContent": "text"}),
        ("contentBlockDelta", {"contentBlockIndex": "0", "delta": {}}),
        ("contentBlockDelta", []),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"name": "f"}}}),
        ("messageStop", {}),
        ("metadata", {"usage": [1]}),
    ],
)
def test_events_that_make_no_sense_end_the_stream(bad: tuple[str, Any]) -> None:
    error = failure(read(stream(START, bad)))
    assert error.kind == "server"
    assert error.message


@pytest.mark.parametrize("data", [b'{"message":"Forbidden"}', b"data: {}\n\n" * 3, b"\0" * 16])
def test_what_is_no_event_stream(data: bytes) -> None:
    assert "not an AWS event stream" in failure(read(data)).message


def test_damage_loses_nothing_that_came_before_it() -> None:
    data = bytearray(stream(*TEXT))
    data[len(stream(*TEXT[:2])) + 30] ^= 1
    events = read(bytes(data))
    assert events[:3] == TEXT_EVENTS[:3]
    assert "checksum" in failure(events).message


NAMES = ["text", "toolUse", "reasoningContent", "citation", "input", "signature", "redactedContent", "image"]
KEYS = [*NAMES, "start", "delta", "contentBlockIndex", "toolUseId", "name", "stopReason", "usage", "toolResult"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["", "a", "AQID", "{}", "end_turn"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
EVENTS = st.sampled_from(
    ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "x"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(EVENTS, ANYTHING), max_size=8))
def test_any_events_keep_the_contract(events: list[tuple[str, Any]]) -> None:
    check_contract(told(*events))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100), st.integers(0, 300))
def test_any_bytes_are_read_without_an_exception(garbage: bytes, place: int) -> None:
    data = stream(*TEXT)
    check_contract(read(data[:place] + garbage + data[place:]))


def check_contract(events: list[Event]) -> None:
    """Blocks open once and in order, deltas fall into open blocks, one end, nothing after it."""
    assert isinstance(events[-1], Ended | Failed)
    assert sum(isinstance(one, Ended | Failed) for one in events) == 1
    open_blocks: set[int] = set()
    count = 0
    for one in events:
        if isinstance(one, BlockStarted):
            assert one.index == count
            count += 1
            open_blocks.add(one.index)
        elif isinstance(one, BlockStopped):
            open_blocks.remove(one.index)
        elif isinstance(one, TextDelta | ArgumentsDelta | SignatureDelta | CitationDelta):
            assert one.index in open_blocks
        elif isinstance(one, Finished):
            assert not open_blocks


def test_a_frame_of_more_than_a_mebibyte() -> None:
    text = "x" * 1_500_000
    events = told(START, delta(0, {"text": text}), message_stop())
    assert events[2] == TextDelta(0, text)
