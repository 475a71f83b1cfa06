"""The wire between frontends and inference processes: DEALER to ROUTER, one msgpack frame per message.

    call     [version, CALL, id, role, deadline_ms, traceparent, body]
    cancel   [version, CANCEL, id]
    probe    [version, PROBE, id]
    answer   [version, ANSWER, id, status, queue_us, compute_us, body]
    health   [version, HEALTH, id, {role: [state, engine, model, waiting, running]}]

`id` is an unsigned integer of the caller's choice, not 0, unique among its unanswered messages; an answer with id 0 is
to a frame whose id could not be read, and health with id 0 is told unasked, when a role's state changes. A cancelled
call is not answered. `deadline_ms` is what is left of the caller's time when it sends; clocks are never compared.
`traceparent` is W3C's header value as bytes, empty when there is none. `body` is what `plano.inference.calls` packs,
or, with any status but OK, a message for the log. A caller probes while it has calls under way: one that says nothing
for `PEER_SILENCE_S` is taken for gone, and its calls are cancelled.

`pack_*` raise `Malformed` for what cannot be sent; `unpack_*` raise it, and nothing else, for any bytes that are not a
message.
"""

from __future__ import annotations

from datetime import datetime
from enum import IntEnum
from typing import Any, Final, Literal, NamedTuple

import msgspec

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024  # of one message; what is larger is answered with TOO_LARGE
MAX_DEADLINE_MS: Final = 600_000
MAX_DEPTH: Final = 100  # of maps and lists in a body: whatever walks one may do so by recursion
MAX_ID: Final = 2**64 - 1
UNASKED: Final = 0  # the id of health that nobody has asked for
MAX_ROLE_CHARS: Final = 64
MAX_TRACEPARENT_BYTES: Final = 128
PEER_SILENCE_S: Final = 10.0

# What is wrong with a frame, for counting.
Fault = Literal["encoding", "fields", "version", "too_large", "depth", "parts", "duplicate", "direction"]


class Kind(IntEnum):
    CALL = 1
    CANCEL = 2
    PROBE = 3
    ANSWER = 4
    HEALTH = 5


class Status(IntEnum):
    """How a call ended. Numbers are part of the wire: append, never renumber."""

    OK = 0
    BAD_CALL = 1  # malformed, or not understood by its role
    TOO_LARGE = 2
    VERSION = 3  # a wire version this side does not speak
    OVERLOADED = 4  # the role's queue is full
    EXPIRED = 5  # the deadline passed before an answer
    CANCELLED = 6
    UNAVAILABLE = 7  # no engine for the role, not loaded yet, or dead; or no replica can be reached
    FAILED = 8  # the engine tried and could not


