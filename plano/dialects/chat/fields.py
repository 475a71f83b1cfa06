"""Typed reading of the chat dialect's JSON: the value of a field, None when it is absent or null, BadRequest when it
has another type. `path` is where the object stands in the request (`messages[2]`), "" for the request itself."""

from __future__ import annotations

from typing import Any

from plano.dialects.conversation import BadRequest, Json


def join_path(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def read_string(value: Json, key: str, path: str = "") -> str | None:
    found = value.get(key)
    if found is not None and type(found) is not str:
        raise _wrong(path, key, "a string")
    return found


def read_boolean(value: Json, key: str, path: str = "") -> bool | None:
    found = value.get(key)
    if found is not None and type(found) is not bool:
        raise _wrong(path, key, "true or false")
    return found


def read_integer(value: Json, key: str, path: str = "") -> int | None:
    found = value.get(key)
    if found is not None and type(found) is not int:
        raise _wrong(path, key, "an integer")
    return found


def read_number(value: Json, key: str, path: str = "") -> float | None:
    found = value.get(key)
    if found is None:
        return None
    if type(found) is int or type(found) is float:
        number: float = found
        return number
    raise _wrong(path, key, "a number")


def read_object(value: Json, key: str, path: str = "") -> Json | None:
    found = value.get(key)
    if found is not None and type(found) is not dict:
        raise _wrong(path, key, "an object")
    return found


def read_array(value: Json, key: str, path: str = "") -> list[Any] | None:
    found = value.get(key)
    if found is not None and type(found) is not list:
        raise _wrong(path, key, "an array")
    return found


def require_string(value: Json, key: str, path: str = "") -> str:
    found = read_string(value, key, path)
    if found is None:
        raise _missing(path, key)
    return found


def require_object(value: Json, key: str, path: str = "") -> Json:
    found = read_object(value, key, path)
    if found is None:
        raise _missing(path, key)
    return found


def require_element(value: Any, path: str) -> Json:
    """An element of an array that has to be an object."""
    if type(value) is not dict:
        raise BadRequest(f"'{path}' must be an object.", path)
    element: Json = value
    return element


def _wrong(path: str, key: str, what: str) -> BadRequest:
    place = join_path(path, key)
    return BadRequest(f"'{place}' must be {what}.", place)


def _missing(path: str, key: str) -> BadRequest:
    place = join_path(path, key)
    return BadRequest(f"'{place}' is missing.", place)
