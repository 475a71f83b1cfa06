"""Streams of streamGenerateContent: transcripts of chunks in, events out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.assembly import Assembler
from plano.dialects.conversation import BadAnswer, Conversation, StopReason, Text, Tool, Turn, UpstreamError, Usage
from plano.dialects.custom_tools import restore
from plano.dialects.events import (
    ArgumentsDelta,
    BlockKind,
    BlockStarted,
    BlockStopped,
    Ended,
    Event,
    Failed,
    Finished,
    SignatureDelta,
    Started,
    TextDelta,
    UsageKnown,
)
from plano.dialects.gemini.answer import parse_answer
from plano.dialects.gemini.framing import ObjectSplitter
from plano.dialects.gemini.stream import Reader
from tests.dialects.test_gemini_answer import ANYTHING, FIELDS, FULL, make_body, replace

CONVERSATION = Conversation("alias", [Turn("user", [Text("Hi")])], tools=[Tool("sql", custom=True), Tool("f")])
CALL = {"functionCall": {"name": "f", "args": {"a": '}"\\{'}}, "thoughtSignature": "QUJD"}
CHUNKS = (
    make_body({"text": "Hm", "thought": True}, finish=None, usageMetadata={"promptTokenCount": 3}),
    make_body({"text": "Hello é你"}, finish=None),
    make_body({"text": ' "there"'}, CALL, finish=None),
    make_body(CALL, finish="STOP", usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 9}),
)


def as_events(chunks: Sequence[Any], end: str = "\r\n\r\n", prefix: str = "data: ") -> bytes:
    return "".join(f"{prefix}{json.dumps(chunk, ensure_ascii=False)}{end}" for chunk in chunks).encode()


def as_array(chunks: Sequence[Any], indent: int | None = 2) -> bytes:
    return json.dumps(chunks, indent=indent, ensure_ascii=False).encode()


def read(*pieces: bytes, conversation: Conversation = CONVERSATION) -> list[Event]:
    reader = Reader(conversation)
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.end()
    assert reader.feed(pieces[0] if pieces else b"") == []
    assert reader.end() == []
    return events


def failure(events: list[Event]) -> UpstreamError:
    last = events[-1]
    assert isinstance(last, Failed)
    assert not any(isinstance(event, Ended | Failed) for event in events[:-1])
    return last.error


def test_thoughts_text_and_calls_are_blocks_of_their_own() -> None:
    assert read(as_events(CHUNKS)) == [
        Started("r-1/x", "gemini-2.5-pro"),
        BlockStarted(0, BlockKind.THINKING, summary=True),
        TextDelta(0, "Hm"),
        UsageKnown(Usage(input=3, known=True)),
        BlockStopped(0),
        BlockStarted(1, BlockKind.TEXT),
        TextDelta(1, "Hello é你"),
        TextDelta(1, ' "there"'),
        BlockStopped(1),
        BlockStarted(2, BlockKind.TOOL_USE, "call_r-1x_0", "f"),
        ArgumentsDelta(2, '{"a":"}\\"\\\\{"}'),
        SignatureDelta(2, "gemini:QUJD"),
        BlockStopped(2),
        BlockStarted(3, BlockKind.TOOL_USE, "call_r-1x_1", "f"),
        ArgumentsDelta(3, '{"a":"}\\"\\\\{"}'),
        SignatureDelta(3, "gemini:QUJD"),
        BlockStopped(3),
        UsageKnown(Usage(input=3, output=9, known=True)),
        Finished(StopReason.TOOL_USE),
        UsageKnown(Usage(input=3, output=9, known=True)),
        Ended(),
    ]


@pytest.mark.parametrize(
    "data",
    [
        as_events(CHUNKS, "\n\n"),
        as_events(CHUNKS, "\r\r"),
        as_events(CHUNKS, prefix="data:"),
        as_events(CHUNKS, prefix=": ping\n\nevent: message\nid: 1\ndata: "),
        b"\xef\xbb\xbf" + as_events(CHUNKS),
        as_events(CHUNKS).rstrip(),
        as_events(CHUNKS) + b"data: [DONE]\n\n",
        as_array(CHUNKS),
        as_array(CHUNKS, indent=None),
        b" \r\n" + as_array(CHUNKS),
        as_array(CHUNKS).removesuffix(b"]"),
        b"\n".join(json.dumps(chunk).encode() for chunk in CHUNKS),
    ],
    ids=["lf", "cr", "no space", "comments", "bom", "no end", "done", "array", "dense", "space", "open", "lines"],
)
def test_every_form_of_the_stream_at_every_byte_boundary_gives_the_same_events(data: bytes) -> None:
    expected = read(as_events(CHUNKS))
    for cut in range(len(data) + 1):
        assert read(data[:cut], data[cut:]) == expected, cut
    assert read(*(data[place : place + 1] for place in range(len(data)))) == expected


@given(st.lists(st.integers(0, 2000), max_size=12), st.sampled_from([as_events(CHUNKS), as_array(CHUNKS)]))
def test_any_split_gives_the_same_events(cuts: list[int], data: bytes) -> None:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places)]
    assert read(*pieces) == read(data)


def test_a_finish_reason_in_every_chunk_does_not_end_the_stream() -> None:
    chunks = [make_body({"text": text}) for text in ("One", " two", " three")]
    assembler = Assembler("gemini")
    for event in read(as_events(chunks)):
        assembler.add(event)
    assert assembler.ended
    assert assembler.answer().blocks == [Text("One two three")]


@pytest.mark.parametrize(
    "data", [as_events(CHUNKS[:3]), as_array(CHUNKS[:3]), as_array(CHUNKS)[:-20], b"", b"\n\n", b"["]
)
def test_a_stream_that_ends_too_early_fails(data: bytes) -> None:
    assert failure(read(data)).kind == "server"


def test_a_candidate_that_never_finished_fails_the_stream() -> None:
    body = make_body({"text": "A"})
    body["candidates"].append({"content": {"parts": [{"text": "B"}]}, "index": 1})
    failure(read(as_events([body])))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda chunk: as_events([chunk]),
        lambda chunk: as_array([chunk]),
        lambda chunk: as_events([[chunk]]),
        lambda chunk: json.dumps(chunk).encode(),
    ],
)
def test_an_error_fails_the_stream_with_its_kind(wrap: Any) -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    assert read(wrap(error)) == [Failed(UpstreamError("overloaded", "The model is overloaded.", 503, "UNAVAILABLE"))]


def test_an_error_in_the_middle_ends_what_was_said() -> None:
    error = {"error": {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED"}}
    events = read(as_events([CHUNKS[1], error, CHUNKS[3]]))
    assert failure(events).kind == "rate_limit"
    assert TextDelta(0, "Hello é你") in events


@pytest.mark.parametrize(
    "data", [b"data: {\n\n", b"data: 1\n\n", b"data: x\n\n", b"<html></html>", b"{]}", b"\x00\xff"]
)
def test_nonsense_fails_the_stream(data: bytes) -> None:
    failure(read(data))


def test_a_huge_chunk_passes_and_an_endless_one_fails() -> None:
    text = "x" * (2 << 20)
    for data in (as_events([make_body({"text": text})]), as_array([make_body({"text": text})])):
        assert TextDelta(0, text) in read(*(data[at : at + 65536] for at in range(0, len(data), 65536)))
    splitter = ObjectSplitter(limit_bytes=1000)
    assert splitter.feed(b'{"a":"' + b"x" * 2000) == []
    assert splitter.oversized
    endless = [b'data: {"text":"'] + [b"x" * (1 << 20)] * 17
    assert failure(read(*endless)).kind == "server"
    assert failure(read(b"[{", *endless[1:])).kind == "server"


def test_a_blocked_prompt_is_a_refusal() -> None:
    events = read(as_events([{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}]))
    assert [type(event) for event in events] == [
        Started, BlockStarted, TextDelta, UsageKnown, BlockStopped, Finished, UsageKnown, Ended,
    ]  # fmt: skip
    assert Finished(StopReason.FILTERED) in events


def test_calls_of_free_text_tools_bring_their_text() -> None:
    call = {"functionCall": {"name": "sql", "args": {"input": "SELECT 1"}}}
    events = read(as_events([make_body(call)]))
    assert ArgumentsDelta(0, "SELECT 1") in events
    assert BlockStarted(0, BlockKind.TOOL_USE, "call_r-1x_0", "sql", custom=True) in events


def test_two_candidates_stream_side_by_side() -> None:
    def chunk(texts: tuple[str, str], finish: str | None) -> dict[str, Any]:
        body = make_body({"text": texts[0]}, finish=finish)
        body["candidates"] += [make_body({"text": texts[1]}, finish=finish)["candidates"][0] | {"index": 1}]
        return body

    assembler = Assembler("gemini")
    for event in read(as_events([chunk(("A", "B"), None), chunk(("a", "b"), "STOP")])):
        assembler.add(event)
    answer = assembler.answer()
    assert answer.blocks == [Text("Aa")]
    assert [(each.index, each.blocks, each.stop) for each in answer.alternatives] == [(1, [Text("Bb")], StopReason.END)]


PARTS = st.one_of(
    st.builds(lambda text: {"text": text}, st.text(max_size=4)),
    st.builds(lambda text: {"text": text, "thought": True}, st.text(max_size=4)),
    st.builds(lambda text: {"text": text, "thoughtSignature": "QUJD"}, st.text(max_size=4)),
    st.builds(lambda text: {"text": text, "thought": True, "thoughtSignature": "REVG"}, st.text(max_size=4)),
    st.builds(
        lambda name, text: {"functionCall": {"name": name, "args": {"input": text}}},
        st.sampled_from(["f", "sql"]),
        st.text(max_size=4),
    ),
    st.just(CALL),
    st.just({"executableCode": {"code": "1"}}),
    st.just({"thoughtSignature": "QUJD"}),
)


@given(st.lists(PARTS, min_size=1, max_size=8), st.data())
def test_a_stream_is_the_whole_answer(parts: list[dict[str, Any]], data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, len(parts)), max_size=4))
    places = [0, *sorted(sizes), len(parts)]
    chunks = [make_body(*parts[start:end], finish=None) for start, end in pairwise(places)]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    assembler = Assembler("gemini")
    for event in read(as_events(chunks)):
        assembler.add(event)
    whole = parse_answer(make_body(*parts))
    restore(whole, CONVERSATION)
    assert assembler.answer() == whole


@given(st.sampled_from(FIELDS), ANYTHING)
def test_whatever_a_chunk_holds_the_stream_ends_once_and_as_the_answer_would(
    path: tuple[str | int, ...], value: Any
) -> None:
    body = replace(FULL, path, value)
    events = read(as_events([body]))
    assert isinstance(events[-1], Ended | Failed)
    try:
        parse_answer(body if isinstance(body, dict) else {})
    except BadAnswer:
        failure(events)
