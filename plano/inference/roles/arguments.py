"""The arguments of a call against the JSON Schema of its tool: types are coerced where that loses nothing, then all of
it is validated (enum, format, bounds, nested values)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from plano.inference.calls import BadCall, Tool

Json = dict[str, Any]

_TYPES: Final = {
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "str": "string",
    "bool": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
    "map": "object",
    "none": "null",
}
_SCHEMAS: Final = ("items", "additionalProperties", "not", "contains", "if", "then", "else", "propertyNames")
_SCHEMA_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_MAPS: Final = ("properties", "$defs", "definitions", "patternProperties")
_MAX_DEPTH: Final = 32
_MAX_MESSAGE_CHARS: Final = 200
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?")


class CheckedArguments(NamedTuple):
    """`arguments` after coercion. `missing`: required parameters without a value. `problems`: whatever else is wrong,
    in words for a log. The call may be made when both are empty."""

    arguments: Json
    missing: tuple[str, ...]
    problems: tuple[str, ...]


def check_arguments(tool: Tool, arguments: Json) -> CheckedArguments:
    """Coerce and validate `arguments`. Parameters that the schema does not declare are problems unless it says
    `additionalProperties`. Raises BadCall when the tool's `parameters` are no JSON Schema."""
    validator = _validator(tool)
    schema = _object(validator.schema)
    coerced = _coerce(arguments, schema, validator, 0)
    required = [name for name in schema.get("required", ()) if isinstance(name, str)]
    missing = tuple(name for name in required if _is_missing(coerced, name, schema))
    problems: list[str] = []
    try:
        for error in validator.iter_errors(coerced):
            path = ".".join(map(str, error.absolute_path))
            if error.validator == "required" and not path:
                continue  # listed as missing
            if path in missing:
                continue
            problems.append(f"{tool.name}: {f'argument {path!r}: ' if path else ''}{_reason(error)}")
    except (Unresolvable, re.error, RecursionError) as error:
        raise BadCall(f"the parameters of tool {tool.name!r} cannot be used: {type(error).__name__}") from None
    return CheckedArguments(coerced, missing, tuple(problems))


def check_schema(tool: Tool) -> None:
    """Raises BadCall when the tool's `parameters` are no JSON Schema."""
    _validator(tool)


def _reason(error: ValidationError | SchemaError) -> str:
    message = error.message
    return message if len(message) <= _MAX_MESSAGE_CHARS else message[: _MAX_MESSAGE_CHARS - 1] + "\u2026"


def _is_missing(arguments: Json, name: str, schema: Json) -> bool:
    """Models write "" or null for what they do not know; as a required value that is none, unless it is allowed."""
    value = arguments.get(name)
    if name not in arguments:
        return True
    parameter = _object(_object(schema.get("properties")).get(name))
    allowed = parameter.get("enum")
    if isinstance(allowed, list) and value in allowed:
        return False
    if value is None:
        return "null" not in _types(parameter)
    return isinstance(value, str) and not value.strip() and parameter.get("minLength") != 0


