"""Whatever stands in a file, loading answers with a configuration or a ConfigError."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plano.config.compiling import compile_plan
from plano.config.loading import parse
from plano.config.problems import ConfigError
from plano.config.schema import json_schema
from plano.config.settings import load_settings
from tests.config import examples

SCHEMA = json_schema()
KEYS = sorted({key for body in [SCHEMA, *SCHEMA["$defs"].values()] for key in body.get("properties", {})})
WORDS = [
    "v0.4.0",
    "v0.3.0",
    "model",
    "agent",
    "openai/gpt-4o",
    "groq/*",
    "*/",
    "/",
    "5s",
    "$X",
    "http://h",
    "http://[",
    "a\n",
]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(WORDS), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
SETTINGS = load_settings()
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _try(text: str) -> None:
    try:
        loaded = parse(text, {"X": "x"})
        compile_plan(loaded.config, SETTINGS)
    except ConfigError as error:
        told = str(error)
    else:
        return
    assert told


@given(VALUES)
@QUICK
def test_arbitrary_values(value: Any) -> None:
    _try(yaml.safe_dump(value))


@given(st.text())
@QUICK
def test_arbitrary_text(text: str) -> None:
    _try(text)


@given(st.text(alphabet="ab:-[]{}&*!<>|?%@'\"#\n \t,.$1"))
@QUICK
def test_arbitrary_yaml_punctuation(text: str) -> None:
    _try(text)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in _places(item, (*path, key)))]


FULL = yaml.safe_load(examples.EVERYTHING)
PLACES = _places(FULL)[1:]


@given(st.sampled_from(PLACES), VALUES)
@QUICK
def test_a_good_file_with_one_value_replaced(place: tuple[Any, ...], value: Any) -> None:
    data = copy.deepcopy(FULL)
    inner = data
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    _try(yaml.safe_dump(data))
