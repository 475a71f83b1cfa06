"""The arguments of a call in their places: in the path, in the query, in the body (spec 6.2). Pure."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson

from plano.config.plan import TargetCallPlan
from plano.functions.visits import BadArguments, Placed

Json = dict[str, Any]

_PLACEHOLDER: Final = re.compile(r"\{([^{}/?#]+)\}")
# What a path and a query may hold as it is (RFC 3986, 3.3 and 3.4); `%` because the config may have encoded already.
_KEPT: Final = "/?%:@!$&'()*+,;=-._~"


def find_placeholders(path: str) -> list[str]:
    """The names in a path template, in order, each once."""
    return list(dict.fromkeys(_PLACEHOLDER.findall(path)))


def place(call: TargetCallPlan, arguments: Json) -> Placed:
    """Fill the path's placeholders; what is left goes into the query of a GET or, with its JSON types, into the body of
    a POST. Arguments that are None are left out. Raises BadArguments for a placeholder without a value, and for values
    that would lead to another path (`..`)."""
    rest = {name: value for name, value in arguments.items() if value is not None}
    path = _fill(call.path, rest)
    if call.method == "POST":
        return Placed(path, _encode(rest))
    pairs = [f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in _list_pairs(rest)]
    if not pairs:
        return Placed(path)
    return Placed(path + ("&" if "?" in path else "?") + "&".join(pairs))


def place_messages(call: TargetCallPlan, messages: list[Json], defaults: Json) -> Placed:
    """The call of a default target: the conversation itself is posted (spec 6.1). Raises BadArguments as `place`."""
    return Placed(_fill(call.path, dict(defaults)), _encode({"messages": messages}))


def _fill(template: str, values: Json) -> str:
    """The path with its placeholders filled; takes what it uses out of `values`."""
    used = find_placeholders(template)
    for name in used:
        if name not in values:
            raise BadArguments(f"Missing value for parameter '{name}' in the path.")
    path, mark, query = template.partition("?")
    segments = [_fill_segment(segment, values) for segment in path.split("/")]
    filled = "/".join(segments) + mark + _substitute(query, values)
    for name in used:
        del values[name]
    return filled if filled.startswith("/") else f"/{filled}"


def _fill_segment(segment: str, values: Json) -> str:
    filled = _substitute(segment, values)
    # Servers and proxies resolve dots even when they are encoded (WHATWG URL, "double-dot URL path segment").
    if filled != segment and unquote(filled) in ("", ".", ".."):
        names = " and ".join(f"'{name}'" for name in find_placeholders(segment))
        raise BadArguments(f"The value of parameter {names} cannot stand in a path.")
    return filled


def _substitute(template: str, values: Json) -> str:
    pieces = []
    position = 0
    for match in _PLACEHOLDER.finditer(template):
        pieces.append(quote(template[position : match.start()], safe=_KEPT))
        pieces.append(quote(_text_of(values[match[1]]), safe=""))
        position = match.end()
    pieces.append(quote(template[position:], safe=_KEPT))
    return "".join(pieces)


def _list_pairs(values: Json) -> list[tuple[str, str]]:
    """Names and texts of a query; a list of plain values repeats its name."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        plain = isinstance(value, list) and not any(isinstance(item, list | dict) for item in value)
        pairs += [(name, _text_of(item)) for item in (value if plain else [value])]
    return pairs


def _text_of(value: Any) -> str:
    """A value as text: texts as they are, everything else as JSON (`true`, `2.5`)."""
    return value if isinstance(value, str) else _encode(value).decode()


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise BadArguments(f"The arguments cannot be sent: {error}.") from error
