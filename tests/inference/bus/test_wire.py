"""Frames in, messages out; whatever is no message is `Malformed`, and nothing else.

The frames are made and judged by `msgpack`, which the product does not use: another implementation of the format.
"""

from __future__ import annotations

import random
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.inference.wire import (
    MAX_DEADLINE_MS,
    MAX_DEPTH,
    MAX_FRAME_BYTES,
    MAX_ID,
    VERSION,
    Answer,
    Call,
    Cancel,
    Health,
    Kind,
    Malformed,
    Probe,
    Status,
    _first_fields,
    pack_answer,
    pack_call,
    pack_cancel,
    pack_health,
    pack_probe,
    unpack_reply,
    unpack_request,
)

CALL = pack_call(7, "guard", 250, b"00-aa-bb-01", {"texts": ["hallo", "\N{SNOWMAN}"]})
ANSWER = pack_answer(7, Status.OK, 12, 345, {"probability": 0.5, "flagged": True})
HEALTH = pack_health(9, {"guard": ("ready", "embedded", "", 3, 1)})
GOOD = (CALL, pack_cancel(7), pack_probe(8), ANSWER, HEALTH)


def nested(depth: int) -> Any:
    value: Any = "core"
    for _ in range(depth):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def frame(*fields: Any) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed


def refused(data: bytes, unpack: Any = unpack_request) -> Malformed:
    with pytest.raises(Malformed) as caught:
        unpack(data)
    return caught.value


def test_messages_survive_the_wire() -> None:
    body = {"texts": ["hallo", "\N{SNOWMAN}"]}
    assert unpack_request(CALL) == Call(7, "guard", 250, b"00-aa-bb-01", body)
    assert unpack_request(pack_cancel(MAX_ID)) == Cancel(MAX_ID)
    assert unpack_request(pack_probe(8)) == Probe(8)
    assert unpack_reply(ANSWER) == Answer(7, Status.OK, 12, 345, {"probability": 0.5, "flagged": True})
    assert unpack_reply(HEALTH) == Health(9, {"guard": ("ready", "embedded", "", 3, 1)})


def test_an_answer_carries_every_status() -> None:
    for status in Status:
        body = {} if status is Status.OK else "why not"
        answer = unpack_reply(pack_answer(1, status, 0, 0, body))
        assert isinstance(answer, Answer)
        assert answer.status is status


def test_another_version_is_told_so_with_the_callers_id() -> None:
    error = refused(frame(VERSION + 1, Kind.CALL, 42, "and", "a", "different", "layout", "altogether"))
    assert (error.status, error.id, error.fault) == (Status.VERSION, 42, "version")


def test_another_version_is_recognised_in_what_cannot_be_unpacked() -> None:
    data = frame(VERSION + 1, Kind.CALL, 42, msgpack.ExtType(3, b"of the future"))
    error = refused(data)
    assert (error.status, error.id) == (Status.VERSION, 42)


def test_a_frame_that_is_too_large_is_told_so_with_the_callers_id() -> None:
    data = frame(VERSION, Kind.CALL, 42, "guard", 100, b"", {"texts": ["x" * MAX_FRAME_BYTES]})
    error = refused(data)
    assert (error.status, error.id, error.fault) == (Status.TOO_LARGE, 42, "too_large")


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(Malformed) as caught:
        pack_call(42, "guard", 100, b"", {"texts": ["x" * MAX_FRAME_BYTES]})
    assert caught.value.status is Status.TOO_LARGE


