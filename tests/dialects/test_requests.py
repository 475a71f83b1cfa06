"""Reading a request, and putting another model into it."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.identity.chat import BadRequest, parse_request, replace_model
from tests.dialects.bodies import model_names, objects, spelled

HELLO = b'"messages":[{"role":"user","content":"hi"}]'


def replace(data: bytes, model: str) -> bytes:
    return replace_model(data, orjson.loads(data), model)


# -- parse_request


@pytest.mark.parametrize(
    ("data", "model", "streaming"),
    [
        (b'{"model":"gpt-4o",%b}' % HELLO, "gpt-4o", False),
        (b'{"model":"gpt-4o","stream":true,%b}' % HELLO, "gpt-4o", True),
        (b'{"model":null,"stream":null,%b}' % HELLO, None, False),
        (b" {%b}\r\n" % HELLO, None, False),
        (b'{"model":"",%b}' % HELLO, "", False),
    ],
)
def test_a_request_is_read(data: bytes, model: str | None, streaming: bool) -> None:
    assert parse_request(data) == (json.loads(data), model, streaming)


@pytest.mark.parametrize(
    ("data", "param", "said"),
    [
        (b"", None, "not valid JSON"),
        (b"{", None, "not valid JSON"),
        (b"{%b" % HELLO, None, "not valid JSON"),
        (b'{"model":"\xff",%b}' % HELLO, None, "not valid JSON"),
        pytest.param(b"[" * 100_000, None, "not valid JSON", id="deeply nested"),
        (b"[]", None, "object"),
        (b'"messages"', None, "object"),
        (b"null", None, "object"),
        (b"{}", "messages", "missing"),
        (b'{"messages":null}', "messages", "missing"),
        (b'{"messages":"hi"}', "messages", "array"),
        (b'{"messages":{}}', "messages", "array"),
        (b'{"messages":[]}', "messages", "at least one"),
        (b'{"model":5,%b}' % HELLO, "model", "string"),
        (b'{"model":["gpt-4o"],%b}' % HELLO, "model", "string"),
        (b'{"stream":"true",%b}' % HELLO, "stream", "true or false"),
        (b'{"stream":1,%b}' % HELLO, "stream", "true or false"),
    ],
)
def test_what_cannot_be_understood_names_the_field(data: bytes, param: str | None, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as refused:
        parse_request(data)
    assert refused.value.param == param


@given(st.binary(max_size=60) | objects.map(lambda body: json.dumps(body).encode()))
def test_no_body_does_more_than_be_refused(data: bytes) -> None:
    try:
        body, model, streaming = parse_request(data)
    except BadRequest:
        return
    assert body["messages"]
    assert model is None or isinstance(model, str)
    assert isinstance(streaming, bool)


# -- replace_model


@given(st.data(), objects, model_names, model_names)
def test_the_model_is_replaced_and_nothing_else(data: st.DataObject, rest: dict[str, Any], old: str, new: str) -> None:
    position = data.draw(st.integers(0, len(rest)), label="position")
    items = [(key, value) for key, value in rest.items() if key != "model"]
    items.insert(position, ("model", old))
    request = data.draw(spelled(dict(items)), label="request")
    assert json.loads(replace(request, new)) == {**dict(items), "model": new}


@given(st.data(), objects, model_names)
def test_a_model_is_added_where_there_was_none(data: st.DataObject, rest: dict[str, Any], new: str) -> None:
    rest.pop("model", None)
    request = data.draw(spelled(rest), label="request")
    assert json.loads(replace(request, new)) == {**rest, "model": new}


@given(st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"])), st.sampled_from([b"", b" "]))
def test_all_other_bytes_stay_as_they_were(name: str, space: bytes) -> None:
    # Number formats, key order, spaces and escapes that an encoder would change.
    before = b'{ "temperature" : 1.00e0,"seed":123456789012345678901234567890,\n "model"%b:%b' % (space, space)
    after = b', "logit_bias":{"50256":-1E2},"user":"\\/\\u00fc \xc3\xbc", %b }\r\n' % HELLO
    request = before + json.dumps(name, ensure_ascii=False).encode() + after
    assert replace(request, "openai-gpt") == before + b'"openai-gpt"' + after


def test_a_request_for_the_same_model_leaves_as_it_came() -> None:
    request = b'{ "model" : "gpt-4o", "x": 1.0e1, %b}' % HELLO
    assert replace(request, "gpt-4o") is request


@pytest.mark.parametrize(
    "request_body",
    [
        b'{"model":"cheap","model":"old"}',
        b'{"model":"old","mod\\u0065l":"old"}',
        b'{"mod\\u0065l":"old"}',
        b'{"\\u006dodel":"old"}',
        b'{"\\u006D\\u006F\\u0064\\u0065\\u006C":"old","model":"old"}',
        b'{"tools":[{"model":"inner"}],"model":"old"}',
        b'{"model":"old","tools":[{"model":"inner"}]}',
        b'{"x":"model","model":"old"}',
        b'{"x":["model","old"],"model":"old"}',
        b'{"x":"\\"model\\":\\"old\\"","model":"old"}',
        b'{"x":"\\\\","model":"old"}',
        b'{"model":"\\u006fld"}',
        b'{"model":"o\\/d"}',
        b'{"model":"ol\\ud83d\\ude00d","x":"model"}',
        b'{"model":":old"}',
        b'{"model"  :  "old","y":"old"}',
        b'{"model":null}',
        b'{"model":"","y":""}',
    ],
)
@pytest.mark.parametrize("model", ["new", "old", "", 'qu"ote\\', "m\u00fcll"])
def test_hostile_spellings_cannot_smuggle_another_model(request_body: bytes, model: str) -> None:
    sent = replace(request_body, model)
    pairs = json.loads(sent, object_pairs_hook=lambda pairs: pairs)
    assert [value for key, value in pairs if key == "model"] == [model]
    expected = {**json.loads(request_body), "model": model}
    assert json.loads(sent) == expected


def test_a_huge_request_is_edited_in_no_time() -> None:
    request = b'{"messages":[{"role":"user","content":"%b"}],"model":"old"}' % (b"the model \\n " * 1_000_000)
    body = orjson.loads(request)
    started_s = time.process_time()
    sent = replace_model(request, body, "new")
    assert time.process_time() - started_s < 1.0
    assert sent == request.removesuffix(b'"old"}') + b'"new"}'
