"""Frames in, messages out; whatever is no message is `Malformed`, and nothing else."""

from __future__ import annotations

import random
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


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800", nested(5_000), {1, 2}])
def test_what_msgpack_cannot_carry_is_not_sent_and_spoils_nothing(value: Any) -> None:
    with pytest.raises(Malformed) as caught:
        pack_call(42, "guard", 100, b"", {"texts": [value]})
    assert caught.value.status is Status.BAD_CALL
    assert unpack_request(pack_probe(8)) == Probe(8)


def test_the_id_is_found_in_a_truncated_frame() -> None:
    assert refused(CALL[:-3]).id == 7
    assert refused(CALL[:2]).id is None


def test_a_body_is_nested_to_a_depth_that_recursion_can_walk() -> None:
    assert unpack_request(pack_call(1, "guard", 1, b"", nested(MAX_DEPTH))).id == 1
    error = refused(pack_call(1, "guard", 1, b"", nested(MAX_DEPTH + 1)))
    assert (error.fault, error.id) == ("depth", 1)
    maps: Any = {}
    for _ in range(MAX_DEPTH + 1):
        maps = {"": maps}
    assert refused(pack_call(1, "guard", 1, b"", maps)).fault == "depth"


@pytest.mark.parametrize(
    "body", [msgpack.ExtType(5, b""), msgpack.ExtType(5, b"abc"), msgpack.Timestamp(1), [msgpack.Timestamp(2**40)]]
)
def test_extension_types_are_refused(body: Any) -> None:
    error = refused(frame(VERSION, Kind.CALL, 3, "guard", 100, b"", body))
    assert (error.status, error.id, error.fault) == (Status.BAD_CALL, 3, "encoding")


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
    """How many of both sides refuse it."""
    ids: list[int | None] = []
    for unpack in (unpack_request, unpack_reply):
        try:
            unpack(data)
        except Malformed as error:
            ids.append(error.id)
    assert all(id is None or 0 <= id <= MAX_ID for id in ids)
    return len(ids)


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