def _validator(tool: Tool) -> Draft202012Validator:
    try:
        key = json.dumps(tool.parameters, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise BadCall(f"the parameters of tool {tool.name!r} are not JSON") from None
    try:
        return _compiled(key)
    except SchemaError as error:
        raise BadCall(f"the parameters of tool {tool.name!r} are no JSON Schema: {_reason(error)}") from None
    except RecursionError:
        raise BadCall(f"the parameters of tool {tool.name!r} are nested too deeply") from None


@lru_cache(maxsize=256)
def _compiled(parameters: str) -> Draft202012Validator:
    schema = _normalize(json.loads(parameters), 0)
    schema["type"] = "object"
    if not {"additionalProperties", "patternProperties", "anyOf", "oneOf", "allOf", "$ref"} & schema.keys():
        schema["additionalProperties"] = False
    Draft202012Validator.check_schema(schema)
    # An explicit registry: references to other documents are refused rather than fetched.
    registry: Registry[Any] = Registry()
    return Draft202012Validator(schema, registry=registry, format_checker=FormatChecker())


def _normalize(schema: Json, depth: int) -> Json:
    """A copy with the types of Python by their JSON names, and without `required: true` inside a parameter."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    normal = dict(schema)
    if isinstance(kind := normal.get("type"), str):
        normal["type"] = _type_name(kind)
    elif isinstance(kind, list):
        normal["type"] = [_type_name(item) if isinstance(item, str) else item for item in kind]
    if isinstance(normal.get("required"), bool):
        del normal["required"]
    if normal.get("enum") is None:
        normal.pop("enum", None)
    for name in _SCHEMAS:
        if isinstance(normal.get(name), dict):
            normal[name] = _normalize(normal[name], depth + 1)
    for name in _SCHEMA_LISTS:
        if isinstance(normal.get(name), list):
            normal[name] = [_normalize(item, depth + 1) if isinstance(item, dict) else item for item in normal[name]]
    for name in _SCHEMA_MAPS:
        if isinstance(normal.get(name), dict):
            normal[name] = {
                key: _normalize(item, depth + 1) if isinstance(item, dict) else item
                for key, item in normal[name].items()
            }
    return normal


def _type_name(name: str) -> str:
    lower = name.strip().lower()
    return _TYPES.get(lower, lower)


def _coerce(value: Any, schema: Any, validator: Draft202012Validator, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return value
    if isinstance(reference := schema.get("$ref"), str):
        return _coerce(value, _referenced(reference, validator.schema), validator, depth + 1)
    for branches in (schema.get("anyOf"), schema.get("oneOf")):
        if isinstance(branches, list) and not _fits(value, {"anyOf": branches}, validator):
            value = _coerce_to_one(value, branches, validator, depth)
    value = _to_type(value, schema, validator)
    value = _to_enum(value, schema.get("enum"))
    if isinstance(value, dict):
        return _coerce_members(value, schema, validator, depth)
    if isinstance(value, list):
        return [_coerce(item, schema.get("items"), validator, depth + 1) for item in value]
    return value


def _coerce_to_one(value: Any, branches: Sequence[Any], validator: Draft202012Validator, depth: int) -> Any:
    """What exactly one of `branches` makes of a value that fits none of them, else the value."""
    found: list[Any] = []
    for branch in branches:
        coerced = _coerce(value, branch, validator, depth + 1)
        if _fits(coerced, branch, validator) and coerced not in found:
            found.append(coerced)
    return found[0] if len(found) == 1 else value


def _coerce_members(value: Json, schema: Json, validator: Draft202012Validator, depth: int) -> Json:
    properties = _object(schema.get("properties"))
    required = schema.get("required")
    members: Json = {}
    for name, member in value.items():
        declared = properties.get(name)
        coerced = _coerce(member, declared, validator, depth + 1)
        if (
            coerced is None
            and isinstance(declared, dict)
            and not (isinstance(required, list) and name in required)
            and not _fits(None, declared, validator)
        ):
            continue  # "not given", in a model's words
        members[name] = coerced
    return members


def _to_type(value: Any, schema: Json, validator: Draft202012Validator) -> Any:
    types = _types(schema)
    if not types:
        return value
    if any(validator.is_type(value, name) for name in types):
        integral = isinstance(value, float) and value.is_integer() and "integer" in types and "number" not in types
        return int(value) if integral else value
    for name in types:
        converted = _converted(value, name, schema, validator)
        if converted is not None:
            return converted
    return value


def _converted(value: Any, name: str, schema: Json, validator: Draft202012Validator) -> Any:
    """`value` as the type `name`, None where that cannot be done without loss."""
    if isinstance(value, str):
        text = value.strip()
        if name == "integer" and _INTEGER.fullmatch(text):
            return int(text)
        if name == "number" and _NUMBER.fullmatch(text):
            return int(text) if _INTEGER.fullmatch(text) else _finite(float(text))
        if name == "boolean" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if name in ("array", "object") and text[:1] in ("[", "{"):
            return _parsed(text, list if name == "array" else dict)
    if name == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    if name == "array" and value is not None and not isinstance(value, list | dict):
        item = _coerce(value, schema.get("items"), validator, 1)
        if isinstance(schema.get("items"), dict) and _fits(item, schema["items"], validator):
            return [item]
    return None


def _to_enum(value: Any, allowed: Any) -> Any:
    """The one member that differs from a text only in case, `_`, `-` or white space; else the value."""
    if not isinstance(value, str) or not isinstance(allowed, list) or value in allowed:
        return value
    folded = _folded(value)
    alike = [item for item in allowed if isinstance(item, str) and _folded(item) == folded]
    return alike[0] if len(alike) == 1 else value


def _folded(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text).strip().casefold()


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _parsed(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kind) else None


def _fits(value: Any, schema: Any, validator: Draft202012Validator) -> bool:
    return not isinstance(schema, dict) or bool(validator.evolve(schema=schema).is_valid(value))


def _types(schema: Json) -> list[str]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind]
    return [name for name in kind if isinstance(name, str)] if isinstance(kind, list) else []


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _referenced(reference: str, root: Any) -> Any:
    """The part of `root` that a reference within the document leads to, None when there is none."""
    if not reference.startswith("#"):
        return None
    for part in reference[1:].strip("/").split("/"):
        if part:
            root = _object(root).get(part.replace("~1", "/").replace("~0", "~"))
    return root
