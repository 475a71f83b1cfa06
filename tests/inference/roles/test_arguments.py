"""Arguments against their tool's schema: coercion without loss, then validation."""

from __future__ import annotations

from typing import Any

import pytest

from plano.inference.calls import BadCall, Tool
from plano.inference.roles.arguments import check_arguments, check_schema


def checked(schema: Any, value: Any) -> tuple[Any, tuple[str, ...]]:
    """What becomes of one argument `x`, and what is wrong with it."""
    tool = Tool("t", "", {"type": "object", "properties": {"x": schema}})
    result = check_arguments(tool, {"x": value})
    return result.arguments.get("x", "(dropped)"), result.problems


@pytest.mark.parametrize(
    ("schema", "value", "coerced"),
    [
        ({"type": "integer"}, "42", 42),
        ({"type": "integer"}, " -7 ", -7),
        ({"type": "integer"}, 3.0, 3),
        ({"type": "int"}, "42", 42),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "float"}, "2", 2),
        ({"type": "number"}, 2, 2),
        ({"type": "boolean"}, "True", True),
        ({"type": "bool"}, "false", False),
        ({"type": "string"}, 94107, "94107"),
        ({"type": "str"}, 1.5, "1.5"),
        ({"type": "array", "items": {"type": "string"}}, "milk", ["milk"]),
        ({"type": "list", "items": {"type": "int"}}, "[1, 2]", [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, ["1", 2], [1, 2]),
        ({"type": "array", "items": {"type": "integer"}}, "3", [3]),
        ({"type": "dict", "properties": {"n": {"type": "integer"}}}, '{"n": "1"}', {"n": 1}),
        ({"type": "object", "properties": {"n": {"type": "integer"}}}, {"n": "1"}, {"n": 1}),
        ({"type": ["integer", "null"]}, "5", 5),
        ({"type": ["integer", "null"]}, None, None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5", 5),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "5", "5"),
        ({"type": "string", "enum": ["celsius", "fahrenheit"]}, "Celsius", "celsius"),
        ({"type": "string", "enum": ["next_day", "standard"]}, "next day", "next_day"),
        ({"type": "string"}, None, "(dropped)"),
        ({"type": "integer", "required": True, "format": "days"}, "3", 3),
        ({}, {"anything": [1]}, {"anything": [1]}),
    ],
)
def test_a_type_is_coerced_where_nothing_is_lost(schema: Any, value: Any, coerced: Any) -> None:
    result, problems = checked(schema, value)
    assert problems == ()
    assert result == coerced
    assert type(result) is type(coerced)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, "3.5"),
        ({"type": "integer"}, 3.5),
        ({"type": "integer"}, "three"),
        ({"type": "integer"}, True),
        ({"type": "number"}, "1e999"),
        ({"type": "number"}, "nan"),
        ({"type": "boolean"}, 1),
        ({"type": "boolean"}, "yes"),
        ({"type": "string"}, True),
        ({"type": "string"}, ["a"]),
        ({"type": "array", "items": {"type": "integer"}}, "milk"),
        ({"type": "array"}, "milk"),
        ({"type": "object"}, "x"),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, "x"),
        ({"type": "string", "enum": ["a b", "a_b"]}, "A-B"),
        ({"type": "string", "enum": ["a"]}, "b"),
        ({"type": "string", "format": "date"}, "tomorrow"),
        ({"type": "string", "format": "email"}, "nobody"),
        ({"type": "integer", "minimum": 1}, "0"),
        ({"type": "object", "properties": {"n": {"type": "object", "required": ["m"]}}}, {"n": {}}),
        ({"type": "array", "items": {"type": "object", "required": ["m"]}}, [{}]),
    ],
)
def test_what_does_not_fit_is_a_problem(schema: Any, value: Any) -> None:
    result, problems = checked(schema, value)
    assert len(problems) == 1
    assert problems[0].startswith("t: argument 'x")
    assert result == value or isinstance(value, str)


BOOKING = Tool(
    "book",
    "",
    {
        "properties": {"city": {"type": "str"}, "nights": {"type": "int"}, "note": {"type": "str", "minLength": 0}},
        "required": ["city", "nights", "note"],
    },
)


def test_required_parameters_without_a_value_are_missing_not_wrong() -> None:
    assert check_arguments(BOOKING, {}).missing == ("city", "nights", "note")
    result = check_arguments(BOOKING, {"city": " ", "nights": None, "note": ""})
    assert result.missing == ("city", "nights")
    assert result.problems == ()


def test_an_undeclared_argument_is_a_problem_unless_the_schema_allows_it() -> None:
    arguments = {"city": "Rome", "nights": 2, "note": "", "view": "sea"}
    assert "view" in check_arguments(BOOKING, arguments).problems[0]
    open_ = Tool("book", "", {**BOOKING.parameters, "additionalProperties": True})
    assert check_arguments(open_, arguments).problems == ()


def test_references_within_the_schema_are_followed_and_to_other_documents_never() -> None:
    schema = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/point"}},
        "$defs": {"point": {"type": "object", "properties": {"x": {"type": "number"}}}},
    }
    assert check_arguments(Tool("t", "", schema), {"at": {"x": "1"}}).arguments == {"at": {"x": 1}}
    away = {"type": "object", "properties": {"at": {"$ref": "http://127.0.0.1:1/schema.json"}}}
    with pytest.raises(BadCall, match="cannot be used"):
        check_arguments(Tool("t", "", away), {"at": 1})
    endless = {"type": "object", "properties": {"at": {"$ref": "#/properties/at"}}}
    with pytest.raises(BadCall, match="cannot be used"):
        check_arguments(Tool("t", "", endless), {"at": 1})


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"x": {"type": "banana"}}},
        {"type": "object", "properties": ["x"]},
        {"type": "object", "required": "x"},
        {"x": {1, 2}},
    ],
)
def test_parameters_that_are_no_schema_are_refused_by_name(parameters: Any) -> None:
    with pytest.raises(BadCall, match="'t'"):
        check_schema(Tool("t", "", parameters))
