"""Fields of forms: where they stand, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from plano.dialects.conversation import BadRequest
from plano.dialects.identity.forms import MAX_PARTS, is_form, read_fields
from plano.dialects.identity.plain import PLAIN_WIRES, FormWire

NAMES = (b"model", b"stream")
TYPE = b"multipart/form-data; boundary=XX"
FILE = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
MODEL = b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
TRANSCRIPTIONS = next(wire for wire in PLAIN_WIRES if wire.name == "/audio/transcriptions")


def read_model(body: bytes, content_type: bytes = TYPE) -> bytes | None:
    """The value of `model` in a form."""
    place = read_fields(content_type, body, NAMES).places.get(b"model")
    return None if place is None else body[place[0] : place[1]]


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"multipart/form-data; boundary=x", True),
        (b"Multipart/Form-Data ;boundary=x", True),
        (b"multipart/form-data", True),
        (b"multipart/form-data-x; boundary=x", False),
        (b"multipart/mixed; boundary=x", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_a_form_is_known_by_its_media_type(content_type: bytes, expected: bool) -> None:
    assert is_form(content_type) is expected


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="model"',
        b"content-disposition:form-data;name=model",
        b'CONTENT-DISPOSITION: form-data; NAME = "model"',
        b'Content-Type: text/plain\r\nContent-Disposition: form-data; filename="a\\"; name=\\"b"; name="model"',
        b'Content-Disposition: form-data; name="model"; filename="C:\\dir\\"',
    ],
)
def test_the_name_of_a_part_is_found_as_clients_write_it(head: bytes) -> None:
    body = FILE + b"\x00\x01\r\n--XX\r\n" + head + b"\r\n\r\nwhisper-1\r\n--XX--\r\n"
    assert read_model(body) == b"whisper-1"


@pytest.mark.parametrize(
    "content_type",
    [TYPE, b'multipart/form-data; charset=utf-8; boundary="XX"', b"multipart/form-data;BOUNDARY = XX ; a=b"],
)
def test_the_boundary_is_read_in_every_spelling(content_type: bytes) -> None:
    assert read_model(MODEL + b"m\r\n--XX--", content_type) == b"m"


def test_a_preamble_padding_and_an_empty_value_are_allowed() -> None:
    assert read_model(b"for old mail readers\r\n" + MODEL.replace(b"XX", b"XX \t") + b"\r\n--XX--") == b""


def test_what_looks_like_a_field_within_a_file_is_part_of_the_file() -> None:
    decoy = b'\r\n--X\r\nContent-Disposition: form-data; name="model"\r\n\r\ndecoy\r\n'
    assert read_model(FILE + decoy + b"\r\n" + MODEL + b"real\r\n--XX--") == b"real"


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        (b"multipart/form-data", MODEL, "must name its boundary"),
        (b"multipart/form-data; boundary=" + b"x" * 71, MODEL, "must name its boundary"),
        (TYPE + b"; boundary=YY", MODEL, "must name its boundary"),
        (TYPE, b"", "does not hold the boundary"),
        (TYPE, b"{}", "does not hold the boundary"),
        (TYPE, b"\n--XX--", "does not hold the boundary"),
        (TYPE, MODEL + b"m", "not closed"),
        (TYPE, MODEL + b"m\r\n--XX", "followed by something else"),
        (TYPE, MODEL + b"m\r\n--XXY\r\n", "followed by something else"),
        (TYPE, b"--XX\r\n\r\nm\r\n--XX--", "no name"),
        (TYPE, b"--XX\r\nContent-Type: a/b\r\n\r\nm\r\n--XX--", "no name"),
        (TYPE, b"--XX\r\nContent-Disposition: form-data; name=a; name=model\r\n\r\nm\r\n--XX--", "no name"),
        (TYPE, b'--XX\r\nContent-Disposition: form-data; name="model"\r\n--XX--', "no end of its headers"),
        (TYPE, b"--XX\r\nx: " + b"x" * 9_000 + b"\r\n\r\nm\r\n--XX--", "no end of its headers"),
        (TYPE, MODEL + b"a\r\n" + MODEL + b"b\r\n--XX--", "more than one 'model'"),
        (TYPE, (FILE + b"\r\n") * (MAX_PARTS + 1) + b"--XX--", "more than 1000 parts"),
    ],
)
def test_a_form_that_could_be_read_in_two_ways_is_refused(content_type: bytes, body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        read_fields(content_type, body, NAMES)


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_nothing_but_a_bad_request_comes_of_garbage(body: bytes, content_type: bytes) -> None:
    for sent in (body, MODEL + body, MODEL + body + b"\r\n--XX--"):
        for kind in (content_type, TYPE):
            with contextlib.suppress(BadRequest):
                FormWire(TRANSCRIPTIONS, kind).parse_request(sent)


@given(
    content=st.binary(max_size=300),
    model=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    first=st.booleans(),
    streaming=st.booleans(),
)
def test_only_the_model_of_a_form_changes(content: bytes, model: str, first: bool, streaming: bool) -> None:
    assume(b"--XX" not in content + model.encode())
    stream = MODEL.replace(b"model", b"stream") + str(streaming).lower().encode()
    parts = [MODEL + model.encode(), FILE + content, stream]
    body = b"\r\n".join([*(parts if first else reversed(parts)), b"--XX--\r\n"])
    wire = FormWire(TRANSCRIPTIONS, TYPE)
    routed = wire.parse_request(body)
    assert routed == ({"model": model}, model, streaming)
    before, _, after = body.partition(b'name="model"\r\n\r\n' + model.encode() + b"\r\n")
    expected = before + b'name="model"\r\n\r\nanother\r\n' + after
    assert wire.replace_model(body, routed[0], "another") == expected
    assert wire.replace_model(body, routed[0], model) == body


def test_a_form_without_a_model_gets_one() -> None:
    wire = FormWire(TRANSCRIPTIONS, TYPE)
    body = b"preamble\r\n" + FILE + b"\x00\r\n--XX--\r\n"
    assert wire.parse_request(body) == ({}, None, False)
    sent = wire.replace_model(body, {}, "whisper-1")
    assert sent == b"preamble\r\n" + MODEL + b"whisper-1\r\n" + FILE + b"\x00\r\n--XX--\r\n"
    assert read_model(sent) == b"whisper-1"


@pytest.mark.parametrize(("value", "message"), [(b"x" * 2_000, "longer than"), (b"\xff", "UTF-8")])
def test_a_model_that_can_be_none_is_refused_by_name(value: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        FormWire(TRANSCRIPTIONS, TYPE).parse_request(MODEL + value + b"\r\n--XX--")
    assert caught.value.param == "model"