@pytest.mark.parametrize("value", [object(), 2**70, 1j, "\ud800", nested(5_000), endless()])
def test_what_msgpack_cannot_carry_is_not_sent_and_spoils_nothing(value: Any) -> None:
    with pytest.raises(Malformed) as caught:
        pack_call(42, "guard", 100, b"", {"texts": [value]})
    assert caught.value.status is Status.BAD_CALL
    assert unpack_request(pack_probe(8)) == Probe(8)


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ({1}, [1]),
        (date(2026, 1, 1), "2026-01-01"),
        (datetime(2026, 1, 1), "2026-01-01T00:00:00"),
        (Decimal("0.1"), "0.1"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_what_is_of_other_types_arrives_as_plain_values(value: Any, arrives: Any) -> None:
    data = pack_call(42, "guard", 100, b"", {"texts": [value]})
    assert unpack_request(data) == Call(42, "guard", 100, b"", {"texts": [arrives]})


def test_a_moment_is_refused_where_it_arrives() -> None:
    error = refused(pack_call(42, "guard", 100, b"", {"texts": [datetime.now(UTC)]}))
    assert (error.status, error.id, error.fault) == (Status.BAD_CALL, 42, "encoding")


def test_kinds_and_statuses_are_packed_as_numbers() -> None:
    assert pack_answer(7, Status.FAILED, 1, 2, "why") == frame(VERSION, 4, 7, 8, 1, 2, "why")


def test_the_id_is_found_in_a_truncated_frame() -> None:
    assert refused(CALL[:-3]).id == 7
    assert refused(CALL[:2]).id is None


def first_fields_by_unpacker(data: bytes) -> list[int]:
    unpacker = msgpack.Unpacker(BytesIO(data), max_array_len=2**32 - 1, strict_map_key=False)
    fields: list[int] = []
    try:
        for _ in range(min(unpacker.read_array_header(), 3)):
            field = unpacker.unpack()
            if type(field) is not int:
                return fields
            fields.append(field)
    except (ValueError, msgpack.UnpackException):
        return fields
    return fields


def widened(value: int, width_bytes: int) -> bytes:
    """An integer in one of the formats that have room for it, not only in the shortest."""
    while not -(2 ** (8 * width_bytes - 1)) <= value < 2 ** (8 * width_bytes):
        width_bytes *= 2
    signed = value < 2 ** (8 * width_bytes - 1) and (value < 0 or value % 2 == 0)
    code = (0xD0 if signed else 0xCC) + (1, 2, 4, 8).index(width_bytes)
    return bytes([code]) + value.to_bytes(width_bytes, "big", signed=signed)


integers = st.integers(-(2**63), 2**64 - 1) | st.integers(-200, 400)
fields_as_bytes = (
    integers.map(msgpack.packb)
    | st.builds(widened, integers, st.sampled_from([1, 2, 4, 8]))
    | st.sampled_from([msgpack.packb(value) for value in (None, True, 1.5, "text", b"", [1], {"a": 1})])
    | st.binary(max_size=3)
)
array_headers = (
    st.integers(0, 15).map(lambda count: bytes([0x90 + count]))
    | st.integers(0, 2**16 - 1).map(lambda count: b"\xdc" + count.to_bytes(2, "big"))
    | st.integers(0, 2**32 - 1).map(lambda count: b"\xdd" + count.to_bytes(4, "big"))
    | st.sampled_from([b"\xdc\0\2", b"\xdd\0\0\0\2", b"\xde\0\3", b"\x83", b""])
)


@given(array_headers, st.lists(fields_as_bytes, max_size=4), st.integers(0, 40))
def test_the_first_fields_are_what_another_implementation_reads(header: bytes, fields: list[bytes], cut: int) -> None:
    data = b"".join((header, *fields))
    for part in (data, data[:cut]):
        assert _first_fields(part) == first_fields_by_unpacker(part)


@given(st.binary(max_size=30))
def test_the_first_fields_of_any_bytes_are_what_another_implementation_reads(data: bytes) -> None:
    assert _first_fields(data) == first_fields_by_unpacker(data)


def test_a_body_is_nested_to_a_depth_that_recursion_can_walk() -> None:
    assert unpack_request(pack_call(1, "guard", 1, b"", nested(MAX_DEPTH))).id == 1
    error = refused(pack_call(1, "guard", 1, b"", nested(MAX_DEPTH + 1)))
    assert (error.fault, error.id) == ("depth", 1)
    maps: Any = {}
    for _ in range(MAX_DEPTH + 1):
        maps = {"": maps}
    assert refused(pack_call(1, "guard", 1, b"", maps)).fault == "depth"


@pytest.mark.parametrize(
    "body",
    [
        msgpack.ExtType(5, b""),
        msgpack.ExtType(5, b"abc"),
        msgpack.ExtType(127, b"x" * 300),
        msgpack.Timestamp(1),
        [msgpack.Timestamp(2**40)],
        {"texts": ["x" * 200, {"when": [msgpack.Timestamp(2**33, 5)]}]},
        {msgpack.Timestamp(1): 1},
    ],
)
def test_extension_types_are_refused(body: Any) -> None:
    error = refused(frame(VERSION, Kind.CALL, 3, "guard", 100, b"", body))
    assert (error.status, error.id, error.fault) == (Status.BAD_CALL, 3, "encoding")
    answer = refused(frame(VERSION, Kind.ANSWER, 3, Status.OK, 0, 0, body), unpack_reply)
    assert (answer.status, answer.id, answer.fault) == (Status.BAD_CALL, 3, "encoding")


def test_bytes_that_look_like_an_extension_are_none() -> None:
    body = {
        "texts": ["\N{HEBREW LETTER ALEF}\N{ARABIC LETTER AIN}"],
        "raw": b"\xd6\xff\0\0\0\1",
        "number": 0xD6FF00000001,
    }
    assert unpack_request(frame(VERSION, Kind.CALL, 3, "guard", 100, b"", body)) == Call(3, "guard", 100, b"", body)


@pytest.mark.parametrize("key", [1, 1.5, None, True, (1, 2)])
@pytest.mark.parametrize("pad", ["", "x" * 200])
def test_keys_are_strings(key: Any, pad: str) -> None:
    error = refused(frame(VERSION, Kind.CALL, 3, "guard", 100, b"", {"texts": [pad, {key: 1}]}))
    assert (error.status, error.id, error.fault) == (Status.BAD_CALL, 3, "encoding")
    answer = refused(frame(VERSION, Kind.ANSWER, 3, Status.OK, 0, 0, {key: pad}), unpack_reply)
    assert (answer.status, answer.id, answer.fault) == (Status.BAD_CALL, 3, "encoding")


@pytest.mark.parametrize("key", [b"\x80", b"\x91\x80", b"\xdd\xff\xff\xff\xff", b"\xd6\xff\0\0\0\1"])
def test_what_is_no_string_is_no_key(key: bytes) -> None:
    error = refused(frame(VERSION, Kind.CALL, 3, "guard", 100, b"", {})[:-1] + b"\x81" + key + b"\xc0")
    assert (error.status, error.id, error.fault) == (Status.BAD_CALL, 3, "encoding")


@pytest.mark.parametrize("place", range(7))
def test_no_field_is_too_deep_to_be_refused(place: int) -> None:
    for depth in (50, *range(800, 1_000), 2_000, 100_000):
        fields = [msgpack.packb(value) for value in (VERSION, Kind.CALL, 7, "guard", 100, b"", {})]
        fields[place] = b"\x91" * depth + b"\xc0"
        data = b"\x97" + b"".join(fields)
        if (place, depth) == (6, 50):
            unpack_request(data)
        else:
            assert refused(data).status is Status.BAD_CALL
        refused(data, unpack_reply)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (VERSION,),
        (VERSION, Kind.PROBE),
        (VERSION, Kind.PROBE, 0),
        (VERSION, Kind.PROBE, -1),
        (VERSION, Kind.PROBE, True),
        (VERSION, Kind.PROBE, 1.0),
        (VERSION, Kind.PROBE, "1"),
        (VERSION, Kind.PROBE, None),
        (VERSION, Kind.PROBE, 1, "more"),
        (VERSION, Kind.CANCEL, 1, 2),
        (True, Kind.PROBE, 1),
        (1.0, Kind.PROBE, 1),
        ("1", Kind.PROBE, 1),
        (VERSION, 99, 1),
        (VERSION, "2", 1),
        (VERSION, None, 1),
        (VERSION, Kind.CALL, 1, "guard", 100, b""),
        (VERSION, Kind.CALL, 1, "guard", 100, b"", {}, "more"),
        (VERSION, Kind.CALL, 1, b"guard", 100, b"", {}),
        (VERSION, Kind.CALL, 1, "g" * 65, 100, b"", {}),
        (VERSION, Kind.CALL, 1, "guard", -1, b"", {}),
        (VERSION, Kind.CALL, 1, "guard", 10.5, b"", {}),
        (VERSION, Kind.CALL, 1, "guard", True, b"", {}),
        (VERSION, Kind.CALL, 1, "guard", MAX_DEADLINE_MS + 1, b"", {}),
        (VERSION, Kind.CALL, 1, "guard", 100, "text", {}),
        (VERSION, Kind.CALL, 1, "guard", 100, b"x" * 129, {}),
        (VERSION, Kind.ANSWER, 1, 0, 0, 0, {}),
        (VERSION, Kind.HEALTH, 1, {}),
    ],
)
def test_a_request_with_wrong_fields_is_refused(fields: tuple[Any, ...]) -> None:
    assert refused(frame(*fields)).status is Status.BAD_CALL


