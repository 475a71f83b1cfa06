"""Event streams: whole events out of any pieces, and what they mean before content was relayed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.identity.chat import (
    DONE_EVENT,
    EVENT_ENDS,
    EventKind,
    ask_for_usage,
    classify_event,
    ends_with_error,
    is_done,
    is_error_body,
    is_finished,
    read_events,
    split_events,
    strip_usage_events,
)
from plano.dialects.identity.wire import CHAT, MESSAGES, RESPONSES, Wire
from tests.dialects.bodies import values

line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
texts = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12).map(str.encode)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream in one of the three line ends, and the data of its events."""
    end = draw(line_ends)
    events: list[bytes] = []
    lines: list[bytes] = []
    for _ in range(draw(st.integers(0, 5))):
        data = draw(st.lists(texts, max_size=3))
        fields = [
            b"data:" + draw(st.sampled_from([b" ", b""]) if line[:1] != b" " else st.just(b" ")) + line for line in data
        ]
        fields += draw(st.sampled_from([[], [b": keep-alive"], [b":"], [b"event: x"], [b"id: 7", b"retry: 10"]]))
        if fields:
            lines += [*fields, b""]
            events.append(b"\n".join(data))
    return b"".join(line + end for line in lines), events


@given(st.data(), streams())
def test_whole_events_come_out_of_any_pieces(data: st.DataObject, stream: tuple[bytes, list[bytes]]) -> None:
    body, events = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8), label="cuts"))
    partial, relayed = b"", []
    for start, stop in zip([0, *cuts], [*cuts, len(body)], strict=True):
        whole, partial = split_events(partial + body[start:stop])
        assert whole == b"" or whole.endswith(EVENT_ENDS)
        relayed.append(whole)
    assert b"".join(relayed) + partial == body
    assert not partial.strip(b"\r\n"), "everything ends with an empty line, so nothing stays behind"
    assert [event for whole in relayed for event in read_events(whole)] == events


@given(streams())
def test_split_at_every_byte(stream: tuple[bytes, list[bytes]]) -> None:
    body, events = stream
    partial, read = b"", []
    for place in range(len(body)):
        whole, partial = split_events(partial + body[place : place + 1])
        read += read_events(whole)
    assert read == events


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"", b""),
        (b"data: a", b""),
        (b"data: a\n", b""),
        (b"data: a\n\nda", b"data: a\n\n"),
        (b":\n\nda", b":\n\n"),
        (b"\n\nda", b"\n\n"),
        (b"data: a\r\n\r\nda", b"data: a\r\n\r\n"),
        (b"data: a\n\r\nda", b"data: a\n\r\n"),
        (b"data: a\r\rda", b"data: a\r\r"),
        (b"data: a\r\n\r", b""),
        (b"data: a\n\ndata: b\r\n\r\ndata", b"data: a\n\ndata: b\r\n\r\n"),
    ],
)
def test_an_event_is_whole_at_its_empty_line(data: bytes, whole: bytes) -> None:
    assert split_events(data) == (whole, data[len(whole) :])


def test_events_are_read_as_the_standard_says() -> None:
    body = b'\xef\xbb\xbf: hi\n\ndata: one\ndata:two\ndata:  three\n\nevent: x\nid: 1\n\ndata:{"a":1}\r\n\r\ndata: cut'
    assert list(read_events(body)) == [b"", b"one\ntwo\n three", b"", b'{"a":1}']


def chunk(**choice: object) -> bytes:
    return json.dumps({"choices": [choice]}).encode()


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b"", EventKind.NOTHING),
        (b"[DONE]", EventKind.DONE),
        (b" [DONE] ", EventKind.DONE),
        (b"{", EventKind.GARBAGE),
        (b"<html>", EventKind.GARBAGE),
        (b"[]", EventKind.GARBAGE),
        (b"7", EventKind.GARBAGE),
        (b'{"choices":[7]}', EventKind.GARBAGE),
        (b"{}", EventKind.NOTHING),
        (b'{"choices":null}', EventKind.NOTHING),
        (b'{"choices":[]}', EventKind.NOTHING),
        (b'{"choices":[],"usage":{"prompt_tokens":1}}', EventKind.NOTHING),
        (b'{"error":null,"choices":[]}', EventKind.NOTHING),
        (b'{"error":{"message":"no"}}', EventKind.ERROR),
        (b'{"error":"no"}', EventKind.ERROR),
        (b'{"id":"x","error":{"message":"no"},"choices":[]}', EventKind.ERROR),
        (chunk(delta={"role": "assistant"}), EventKind.NOTHING),
        (chunk(delta={"role": "assistant", "content": ""}), EventKind.NOTHING),
        (chunk(delta={"content": None, "tool_calls": []}), EventKind.NOTHING),
        (chunk(delta={}), EventKind.NOTHING),
        (chunk(delta=None), EventKind.NOTHING),
        (chunk(delta={"content": "Hi"}), EventKind.CONTENT),
        (chunk(delta={"content": " "}), EventKind.CONTENT),
        (chunk(delta={"reasoning_content": "hm"}), EventKind.CONTENT),
        (chunk(delta={"refusal": "no"}), EventKind.CONTENT),
        (chunk(delta={"tool_calls": [{"index": 0}]}), EventKind.CONTENT),
        (chunk(delta={}, finish_reason="stop"), EventKind.CONTENT),
        (chunk(finish_reason="content_filter"), EventKind.CONTENT),
        (b'{"choices":[{"delta":{}},{"delta":{"content":"b"}}]}', EventKind.CONTENT),
    ],
)
def test_what_an_event_says_about_the_attempt(event: bytes, kind: EventKind) -> None:
    assert classify_event(event) is kind


