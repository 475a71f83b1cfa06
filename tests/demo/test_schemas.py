"""Values made for JSON Schemas are valid against them."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.demo.schemas import SchemaError, make_value

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["name", "left"],
        }
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        TREE,
        {"type": ["null", "integer"], "exclusiveMinimum": 3, "multipleOf": 5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        {"type": "integer", "maximum": -4},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
        {"type": "array", "items": {"const": "x"}},
        {"type": "string", "minLength": 9},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "pattern": "^[A-Z]{3}$"},
        {"type": "null"},
        {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {
            "allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"required": ["b"]}],
            "type": "object",
        },
        {"oneOf": [{"type": "string", "pattern": "^no example of this$"}, {"type": "integer"}]},
    ],
)
def test_the_value_is_valid(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(make_value(schema))


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "https://example.com/schema"},
        {
            "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}},
            "$ref": "#/$defs/n",
        },
        {"type": "string", "pattern": "^no example of this$"},
        {"type": "integer", "minimum": 4, "maximum": 3},
        {"type": "integer", "minimum": 2**70},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "minItems": "many"},
        {"type": "object", "required": 5},
        {"type": "string", "pattern": "("},
    ],
)
def test_what_cannot_be_made_is_said(schema: Any) -> None:
    with pytest.raises(SchemaError):
        make_value(schema)


def test_hints_fill_properties_by_name() -> None:
    text = {"type": "string", "description": "of something"}
    schema = {"type": "object", "properties": {"city": text, "land": text, "x": text}, "required": ["city"]}
    assert make_value(schema, {"city": "Oslo", "land": "Norway"}) == {"city": "Oslo", "land": "Norway"}
    assert make_value(schema) == {"city": "demo"}


LEAVES = st.one_of(
    st.builds(lambda low: {"type": "integer", "minimum": low}, st.integers(-1000, 1000)),
    st.builds(lambda size: {"type": "string", "minLength": size, "maxLength": size + 3}, st.integers(0, 20)),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"enum": ["a", 1, None]}, {"type": "number"}]),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda items, size: {"type": "array", "items": items, "minItems": size}, inner, st.integers(0, 2)),
        st.builds(
            lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)},
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        ),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=8,
)


@given(SCHEMAS)
def test_any_ordinary_schema_has_a_valid_value(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(schema).validate(make_value(schema))