@pytest.mark.parametrize("value", [{"a": 1}, "text", 5, None, b"", 1.5])
def test_what_is_no_list_is_refused(value: Any) -> None:
    assert refused(msgpack.packb(value)).id is None


@pytest.mark.parametrize(
    "fields",
    [
        (VERSION, Kind.ANSWER, 1, 99, 0, 0, {}),
        (VERSION, Kind.ANSWER, 1, False, 0, 0, {}),
        (VERSION, Kind.ANSWER, 1, 0, -1, 0, {}),
        (VERSION, Kind.ANSWER, 1, 0, 0, 1.5, {}),
        (VERSION, Kind.ANSWER, 1, Status.FAILED, 0, 0, {"no": "text"}),
        (VERSION, Kind.HEALTH, 1, []),
        (VERSION, Kind.HEALTH, 1, {"guard": ["ready", "e", "m", 0]}),
        (VERSION, Kind.HEALTH, 1, {"guard": ["ready", "e", None, 0, 0]}),
        (VERSION, Kind.HEALTH, 1, {"guard": ["ready", "e", "m", "0", 0]}),
        (VERSION, Kind.HEALTH, 1, {b"guard": ["ready", "e", "m", 0, 0]}),
        (VERSION, Kind.CALL, 1, "guard", 100, b"", {}),
    ],
)
def test_a_reply_with_wrong_fields_is_refused(fields: tuple[Any, ...]) -> None:
    assert refused(frame(*fields), unpack_reply).status is Status.BAD_CALL


