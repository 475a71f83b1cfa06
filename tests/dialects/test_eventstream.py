"""AWS event stream framing, against the published example, botocore's decoder, every cut and every damage."""

from __future__ import annotations

import struct
import zlib
from uuid import UUID

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.converse.eventstream import BadFrame, Frame, FrameDecoder, Timestamp, encode_frame

FRAME = bytes.fromhex(
    "000000760000005296d5fade0b3a6576656e742d7479706507000c6d65737361676553746172740d3a636f6e74656e742d747970650700"
    "106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d747970650700056576656e747b22726f6c65223a2261737369737461"
    "6e74227d6fa8c599"
)
HEADERS = {":event-type": "messageStart", ":content-type": "application/json", ":message-type": "event"}


def decode(*pieces: bytes) -> list[Frame]:
    decoder = FrameDecoder()
    frames = []
    for piece in pieces:
        decoder.add(piece)
        while (frame := decoder.take()) is not None:
            frames.append(frame)
    assert decoder.is_empty()
    return frames


def test_the_example_frame() -> None:
    assert decode(FRAME) == [Frame(dict(HEADERS), b'{"role":"assistant"}')]
    assert encode_frame(HEADERS, b'{"role":"assistant"}') == FRAME
    assert decode(FRAME)[0].text(":event-type") == "messageStart"
    assert decode(FRAME)[0].text(":absent") == ""


def test_every_cut_of_three_frames_gives_the_same() -> None:
    data = FRAME + encode_frame({}, b"") + encode_frame({"n": 1}, bytes(300))
    whole = decode(data)
    assert len(whole) == 3
    for cut in range(1, len(data)):
        assert decode(data[:cut], data[cut:]) == whole, cut
    assert decode(*(data[place : place + 1] for place in range(len(data)))) == whole


def raw_frame(headers: bytes, payload: bytes = b"") -> bytes:
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def test_every_type_of_header() -> None:
    identity = UUID("01234567-89ab-cdef-0123-456789abcdef")
    headers = (
        b"\x01a\x00" + b"\x01b\x01" + b"\x01c\x02\xfe" + b"\x01d\x03\xff\xfe" + b"\x01e\x04\xff\xff\xff\xfe"
        b"\x01f\x05\xff\xff\xff\xff\xff\xff\xff\xfe" + b"\x01g\x06\x00\x03abc" + b"\x01h\x07\x00\x03\xe2\x82\xac"
        b"\x01i\x08\x7f\xff\xff\xff\xff\xff\xff\xff" + b"\x01j\x09" + identity.bytes
    )
    (frame,) = decode(raw_frame(headers, b"x"))
    assert frame.headers == {
        "a": True,
        "b": False,
        "c": -2,
        "d": -2,
        "e": -2,
        "f": -2,
        "g": b"abc",
        "h": "€",
        "i": Timestamp(2**63 - 1),
        "j": identity,
    }
    assert frame.payload == b"x"


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=40),
    st.text(max_size=40),
    st.integers(-(2**63), 2**63 - 1).map(Timestamp),
    st.uuids(),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=20), VALUES, max_size=6), st.binary(max_size=200), st.data())
def test_frames_go_there_and_back_as_botocore_reads_them(
    headers: dict[str, bool | int | bytes | str | Timestamp | UUID], payload: bytes, data: st.DataObject
) -> None:
    encoded = encode_frame(headers, payload)
    cut = data.draw(st.integers(0, len(encoded)))
    assert decode(encoded[:cut], encoded[cut:]) == [Frame(headers, payload)]
    theirs = EventStreamBuffer()
    theirs.add_data(encoded)
    message = next(iter(theirs))
    assert message.payload == payload
    for name, value in headers.items():
        # botocore gives a UUID as its bytes and a timestamp as its number.
        plain = value.bytes if isinstance(value, UUID) else value
        plain = plain.milliseconds if isinstance(plain, Timestamp) else plain
        assert message.headers[name] == plain


def test_every_flipped_bit_is_noticed() -> None:
    for place in range(len(FRAME)):
        damaged = bytearray(FRAME)
        damaged[place] ^= 0x10
        with pytest.raises(BadFrame):
            decode(bytes(damaged))


@pytest.mark.parametrize(
    "data",
    [
        b'{"message":"The security token is invalid"}',
        b"<html><body>Bad gateway</body></html>",
        b'data: {"choices":[]}\n\n',
        bytes(16),
    ],
)
def test_what_is_no_event_stream_fails_at_its_beginning(data: bytes) -> None:
    decoder = FrameDecoder()
    decoder.add(data[:12])
    with pytest.raises(BadFrame, match="not an AWS event stream"):
        decoder.take()


def prelude(total: int, headers: int) -> bytes:
    start = struct.pack(">II", total, headers)
    return start + struct.pack(">I", zlib.crc32(start))


@pytest.mark.parametrize(
    ("total", "headers"), [(16 * 1024 * 1024 + 1, 0), (2**32 - 1, 10), (15, 0), (0, 0), (100, 85), (300_000, 200_000)]
)
def test_impossible_lengths_are_refused_before_their_bytes_are_awaited(total: int, headers: int) -> None:
    decoder = FrameDecoder()
    decoder.add(prelude(total, headers))
    with pytest.raises(BadFrame):
        decoder.take()


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05ab",  # a name longer than the headers
        b"\x01a\x07\xff\xffabc",  # a value longer than the message
        b"\x01a\x07\x00\x04abc",  # ... and one that ends in the payload
        b"\x01a\x0a",  # an unknown type
        b"\x01a\x09abcd",  # a UUID cut off
        b"\x01a\x05abcd",  # a number cut off
        b"\x02\xff\xfe\x00",  # a name that is not UTF-8
        b"\x01a\x07\x00\x02\xff\xfe",  # a string that is not UTF-8
        b"\x01a",  # no type
    ],
)
def test_headers_that_cannot_be_read_are_refused(headers: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(raw_frame(headers, b"" if headers == b"\x01a\x09abcd" else b"p"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_headers_are_read_or_refused(headers: bytes) -> None:
    decoder = FrameDecoder()
    decoder.add(raw_frame(headers))
    try:
        assert decoder.take() is not None
    except BadFrame:
        pass
    else:
        assert decoder.take() is None


def test_a_large_frame_in_small_pieces_is_not_slow() -> None:
    data = encode_frame(HEADERS, bytes(2_000_000))
    pieces = [data[place : place + 1000] for place in range(0, len(data), 1000)]
    (frame,) = decode(*pieces)
    assert len(frame.payload) == 2_000_000
