"""JSON Schemas in the subset that the messages API enforces. No I/O.

Source: Anthropic documentation, "Structured outputs", section "JSON Schema limitations". Two things that other dialects
allow have to be said otherwise, as Anthropic's own SDKs do: objects must be closed, and limits that the API cannot
enforce (a minimum, a length) are told to the model in the description instead of being refused.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from plano.dialects.conversation import Json, Untranslatable

# Deeper ones could not be written as JSON again.
_MAX_DEPTH: Final = 100
_FORMATS: Final = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_LIMITS: Final = frozenset(
    (
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    )
)
_SCALARS: Final = (str, int, float, bool)
_MAPS: Final = frozenset(("properties", "$defs", "definitions"))


def close_schema(schema: Json, path: str) -> Json | None:
    """`schema` as the API takes it; the schema itself is left alone. None when it has an object whose fields are not
    listed, which no closed schema can say. Raises Untranslatable, naming `path`, for one that is nested too deeply."""
    closer = _Closer(path)
    closed = closer.close(schema, 0)
    return None if closer.is_open else closed


class _Closer:
    def __init__(self, path: str) -> None:
        self._path = path
        self.is_open = False

    def close(self, schema: Json, depth: int) -> Json:
        if depth > _MAX_DEPTH:
            raise Untranslatable("The JSON Schema is nested too deeply.", self._path)
        closed: Json = {}
        told: Json = {}
        for key, value in schema.items():
            if type(value) in _SCALARS and (
                key in _LIMITS
                or (key == "format" and value not in _FORMATS)
                or (key == "minItems" and value not in (0, 1))
            ):
                told[key] = value
            elif key in ("anyOf", "oneOf", "allOf"):
                closed["anyOf" if key == "oneOf" else key] = self._close_list(value, depth)
            elif key in _MAPS and type(value) is dict:
                closed[key] = {name: self._close_any(inner, depth) for name, inner in value.items()}
            elif key == "items":
                closed[key] = self._close_any(value, depth)
            else:
                closed[key] = value
        if closed.get("type") == "object" or "properties" in closed:
            others = closed.get("additionalProperties")
            if type(others) is dict or (others is not False and not closed.get("properties")):
                self.is_open = True
            closed["additionalProperties"] = False
        if told:
            about = orjson.dumps(told).decode()
            description = closed.get("description")
            closed["description"] = f"{description}\n\n{about}" if type(description) is str else about
        return closed

    def _close_any(self, schema: Any, depth: int) -> Any:
        return self.close(schema, depth + 1) if type(schema) is dict else schema

    def _close_list(self, schemas: Any, depth: int) -> Any:
        if type(schemas) is not list:
            return schemas
        return [self._close_any(schema, depth) for schema in schemas]
