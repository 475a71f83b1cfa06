"""Pydantic's validation errors in the words of the file: path, line, what is wrong, what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from plano.config.document import Document
from plano.config.problems import Path, Problem, suggest
from plano.config.schema.file import TAGGED_DEPTHS, json_schema

_QUOTED = re.compile(r"'([^']*)'")

_MESSAGES = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "string_too_short": "must not be empty",
    "string_unicode": "holds characters that are not valid text",
    "missing": "is required",
    "extra_forbidden": "unknown key",
}


def explain(error: ValidationError, document: Document) -> list[Problem]:
    """Problems for every error of a validation of `document.data`, in the order of the file.

    Errors at a value whose variable is not set are left out: the variable is the problem there.
    """
    found: dict[Path, Problem] = {}
    for details in error.errors(include_url=False):
        path = _locate(details, document.data)
        hidden = path in document.unset and details["type"] != "extra_forbidden"
        if not hidden and path not in found:
            message, hint = _word(details, path, document)
            found[path] = document.problem(path, message, hint)
    return list(found.values())


def _locate(details: ErrorDetails, data: Any) -> Path:
    """The path in the file: pydantic's location without the steps that are not there (names of union members)."""
    location = list(details["loc"])
    depth = TAGGED_DEPTHS.get(str(location[0])) if location else None
    if depth is not None and len(location) > depth:
        del location[depth]
    path: list[str | int] = []
    for position, step in enumerate(location):
        is_there = step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int)
        if is_there:
            data = data[step]
        elif not (details["type"] == "missing" and position == len(location) - 1):
            continue
        path.append(step)
    return tuple(path)


def _word(details: ErrorDetails, path: Path, document: Document) -> tuple[str, str | None]:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    shown = value if isinstance(value, str) and path not in document.filled else None
    match kind:
        case "extra_forbidden":
            key = str(path[-1]) if path else ""
            return _MESSAGES[kind], suggest(key, _keys_at(path[:-1]))
        case "literal_error":
            return _offer(context["expected"], shown)
        case "union_tag_invalid":
            tag = str(context["tag"]) if (*path, "type") not in document.filled else None
            message, hint = _offer(context["expected_tags"], tag)
            return f"`type` {message}", hint
        case "union_tag_not_found":
            return "`type` is required", None
        case "greater_than_equal":
            return f"must be at least {context['ge']}", None
        case "greater_than":
            return f"must be more than {context['gt']}", None
        case "less_than_equal":
            return f"must be at most {context['le']}", None
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}", None
        case "too_short":
            return f"needs at least {context['min_length']} entries", None
        case "value_error":
            return str(context["error"]), None
        case "string_type" if isinstance(value, int | float):
            return _MESSAGES[kind], "put it in quotes"
        case _:
            return _MESSAGES.get(kind, "is not valid"), None


def _offer(expected: str, shown: str | None) -> tuple[str, str | None]:
    choices = _QUOTED.findall(expected)
    return f"must be one of {', '.join(choices)}", suggest(shown, choices) if shown else None


def _keys_at(path: Path) -> set[str]:
    """The keys that may stand at a path, by the JSON Schema."""
    root = json_schema()
    schemas = list(_alternatives(root, root))
    for step in path:
        inner: list[dict[str, Any]] = []
        for schema in schemas:
            child = schema.get("items") if isinstance(step, int) else schema.get("properties", {}).get(step)
            if child is None and isinstance(step, str):
                child = schema.get("additionalProperties")
            if isinstance(child, dict):
                inner.extend(_alternatives(child, root))
        schemas = inner
    return {key for schema in schemas for key in schema.get("properties", {})}


def _alternatives(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema without references and unions: each thing that it may be."""
    if "$ref" in schema:
        yield from _alternatives(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
        return
    for union in ("anyOf", "oneOf"):
        for member in schema.get(union, ()):
            yield from _alternatives(member, root)
    yield dict(schema)
