"""Server-sent events, as servers write them and as networks cut them."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.sse import SseEvent, SseParser, format_event


def parse(*pieces: bytes, limit_bytes: int = 1 << 24) -> list[SseEvent]:
    parser = SseParser(limit_bytes)
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.end()


def data_of(*pieces: bytes) -> list[bytes]:
    return [event.data for event in parse(*pieces)]


def test_an_event_has_the_name_and_the_data_its_lines_give_it() -> None:
    assert parse(b"event: ping\ndata: {}\n\n") == [SseEvent("ping", b"{}")]


def test_the_name_holds_for_one_event_only() -> None:
    assert parse(b"event: a\ndata: 1\n\ndata: 2\n\n") == [SseEvent("a", b"1"), SseEvent(None, b"2")]
    assert parse(b"event: a\n\ndata: 2\n\n") == [SseEvent(None, b"2")]
    assert parse(b"event: a\nevent\ndata: 2\n\n") == [SseEvent(None, b"2")]


def test_one_space_after_the_colon_is_no_data_and_need_not_be_there() -> None:
    assert data_of(b"data:1\n\ndata: 2\n\ndata:  3\n\n") == [b"1", b"2", b" 3"]


def test_several_data_lines_are_one_event() -> None:
    assert data_of(b"data: a\ndata: b\ndata\ndata: c\n\n") == [b"a\nb\n\nc"]


def test_an_empty_data_line_is_an_event_and_no_data_line_is_none() -> None:
    assert data_of(b"data\n\n\n\n: hello\n\nid: 7\nretry: 100\n\n") == [b""]


def test_comments_ids_retries_and_unknown_fields_are_ignored() -> None:
    assert data_of(b": ping\nid: 1\nretry: 5\ndatax: 1\nDATA: 2\ndata: 3\n\n") == [b"3"]


def test_lines_end_in_lf_crlf_or_cr_mixed_as_they_like() -> None:
    assert data_of(b"data: 1\r\n\r\ndata: 2\r\rdata: 3\n\r\ndata: 4\r\n\n") == [b"1", b"2", b"3", b"4"]


def test_other_separators_of_unicode_are_content() -> None:
    text = "data: a\x0b\x0c\x1c\x85\u2028b\n\n".encode()
    assert data_of(text) == [text[6:-2]]


def test_a_byte_order_mark_is_skipped_once_and_only_at_the_start() -> None:
    mark = b"\xef\xbb\xbf"
    assert data_of(mark + b"data: 1\n\n") == [b"1"]
    assert data_of(mark + mark + b"data: 1\n\n") == []
    assert data_of(b"data: 1\n\n" + mark + b"data: 2\n\n") == [b"1"]
    assert data_of(b"\xef\xbb", b"data: 1\n\n") == []
    assert data_of(b"\xef\xbb") == []


def test_the_last_event_needs_no_line_end() -> None:
    assert data_of(b"data: 1\n\ndata: 2\n") == [b"1", b"2"]
    assert data_of(b"data: 1\n\ndata: 2") == [b"1", b"2"]
    assert data_of(b"data: 1\n\nevent: x") == [b"1"]


STREAM = "\ufeffevent: ä\r\ndata: ü1\r\n\r\n: ping\r\rdata:2\ndata: 3\n\nid: 1\ndata: last".encode()


def test_every_byte_boundary_gives_the_same_events() -> None:
    whole = parse(STREAM)
    assert [event.data for event in whole] == ["ü1".encode(), b"2\n3", b"last"]
    for cut in range(len(STREAM) + 1):
        assert parse(STREAM[:cut], STREAM[cut:]) == whole, cut
    assert parse(*[STREAM[i : i + 1] for i in range(len(STREAM))]) == whole


@given(
    st.lists(
        st.sampled_from([b"\n", b"\r", b"\r\n", b"data", b":", b" ", b"event", b"x", b"\xef\xbb\xbf"]), max_size=40
    ),
    st.data(),
)
def test_any_cut_of_any_bytes_gives_the_same_events(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(*pieces) == parse(stream)


@given(st.text(), st.one_of(st.none(), st.from_regex(r"[a-z_.]{1,20}", fullmatch=True)))
def test_what_is_formatted_is_parsed_again(text: str, name: str | None) -> None:
    data = text.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n").rstrip(b"\n")
    assert parse(format_event(data, name)) == [SseEvent(name, data)]


def test_a_long_line_is_one_event() -> None:
    long = b"x" * (2 << 20)
    assert data_of(b"data: ", long[:100], long[100:], b"\n\n") == [long]


def test_an_oversized_event_is_reported_at_once_and_only_once_and_the_next_one_is_read() -> None:
    parser = SseParser(limit_bytes=100)
    assert parser.feed(b"event: big\ndata: " + b"x" * 60) == []
    assert parser.feed(b"x" * 60) == [SseEvent("big", b"", oversized=True)]
    assert parser.feed(b"x" * 1000) == []
    assert parser.feed(b"\ndata: more\n" + b"data: " + b"y" * 500) == []
    assert parser.feed(b"\n\ndata: next\n\n") == [SseEvent(None, b"next")]


def test_many_short_lines_of_one_event_are_bounded_too() -> None:
    events = parse(*[b"data: 1234567\n"] * 20, b"\ndata: next\n\n", limit_bytes=100)
    assert events == [SseEvent(None, b"", oversized=True), SseEvent(None, b"next")]


def test_a_whole_oversized_line_in_one_piece_is_reported_too() -> None:
    events = parse(b"data: " + b"x" * 200 + b"\n\ndata: next\n\n", limit_bytes=100)
    assert events == [SseEvent(None, b"", oversized=True), SseEvent(None, b"next")]


def test_a_stream_that_comes_byte_by_byte_takes_linear_time() -> None:
    def seconds(count: int) -> float:
        parser = SseParser()
        start = time.process_time()
        for _ in range(count):
            parser.feed(b"xxxxxxxx")
        parser.feed(b"\n")
        return time.process_time() - start

    small, large = seconds(20_000), seconds(200_000)
    assert large < small * 40 + 0.1
