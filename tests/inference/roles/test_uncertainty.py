"""Whether a required value was guessed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.inference.calls import Tool
from plano.inference.roles.function import PREFILL
from plano.inference.roles.uncertainty import JsonPosition, UncertaintyGate, entropy_bits, varentropy

SURE = [-1e-6, -14.0, -15.0]
TORN = [-0.7, -0.9, -3.0]  # H 1.20 bits, V 0.22
FLAT = [-0.1, -2.0, -3.0]  # H 0.74 bits, V 1.58

WEATHER = Tool(
    "get_weather",
    "",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "days": {"type": "integer"},
            "tags": {"type": "array"},
        },
        "required": ["city", "unit", "tags"],
    },
)


@pytest.mark.parametrize(
    ("logprobs", "entropy", "variance"),
    [
        ([-0.1, -2.0, -3.0], 0.736518, 1.584531),
        ([0.0], 0.0, 0.0),
        ([0.0, float("-inf")], 0.0, 0.0),
        ([-1e-6, -14.0, -15.0], 2.5e-5, 4.8e-4),
        ([-1e-5, -12.0, -13.0], 1.6e-4, 2.6e-3),
    ],
)
def test_the_formulas_give_the_known_figures(logprobs: list[float], entropy: float, variance: float) -> None:
    assert entropy_bits(logprobs) == pytest.approx(entropy, rel=0.02)
    assert varentropy(logprobs) == pytest.approx(variance, rel=0.02)


def gate_after(
    tokens: Sequence[str], flat: Sequence[str], entropy: float = 0.35, varentropy: float = 1.2
) -> UncertaintyGate:
    gate = UncertaintyGate([WEATHER], entropy, varentropy)
    gate.feed(PREFILL, None)
    for token in tokens:
        gate.feed(token, FLAT if token in flat else SURE)
    return gate


CALL = ["tool", "_calls", '":', ' [{"', "name", '":', ' "', "get", "_weather", '",', ' "', "arguments", '":', ' {"']


@pytest.mark.parametrize(
    ("tokens", "flat", "uncertain"),
    [
        ([*CALL, "city", '":', ' "', "Par", "is", '"}}', "]}"], ["Par"], ["city"]),
        ([*CALL, "city", '":', ' "Par', "is", '"}}', "]}"], [' "Par'], ["city"]),
        ([*CALL, "city", '":"', "Par", "is", '"}}]}'], ["Par"], ["city"]),
        ([*CALL, "city", '":', ' "', "Par", "is", '"}}', "]}"], ["is", "city", ' {"', '":'], []),
        ([*CALL, "unit", '":', ' "', "C", '"}}', "]}"], ["C"], []),
        ([*CALL, "days", '":', " ", "3", "}}", "]}"], ["3"], []),
        ([*CALL, "city", '":', ' "', '"}}', "]}"], ['"}}'], ["city"]),
        ([*CALL, "tags", '":', ' ["', "rain", '"]}}', "]}"], ["rain"], ["tags"]),
        ([*CALL, "tags", '":', ' ["', "rain", '",', ' "', "sun", '"]}}', "]}"], ["sun"], []),
        ([*CALL, "days", '":', " 3", ', "', "city", '": "', "Par", '"}}', "]}"], ["Par"], ["city"]),
    ],
)
def test_the_first_token_of_a_required_free_value_decides(
    tokens: list[str], flat: list[str], uncertain: list[str]
) -> None:
    gate = gate_after(tokens, flat)
    assert gate.uncertain == [("get_weather", name) for name in uncertain]
    assert gate.flagged == bool(uncertain)


def test_both_thresholds_have_to_be_exceeded() -> None:
    tokens = [*CALL, "city", '":', ' "', "Par", "is", '"}}', "]}"]
    assert not gate_after(tokens, ["Par"], entropy=0.8).flagged
    assert not gate_after(tokens, ["Par"], varentropy=1.6).flagged


def test_a_second_call_is_judged_like_the_first() -> None:
    second = ['"}},', ' {"name": "get_weather", "arguments": {"', "city", '": "', "Rome", '"}}]}']
    assert gate_after([*CALL, "city", '": "', "Paris", *second], ["Rome"]).flagged
    assert not gate_after([*CALL, "city", '": "', "Paris", *second], []).flagged


def test_arguments_before_the_name_are_judged_once_the_name_is_known() -> None:
    gate = UncertaintyGate([WEATHER], 0.35, 1.2)
    for token in ('{"tool_calls": [{"arguments": {"city": "', "Paris", '"}, "name": "'):
        assert not gate.feed(token, FLAT if token == "Paris" else SURE)
    assert gate.feed('get_weather"}]}', SURE)


def test_words_that_look_like_a_call_inside_a_text_are_no_call() -> None:
    gate = UncertaintyGate([WEATHER], 0.35, 1.2)
    text = json.dumps({"response": '{"tool_calls": [{"name": "get_weather", "arguments": {"city": "x"}}]}'})
    for char in text:
        gate.feed(char, FLAT)
    assert not gate.flagged


def test_a_call_in_single_quotes_between_tags_is_followed_past_apostrophes() -> None:
    gate = UncertaintyGate([WEATHER], 0.35, 1.2)
    for char in "<tool_call>\n{'name': 'get_weather', 'arguments': {'days': 'it's 3', 'city': '":
        gate.feed(char, SURE)
    assert gate.feed("L'Aquila", FLAT)


def leaves(value: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [path]


members = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), members, min_size=1), st.booleans(), st.sampled_from([None, 2]))
def test_every_value_of_any_json_begins_once_and_in_its_place(
    value: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    begun: list[tuple[str | int, ...]] = []
    position = JsonPosition(begun.append, lambda path, text: None)
    for char in json.dumps(value, ensure_ascii=ascii_only, indent=indent):
        position.advance(char)
    assert begun == [path for path in leaves(value, (0,)) if len(path) > 1]


@given(st.text("{}[]\"',:\\au1 \n") | st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    gate = UncertaintyGate([WEATHER], 0.35, 1.2)
    gate.feed("{" + text, FLAT)
