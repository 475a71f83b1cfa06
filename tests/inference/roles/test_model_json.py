"""JSON as models write it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.inference.roles.model_json import BadModelAnswer, read_object

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('Sure! Here you are:\n{"a": 1}\nAnything else?', {"a": 1}),
        ('<think>\nshould it be {"a": 2}?\n</think>\n\n{"a": 1}', {"a": 1}),
        ('it is {"a": 2}, no:</think>{"a": 1}', {"a": 1}),
        ("{'a': 'it''s'}", {"a": "it''s"}),
        ("{'a': 'the users' files', 'b': \"it's\"}", {"a": "the users' files", "b": "it's"}),
        ('{"a": [1, 2,], }', {"a": [1, 2]}),
        ("{'a': True, 'b': None, 'c': False}", {"a": True, "b": None, "c": False}),
        ("{a: 1}", {"a": 1}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ('{"a": "say "hi" to them"}', {"a": 'say "hi" to them'}),
        (r"{'a': 'it\'s \u00fc and \n'}", {"a": "it's ü and \n"}),
        ('{"a": "}]{"}', {"a": "}]{"}),
        ('{"a": "```x```"}', {"a": "```x```"}),
    ],
)
def test_what_stands_around_an_object_and_how_it_quotes_does_not_matter(text: str, value: Any) -> None:
    assert read_object(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [{"b": {"c": 1}]', {"a": [{"b": {"c": 1}}]}),
        ('{"a": [{"b": {"c": 1}]}', {"a": [{"b": {"c": 1}}]}),
        ('{"a": [{"b": {"c": 1}}', {"a": [{"b": {"c": 1}}]}),
        ('{"a": [{"b": {"c": 1}}}]}', {"a": [{"b": {"c": 1}}]}),
        ('{"a": [{"b": {}}}, {"b": {}}]}', {"a": [{"b": {}}, {"b": {}}]}),
        ('{"a": {"b": "}]"}]', {"a": {"b": "}]"}}),
        ('```json\n{"a": ["x"\n```', {"a": ["x"]}),
    ],
)
def test_brackets_are_mended_where_asked_for_without_looking_into_strings(text: str, value: Any) -> None:
    assert read_object(text, mend_brackets=True) == value
    if text.count("{") > text.count("}"):
        with pytest.raises(BadModelAnswer):
            read_object(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "no",
            "[]",
            '{"a": "b',
            '{"a": 12',
            '{"a":',
            '{"a": [1,',
            '{"a": tru',
            '{"a": yes}',
            '{"a": NaN}',
            '{"a" 1}',
        ),
        *('{"a": 1 "b": 2}', "{" * 100, '{"a":' * 5_000, '{"a": ' + "[" * 100_000),
    ],
    ids=range(15),
)
def test_what_would_have_to_be_guessed_is_refused(text: str) -> None:
    with pytest.raises(BadModelAnswer):
        read_object(text, mend_brackets=True)


def test_an_endless_answer_is_refused() -> None:
    with pytest.raises(BadModelAnswer, match="more than"):
        read_object('{"a": "' + "x" * 300_000 + '"}')


@given(objects)
def test_valid_json_is_read_as_it_is(value: dict[str, Any]) -> None:
    assert read_object(f"```json\n{json.dumps(value)}\n```") == value


@given(st.dictionaries(st.text("abc xyz'", min_size=1), st.text("abc '") | st.integers() | st.booleans() | st.none()))
def test_an_object_in_python_notation_is_read_as_it_is(value: dict[str, Any]) -> None:
    assert read_object(repr(value)) == value


@given(st.text("{}[]\"',:\\ab1-.\n `tfn<>/") | st.text())
def test_nothing_but_the_named_error_comes_out_of_any_text(text: str) -> None:
    for mend in (False, True):
        try:
            read_object("{" + text, mend_brackets=mend)
        except BadModelAnswer:
            continue
