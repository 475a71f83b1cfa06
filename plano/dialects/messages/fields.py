"""Typed reading of the fields of a messages request: a wrong type is a BadRequest that names the field.

`null` counts as absent everywhere: the API reference marks most fields as optional, and SDKs send what they received.
"""

from __future__ import annotations

from typing import Any

from plano.dialects.conversation import BadRequest, Json


def path_of(path: str, key: str) -> str:
    """The path of the field `key` inside `path` ("" is the body)."""
    return f"{path}.{key}" if path else key


def read_string(source: Json, key: str, path: str = "") -> str | None:
    value = source.get(key)
    if value is None or type(value) is str:
        return value
    raise _wrong(path, key, "a string")


def need_string(source: Json, key: str, path: str = "") -> str:
    value = read_string(source, key, path)
    if value is None:
        raise _missing(path, key)
    return value


def read_integer(source: Json, key: str, path: str = "", *, least: int = 0) -> int | None:
    value = source.get(key)
    if value is None:
        return None
    if type(value) is not int:
        raise _wrong(path, key, "an integer")
    if value < least:
        raise _wrong(path, key, f"at least {least}")
    return value


def read_number(source: Json, key: str, path: str = "") -> float | None:
    value = source.get(key)
    if value is None:
        return None
    if type(value) is not int and type(value) is not float:
        raise _wrong(path, key, "a number")
    try:
        return float(value)
    except OverflowError:
        raise _wrong(path, key, "a smaller number") from None


def read_flag(source: Json, key: str, path: str = "") -> bool | None:
    value = source.get(key)
    if value is None or type(value) is bool:
        return value
    raise _wrong(path, key, "true or false")


def read_object(source: Json, key: str, path: str = "") -> Json | None:
    value = source.get(key)
    if value is None or type(value) is dict:
        return value
    raise _wrong(path, key, "an object")


def need_object(source: Json, key: str, path: str = "") -> Json:
    value = read_object(source, key, path)
    if value is None:
        raise _missing(path, key)
    return value


def read_list(source: Json, key: str, path: str = "") -> list[Any] | None:
    value = source.get(key)
    if value is None or type(value) is list:
        return value
    raise _wrong(path, key, "an array")


def read_objects(source: Json, key: str, path: str = "") -> list[Json]:
    """The objects of an array; [] when it is absent."""
    values = read_list(source, key, path) or []
    for index, value in enumerate(values):
        if type(value) is not dict:
            raise _wrong(path, f"{key}[{index}]", "an object")
    return values


def read_strings(source: Json, key: str, path: str = "") -> list[str]:
    """The strings of an array; [] when it is absent."""
    values = read_list(source, key, path) or []
    for index, value in enumerate(values):
        if type(value) is not str:
            raise _wrong(path, f"{key}[{index}]", "a string")
    return values


def keep_rest(source: Json, known: frozenset[str], path: str, extra: Json) -> None:
    """Put the fields of `source` that are not `known` into `extra`, under their whole path."""
    for key, value in source.items():
        if key not in known and value is not None:
            extra[path_of(path, key)] = value


def _missing(path: str, key: str) -> BadRequest:
    name = path_of(path, key)
    return BadRequest(f"'{name}' is missing.", name)


def _wrong(path: str, key: str, what: str) -> BadRequest:
    name = path_of(path, key)
    return BadRequest(f"'{name}' must be {what}.", name)