@given(st.binary(max_size=40))
def test_every_event_is_of_some_kind(event: bytes) -> None:
    assert classify_event(event) in EventKind


FIELDS = st.sampled_from(["type", "error", "choices", "delta", "content_block", "response", "finish_reason"])


@given(st.dictionaries(FIELDS, values | st.dictionaries(FIELDS, values, max_size=2), max_size=3))
@pytest.mark.parametrize("wire", [CHAT, MESSAGES, RESPONSES], ids=lambda wire: wire.name)
def test_every_event_of_every_dialect_is_of_some_kind(wire: Wire, event: dict[str, object]) -> None:
    assert wire.classify_event(json.dumps(event).encode()) in EventKind


@pytest.mark.parametrize("kind", [{}, [], ["response.created"], {"a": 1}, 7, None, True])
@pytest.mark.parametrize("wire", [MESSAGES, RESPONSES], ids=lambda wire: wire.name)
def test_a_type_that_is_no_text_says_nothing(wire: Wire, kind: object) -> None:
    assert wire.classify_event(json.dumps({"type": kind}).encode()) is EventKind.NOTHING


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":"x"}}', True),
        (b' \n{ "error" : "x" }', True),
        (b'{"error":null,"id":"x"}', False),
        (b'{"id":"x","choices":[]}', False),
        (b'{"type":"error","error":{"message":"x"}}', True),
        (b'{"type":"message","error":null}', False),
        (b'{"errors":{}}', False),
        (b"", False),
    ],
)
def test_an_error_body_is_told_by_its_beginning(body: bytes, error: bool) -> None:
    assert is_error_body(body) is error


QUOTING = b'data: {"choices":[{"delta":{"content":"it ends with data: [DONE]\\n\\ndata: [DONE]"}}]}\n\n'


@pytest.mark.parametrize(
    ("tail", "done"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\n\n", True),
        (b'data: {"x":1}\n\ndata: [DONE]\n\n', True),
        (b'data: {"x":1}\r\rdata: [DONE]\r\r', True),
        (b'data: {"x":1}\r\n\r\ndata: [DONE]', True),
        (QUOTING, False),
        (QUOTING + DONE_EVENT, True),
        (b"", False),
    ],
)
def test_the_end_mark_is_a_line_of_its_own(tail: bytes, done: bool) -> None:
    assert is_done(tail) is done


def test_a_finish_reason_quoted_in_a_text_is_text() -> None:
    assert is_finished(chunk(finish_reason="stop"))
    assert not is_finished(chunk(finish_reason=None))
    assert not is_finished(chunk(delta={"content": '{"finish_reason": "stop"}'}))


def test_an_error_at_the_end_is_told_from_one_before() -> None:
    error = b'data: {"error":{"message":"bad data: [1]\\ndata: x"}}\n\n'
    content = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    assert ends_with_error(error)
    assert ends_with_error(content + error + b"\n")
    assert not ends_with_error(error + content)
    assert not ends_with_error(b"")


def test_our_error_event_is_an_error_and_then_the_end() -> None:
    event = CHAT.break_stream(b'{"error":{"message":"gone"}}', b"", b"")
    assert [classify_event(data) for data in read_events(event)] == [EventKind.ERROR, EventKind.DONE]
    assert split_events(event) == (event, b"")
    assert is_done(event)


@pytest.mark.parametrize(("number", "following"), [("7", 8), ("9" * 15, 10**15), ("9" * 16, 0), ("9" * 9_000, 0)])
def test_our_error_event_goes_on_counting_where_that_makes_sense(number: str, following: int) -> None:
    tail = b'data: {"type":"response.output_text.delta","sequence_number":%b}\n\n' % number.encode()
    event = RESPONSES.break_stream(b'{"error":{"message":"gone","code":"c","param":null}}', b"", tail)
    assert json.loads(event.split(b"data: ")[1])["sequence_number"] == following


USAGE = b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
TEXT = b'data: {"id":"1","choices":[{"delta":{"content":"\\"usage\\" \\"choices\\":[]"}}],"usage":null}\n\n'


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        (USAGE, b""),
        (TEXT + USAGE + b"data: [DONE]\n\n", TEXT + b"data: [DONE]\n\n"),
        (USAGE.replace(b"\n", b"\r\n") + TEXT, TEXT),
        (TEXT, TEXT),
        (b": ping\n\n" + TEXT, b": ping\n\n" + TEXT),
        (TEXT.replace(b"null", b'{"prompt_tokens":1}'), TEXT.replace(b"null", b'{"prompt_tokens":1}')),
        (USAGE.replace(b'"usage"', b'"prompt_filter_results":[],"other"'), None),
        (b"data: {broken usage}\n\n", None),
    ],
)
def test_only_events_that_are_nothing_but_usage_are_stripped(events: bytes, kept: bytes | None) -> None:
    assert strip_usage_events(events) == (events if kept is None else kept)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"stream": True}, {"include_usage": True}),
        ({"stream": True, "stream_options": None}, {"include_usage": True}),
        ({"stream": True, "stream_options": {}}, {"include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": False, "x": 1}}, {"include_usage": True, "x": 1}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"include_usage": True}),
    ],
)
def test_a_stream_is_asked_for_its_usage(body: dict[str, object], options: dict[str, object]) -> None:
    asked = json.loads(ask_for_usage(json.dumps(body).encode(), body))
    assert asked == {**body, "stream_options": options}


def test_asking_for_usage_leaves_every_other_byte_as_it_was() -> None:
    data = b' { "stream" : true, "seed": 1e2 }'
    assert ask_for_usage(data, json.loads(data)) == (
        b' {"stream_options":{"include_usage":true}, "stream" : true, "seed": 1e2 }'
    )