class Malformed(Exception):
    """A frame that is not a message. `id` is the caller's if it could be read, so that it gets an answer."""

    def __init__(
        self, message: str, status: Status = Status.BAD_CALL, id: int | None = None, fault: Fault = "fields"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.id = id
        self.fault: Fault = fault


class Call(NamedTuple):
    id: int
    role: str
    deadline_ms: int
    traceparent: bytes
    body: Any


class Cancel(NamedTuple):
    id: int


class Probe(NamedTuple):
    id: int


class Answer(NamedTuple):
    """`queue_us` and `compute_us`: how long the call waited, and how long the engine had it, in microseconds."""

    id: int
    status: Status
    queue_us: int
    compute_us: int
    body: Any


class Health(NamedTuple):
    """`roles` maps a role to its state ("loading", "ready", "failed", "draining"), engine, model, waiting and running
    calls."""

    id: int
    roles: dict[str, RoleHealth]


RoleHealth = tuple[str, str, str, int, int]

_new = tuple.__new__  # a NamedTuple without its Python-level constructor
_STATUSES: Final = {int(status): status for status in Status}
# Plain integers: an enum's member costs a look-up and a conversion on every message.
_CALL, _CANCEL, _PROBE, _ANSWER, _HEALTH = (int(kind) for kind in Kind)


def _refuse_extension(code: int, data: Any) -> Any:
    raise ValueError(f"extension type {code}")


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(ext_hook=_refuse_extension).decode


def pack_call(id: int, role: str, deadline_ms: int, traceparent: bytes, body: Any) -> bytes:
    """Raises Malformed: TOO_LARGE over MAX_FRAME_BYTES, BAD_CALL for what cannot be packed.

    A body is of JSON's types and bytes. What msgspec packs besides is not looked for, as that would cost every message:
    it arrives as the string, list or map that it was packed to and is judged as that, or is refused there (timestamps).
    """
    return _packed((VERSION, _CALL, id, role, deadline_ms, traceparent, body))


def pack_cancel(id: int) -> bytes:
    return _packed((VERSION, _CANCEL, id))


def pack_probe(id: int) -> bytes:
    return _packed((VERSION, _PROBE, id))


def pack_answer(id: int, status: Status, queue_us: int, compute_us: int, body: Any) -> bytes:
    """Raises Malformed like `pack_call`."""
    return _packed((VERSION, _ANSWER, id, status, queue_us, compute_us, body))


def pack_health(id: int, roles: dict[str, RoleHealth]) -> bytes:
    return _packed((VERSION, _HEALTH, id, roles))


def unpack_request(frame: bytes) -> Call | Cancel | Probe:
    """A message to a server. Raises Malformed."""
    fields = _fields_of(frame)
    kind = fields[1]
    count = len(fields)
    if kind == _CALL and count == 7:
        _, _, id, role, deadline_ms, traceparent, body = fields
        if type(role) is not str or len(role) > MAX_ROLE_CHARS:
            raise Malformed("the role of a call is a short string", id=id)
        if type(deadline_ms) is not int or not 0 <= deadline_ms <= MAX_DEADLINE_MS:
            raise Malformed(f"a deadline is 0 to {MAX_DEADLINE_MS} ms", id=id)
        if type(traceparent) is not bytes or len(traceparent) > MAX_TRACEPARENT_BYTES:
            raise Malformed("a traceparent is a few bytes", id=id)
        _check_body(body, id)
        return _new(Call, (id, role, deadline_ms, traceparent, body))
    if kind == _CANCEL and count == 3:
        return Cancel(fields[2])
    if kind == _PROBE and count == 3:
        return Probe(fields[2])
    raise _not_for_us(kind, count, fields[2], (_ANSWER, _HEALTH))


def unpack_reply(frame: bytes) -> Answer | Health:
    """A message to a caller. Raises Malformed. An `Answer` with id 0 is to a frame whose id could not be read."""
    fields = _fields_of(frame, least_id=0)
    kind = fields[1]
    count = len(fields)
    if kind == _ANSWER and count == 7:
        _, _, id, number, queue_us, compute_us, body = fields
        status = _STATUSES.get(number) if type(number) is int else None
        if status is None:
            raise Malformed("an unknown status", id=id)
        if type(queue_us) is not int or type(compute_us) is not int or queue_us < 0 or compute_us < 0:
            raise Malformed("a time is a number of microseconds", id=id)
        if status is not Status.OK and type(body) is not str:
            raise Malformed("an answer that is none says why", id=id)
        _check_body(body, id)
        return _new(Answer, (id, status, queue_us, compute_us, body))
    if kind == _HEALTH and count == 4:
        return Health(fields[2], _roles(fields[3], fields[2]))
    raise _not_for_us(kind, count, fields[2], (_CALL, _CANCEL, _PROBE))


def _packed(fields: tuple[Any, ...]) -> bytes:
    try:
        frame: bytes = _pack(fields)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # lone surrogates, types, integers, nesting
        raise Malformed(f"cannot be sent: {error}", id=fields[2], fault="encoding") from error
    if len(frame) > MAX_FRAME_BYTES:
        raise Malformed(_too_large(len(frame)), Status.TOO_LARGE, fields[2], "too_large")
    return frame


def _fields_of(frame: bytes, least_id: int = 1) -> list[Any]:
    """At least [VERSION, kind, id, ...], with an id that is one."""
    if len(frame) > MAX_FRAME_BYTES:
        raise Malformed(_too_large(len(frame)), Status.TOO_LARGE, _find_id(frame), "too_large")
    try:
        fields = _unpack(frame)
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: a key without a hash, before msgspec 0.22
        # The version comes first: another one may be packed in another way.
        _check_version(_first_fields(frame))
        raise Malformed(f"not msgpack: {error}"[:200], id=_find_id(frame), fault="encoding") from error
    if type(fields) is not list or len(fields) < 3:
        raise Malformed("a message is a list of at least three")
    if fields[0] != VERSION or type(fields[0]) is not int:
        _check_version(fields)
        raise Malformed("a message begins with a version", id=_id_in(fields))
    id = fields[2]
    if type(id) is not int or not least_id <= id <= MAX_ID:
        raise Malformed("an id is an unsigned integer, not 0")
    return fields


def _not_for_us(kind: Any, count: int, id: int, others: tuple[int, ...]) -> Malformed:
    if type(kind) is int and kind in others:
        return Malformed("a message for the other side", id=id, fault="direction")
    name = kind if type(kind) is int else type(kind).__name__  # a deep list has no repr
    return Malformed(f"no message of this version has kind {name} and {count} fields", id=id)


def _check_version(fields: list[Any]) -> None:
    if fields and type(fields[0]) is int and fields[0] != VERSION:
        message = f"wire version {fields[0]}: this side speaks {VERSION}"
        raise Malformed(message, Status.VERSION, _id_in(fields), "version")


def _check_body(body: Any, id: int) -> None:
    """Its depth, and that nothing is in it that msgspec reads and this wire does not carry: other keys than strings and
    bytes, and timestamps, for which it asks no hook. (Keys chosen to collide have cost their time by then: whoever may
    connect, by the socket's folder or a CURVE key, is trusted that far.)"""
    level = [body]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            if type(value) is str:  # most of them
                continue
            if type(value) is list:
                below += value
            elif type(value) is dict:
                for key in value:
                    if type(key) is not str and type(key) is not bytes:
                        raise Malformed(f"a key is a string, not {type(key).__name__}", id=id, fault="encoding")
                below += value.values()
            elif type(value) is datetime:
                raise Malformed("not msgpack: extension type -1", id=id, fault="encoding")
        if not below:
            return
        level = below
    raise Malformed(f"a body is nested at most {MAX_DEPTH} deep", id=id, fault="depth")


def _roles(value: Any, id: int) -> dict[str, RoleHealth]:
    if type(value) is not dict:
        raise Malformed("health is told by role", id=id)
    roles: dict[str, RoleHealth] = {}
    for role, figures in value.items():
        if type(role) is not str or type(figures) is not list or len(figures) != 5:
            raise Malformed("the health of a role has five fields", id=id)
        state, engine, model, waiting, running = figures
        if type(state) is not str or type(engine) is not str or type(model) is not str:
            raise Malformed("a role's state, engine and model are strings", id=id)
        if type(waiting) is not int or type(running) is not int:
            raise Malformed("calls are counted in integers", id=id)
        roles[role] = (state, engine, model, waiting, running)
    return roles


def _find_id(frame: bytes) -> int | None:
    """The caller's id in a frame that cannot be read to its end."""
    return _id_in(_first_fields(frame))


def _id_in(fields: list[Any]) -> int | None:
    if len(fields) >= 3 and type(fields[2]) is int and 1 <= fields[2] <= MAX_ID:
        return fields[2]
    return None


def _first_fields(frame: bytes) -> list[int]:
    """As many of the first three fields as are integers that can be read
    (https://github.com/msgpack/msgpack/blob/master/spec.md: array and int format family)."""
    fields: list[int] = []
    lead = frame[0] if frame else 0
    if 0x90 <= lead <= 0x9F:
        place = 1
        count = lead - 0x90
    elif lead == 0xDC or lead == 0xDD:
        place = 3 if lead == 0xDC else 5
        count = int.from_bytes(frame[1:place], "big")
    else:
        return fields
    while len(fields) < min(count, 3) and place < len(frame):
        lead = frame[place]
        place += 1
        if lead <= 0x7F:
            fields.append(lead)
        elif lead >= 0xE0:
            fields.append(lead - 0x100)
        elif 0xCC <= lead <= 0xD3:  # four widths, unsigned and then signed
            digits = frame[place : place + (1 << (lead & 3))]
            place += 1 << (lead & 3)
            if place > len(frame):
                break
            fields.append(int.from_bytes(digits, "big", signed=lead >= 0xD0))
        else:
            break
    return fields


def _too_large(length_bytes: int) -> str:
    return f"{length_bytes} bytes: a message has at most {MAX_FRAME_BYTES}"
