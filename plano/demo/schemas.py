"""A small value that is valid against a JSON Schema: what the demo provider answers structured requests with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

MAX_DEPTH = 12
MAX_ITEMS = 1000
MAX_LENGTH = 100_000
MAX_INTEGER = 2**63 - 1

FORMATS: Mapping[str, str] = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
}

PATTERN_CANDIDATES = ("demo", "Demo", "DEMO", "1", "12", "123", "1234", "12345", "a", "A", "a1", "A1", "DE", "DEM")


class SchemaError(Exception):
    """No value could be made for this schema."""


def make_value(schema: Any, hints: Mapping[str, str] | None = None) -> Any:
    """Return a small value valid against `schema`; optional properties are left out, unless there is a hint for them.

    `hints` gives strings for string properties by name. Raises SchemaError where the schema recurs without end or
    uses a pattern that none of our examples matches, is malformed, or asks for something huge.
    """
    try:
        return _value(schema, schema, hints or {}, "", 0)
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError, RecursionError, re.error) as error:
        # Written by anyone, so wrong in any way: only what could be made of it counts, not where it broke.
        raise SchemaError("the schema is malformed") from error


def _value(schema: Any, root: Any, hints: Mapping[str, str], name: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise SchemaError("the schema recurs without end")
    if schema is True or schema == {}:
        return hints.get(name, "demo")
    if not isinstance(schema, Mapping):
        raise SchemaError("the schema allows no value")
    if "$ref" in schema:
        return _value(_resolve(schema["$ref"], root), root, hints, name, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("allOf"):
        return _value(_merge(schema, root), root, hints, name, depth + 1)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return _first_possible(schema, schema[key], root, hints, name, depth)
    return _value_of_type(schema, root, hints, name, depth)


def _first_possible(
    schema: Mapping[str, Any], options: Sequence[Any], root: Any, hints: Mapping[str, str], name: str, depth: int
) -> Any:
    outer = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf", "$defs", "definitions")}
    reason = SchemaError("the schema offers no alternative")
    for option in options:
        try:
            return _value(_merge({"allOf": [outer, option]}, root), root, hints, name, depth + 1)
        except SchemaError as error:
            reason = error
    raise reason


def _merge(schema: Mapping[str, Any], root: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    outer = {key: value for key, value in schema.items() if key != "allOf"}
    for part in (outer, *schema["allOf"]):
        resolved = _resolve(part["$ref"], root) if isinstance(part, Mapping) and "$ref" in part else part
        if not isinstance(resolved, Mapping):
            continue
        for key, value in resolved.items():
            if key == "properties":
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "required":
                merged[key] = [*merged.get(key, []), *value]
            else:
                merged[key] = value
    return merged


def _value_of_type(schema: Mapping[str, Any], root: Any, hints: Mapping[str, str], name: str, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    match kind:
        case "object":
            properties = schema.get("properties", {})
            hinted = (key for key, each in properties.items() if key in hints and each.get("type") == "string")
            wanted = dict.fromkeys((*schema.get("required", ()), *hinted))
            return {key: _value(properties.get(key, True), root, hints, key, depth + 1) for key in wanted}
        case "array":
            size = schema.get("minItems", 0)
            if size > MAX_ITEMS:
                raise SchemaError(f"the demo provider makes no array of {size} items")
            return [_value(schema.get("items", True), root, hints, name, depth + 1) for _ in range(size)]
        case "integer" | "number":
            return _number(schema, kind)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, hints.get(name, "demo"))


def _number(schema: Mapping[str, Any], kind: str) -> float | int:
    low = schema.get("minimum", -math.inf)
    if "exclusiveMinimum" in schema:
        low = max(low, math.nextafter(schema["exclusiveMinimum"], math.inf))
    high = schema.get("maximum", math.inf)
    if "exclusiveMaximum" in schema:
        high = min(high, math.nextafter(schema["exclusiveMaximum"], -math.inf))
    step = schema.get("multipleOf", 1 if kind == "integer" else None)
    # 1 reads better than 0 in an answer, and most schemas allow it.
    wanted = min(max(1, low), high)
    if step:
        wanted = math.ceil(wanted / step) * step
        if wanted > high:
            wanted = math.floor(high / step) * step
    if not low <= wanted <= high:
        raise SchemaError(f"no {kind} lies between {low} and {high}")
    if kind == "integer" and abs(wanted) > MAX_INTEGER:
        raise SchemaError("the integer has more than 64 bits")
    return int(wanted) if kind == "integer" else wanted


def _string(schema: Mapping[str, Any], wanted: str) -> str:
    if "pattern" in schema:
        for candidate in (wanted, *PATTERN_CANDIDATES):
            if re.search(schema["pattern"], candidate):
                return candidate
        raise SchemaError(f"the demo provider has no example of the pattern {schema['pattern']!r}")
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    if schema.get("minLength", 0) > MAX_LENGTH:
        raise SchemaError("the demo provider makes no string that long")
    padded = wanted.ljust(schema.get("minLength", 0), "o")
    return padded[: schema.get("maxLength", len(padded))]


def _resolve(reference: str, root: Any) -> Any:
    if not reference.startswith("#"):
        raise SchemaError(f"the reference {reference!r} leaves the schema")
    node = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if not step:
            continue
        try:
            node = node[step.replace("~1", "/").replace("~0", "~")]
        except (KeyError, TypeError) as error:
            raise SchemaError(f"the reference {reference!r} leads nowhere") from error
    return node
