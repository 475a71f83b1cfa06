"""Fields of a form, found without taking it apart: multipart/form-data (RFC 7578, in the framing of RFC 2046, 5.1).

A form holds files, so nothing of it is copied: a field is a pair of places in the body. What two readers could
understand differently (a boundary that is followed by text, a field given twice) is refused: the provider must not see
another model than we do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from plano.dialects.conversation import BadRequest

MEDIA_TYPE: Final = b"multipart/form-data"
MAX_PARTS: Final = 1_000
MAX_PART_HEAD_BYTES: Final = 8 * 1024
# RFC 2046 allows any number of spaces after a boundary ("transport padding"); nobody sends one.
MAX_PADDING_BYTES: Final = 64

_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70})(?=[\s;]|\Z))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]*))')


class Form(NamedTuple):
    """Where the fields stand: `places` has (start, end) of each value. The first part's `delimiter` is at `start`."""

    delimiter: bytes
    start: int
    places: dict[bytes, tuple[int, int]]


def is_form(content_type: bytes) -> bool:
    """Is this the media type of a form, whatever its parameters?"""
    return content_type.partition(b";")[0].strip().lower() == MEDIA_TYPE


def read_fields(content_type: bytes, body: bytes, names: Sequence[bytes]) -> Form:
    """Find the fields of these names. Raises BadRequest for what is no proper form, and for a field given twice."""
    boundaries = _BOUNDARY.findall(content_type)
    if len(boundaries) != 1:
        raise BadRequest("The Content-Type of a form must name its boundary (1 to 70 characters), once.")
    delimiter = b"--" + (boundaries[0][0] or boundaries[0][1])
    line = b"\r\n" + delimiter
    start = 0 if body.startswith(delimiter) else body.find(line) + 2
    if start == 1:
        raise BadRequest("The form does not hold the boundary that its Content-Type names.")
    places: dict[bytes, tuple[int, int]] = {}
    position = start + len(delimiter)
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", position):
            return Form(delimiter, start, places)
        head_start = _skip_padding(body, position)
        head_end = body.find(b"\r\n\r\n", head_start - 2, head_start + MAX_PART_HEAD_BYTES)
        if head_end < 0:
            raise BadRequest(f"A part of the form has no end of its headers within {MAX_PART_HEAD_BYTES} bytes.")
        value_start = head_end + 4
        value_end = body.find(line, value_start)
        if value_end < 0:
            raise BadRequest("The form is not closed by its boundary.")
        name = _read_name(body[head_start:head_end]) if head_end > head_start else None
        if name is None:
            raise BadRequest("A part of the form has no name.")
        if name in places:
            field = name.decode("latin-1")
            raise BadRequest(f"The form has more than one '{field}'.", field)
        if name in names:
            places[name] = value_start, value_end
        position = value_end + len(line)
    raise BadRequest(f"The form has more than {MAX_PARTS} parts.")


def _skip_padding(body: bytes, position: int) -> int:
    """The place after the line that a boundary stands in."""
    end = body.find(b"\r\n", position, position + MAX_PADDING_BYTES)
    if end < 0 or body[position:end].strip(b" \t"):
        raise BadRequest("A boundary of the form is followed by something else than the end of its line.")
    return end + 2


def _read_name(head: bytes) -> bytes | None:
    """The name in a part's headers; None when there is none, or more than one."""
    fields = [line.partition(b":") for line in head.split(b"\r\n")]
    names = [
        quoted or token
        for key, _, value in fields
        if key.strip().lower() == b"content-disposition"
        for parameter, quoted, token in _PARAMETER.findall(value)
        if parameter.lower() == b"name"
    ]
    return names[0] if len(names) == 1 else None