def check_that_it_is_a_message_or_malformed(data: bytes) -> int:
    """How many of both sides refuse it. They read what `msgpack` reads; nothing of that is badly encoded to them."""
    try:
        fields = msgpack.unpackb(data, max_ext_len=0, ext_hook=no_extension)
    except (ValueError, msgpack.UnpackException):
        fields = None
    ids: list[int | None] = []
    faults: list[str] = []
    for unpack in (unpack_request, unpack_reply):
        try:
            message = unpack(data)
        except Malformed as error:
            ids.append(error.id)
            faults.append(error.fault)
        else:
            assert fields is not None
            assert msgpack.packb(message) == msgpack.packb(fields[2:])
    assert all(id is None or 0 <= id <= MAX_ID for id in ids)
    assert fields is None or "encoding" not in faults
    return len(ids)


def no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code}")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    check_that_it_is_a_message_or_malformed(data)


msgpack_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@given(msgpack_values)
def test_any_body_arrives_as_it_is(body: Any) -> None:
    data = frame(VERSION, Kind.CALL, 7, "guard", 100, b"", body)
    assert check_that_it_is_a_message_or_malformed(data) == 1
    assert pack_call(7, "guard", 100, b"", body) == data


@given(st.lists(msgpack_values, max_size=8))
def test_any_values_are_a_message_or_malformed(fields: list[Any]) -> None:
    check_that_it_is_a_message_or_malformed(msgpack.packb([VERSION, *fields]))


def test_a_hundred_thousand_damaged_frames_are_messages_or_malformed() -> None:
    chance = random.Random(20)
    refusals = 0
    for _ in range(50_000):
        data = bytearray(chance.choice(GOOD))
        where = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[where] = chance.randrange(256)
            case 1:
                del data[where:]
            case 2:
                data[where:where] = chance.randbytes(chance.randrange(1, 5))
            case _:
                data[where:] = chance.randbytes(chance.randrange(40))
        refusals += check_that_it_is_a_message_or_malformed(bytes(data))
    assert refusals > 50_000
