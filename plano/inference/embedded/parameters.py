"""What a tool's parameter wants, read off its JSON Schema, its name and its description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from plano.inference.calls import Tool
from plano.inference.embedded.spans import CANONICAL, UNITS
from plano.inference.embedded.vocabulary import content_stems, stem, words_of

Json = dict[str, Any]


class Want(StrEnum):
    ENUM = "enum"
    NUMBER = "number"
    NUMBERS = "numbers"
    BOOLEAN = "boolean"
    DATE = "date"
    TIME = "time"  # of a day, as HH:MM
    EMAIL = "email"
    URL = "url"
    PLACE = "place"
    IDENTIFIER = "identifier"
    TICKER = "ticker"
    TEXT = "text"  # free text: nothing but a quotation is certain enough
    OTHER = "other"  # objects, lists of texts: never filled


_EMAIL: Final = {"email", "mail"}
_URL: Final = {"url", "uri", "link", "website", "webpage", "domain", "host", "hostname"}
_PLACE: Final = {"city", "town", "location", "place", "country", "origin", "destination", "state", "station", "airport"}
_IDENTIFIER: Final = {"id", "identifier", "number", "code", "reference", "sku", "digit", "serial", "zip", "zipcode"}
_TICKER: Final = {"ticker", "symbol"}
_FROM: Final = {"from", "origin", "source", "start", "departure", "begin", "in", "first"}
_TO: Final = {"to", "destination", "target", "end", "arrival", "out", "return", "last"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """`names` are the stems of its name, `about` of its description. `units` are canonical names of the units it
    speaks of. `side`: "from" or "to" for one of a pair of the same kind."""

    name: str
    want: Want
    required: bool
    whole: bool
    members: tuple[Any, ...]
    names: frozenset[str]
    about: frozenset[str]
    units: frozenset[str]
    description: str
    format: str
    side: str

    @property
    def dimensions(self) -> set[str]:
        return {UNITS[unit][0] for unit in self.units}


def read_parameters(tool: Tool) -> tuple[Parameter, ...]:
    """The parameters of a tool, in their order."""
    try:
        return _read_schema(json.dumps(tool.parameters))
    except (TypeError, ValueError, RecursionError):
        return ()  # no JSON: whoever validates the arguments says so


@lru_cache(maxsize=1_024)
def _read_schema(parameters: str) -> tuple[Parameter, ...]:
    schema = json.loads(parameters)
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return ()
    wanted = (
        frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()
    )
    return tuple(
        _read(name, part if isinstance(part, dict) else {}, name in wanted) for name, part in properties.items()
    )


def _read(name: str, schema: Json, required: bool) -> Parameter:
    description = schema.get("description")
    description = description if isinstance(description, str) else ""
    parts = words_of(name)
    names = frozenset(map(stem, parts))
    members = schema.get("enum")
    members = tuple(members) if isinstance(members, list) else ()
    kind = _type(schema)
    side = "from" if _FROM & set(parts) else "to" if _TO & set(parts) else ""
    return Parameter(
        name,
        _want(kind, schema, names, description, members),
        required,
        kind == "integer",
        members,
        names,
        frozenset(content_stems(description)),
        frozenset(_units(f"{name.replace('_', ' ')} {description}")),
        description,
        str(schema.get("format") or ""),
        side,
    )


def _want(kind: str, schema: Json, names: frozenset[str], description: str, members: tuple[Any, ...]) -> Want:
    if members:
        return Want.ENUM if all(isinstance(member, str) for member in members) and kind != "array" else Want.OTHER
    if kind in ("integer", "number"):
        return Want.NUMBER
    if kind == "boolean":
        return Want.BOOLEAN
    if kind == "array":
        items = schema.get("items")
        return Want.NUMBERS if isinstance(items, dict) and _type(items) in ("integer", "number") else Want.OTHER
    if kind != "string":
        return Want.OTHER
    about = description.lower()
    form = str(schema.get("format") or "")
    if form == "email" or names & _EMAIL or re.search(r"\be-?mail address", about):
        return Want.EMAIL
    if form in ("uri", "url") or names & _URL:
        return Want.URL
    if form == "date" or "date" in names or re.search(r"\bdate\b|y{4}[-/]m|m[-/]d", about):
        return Want.DATE
    if form == "time" or re.search(r"\bhh:mm\b(?!:)", about):
        return Want.TIME
    if names & _TICKER:
        return Want.TICKER
    if names & _IDENTIFIER or re.match(r"(?:the )?(?:unique )?(?:last \w+ )?(?:id|identifier|number|digits)\b", about):
        return Want.IDENTIFIER
    if names & _PLACE or re.match(r"(?:the )?(?:name of (?:the|a) )?(?:city|country|town)\b", about):
        return Want.PLACE
    return Want.TEXT


def _type(schema: Json) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [item for item in kind if item != "null"]
        kind = kinds[0] if len(kinds) == 1 else None
    aliases = {"int": "integer", "float": "number", "double": "number", "str": "string", "bool": "boolean"}
    aliases |= {"list": "array", "tuple": "array", "dict": "object"}
    return aliases.get(kind.lower(), kind.lower()) if isinstance(kind, str) else ""


def _units(text: str) -> Iterator[str]:
    text = re.sub(r"\bmet(?:er|re)s?\s+per\s+second\b", "m/s", text, flags=re.IGNORECASE)
    text = re.sub(r"\b(?:kilomet(?:er|re)s?|km)\s+per\s+hour\b", "km/h", text, flags=re.IGNORECASE)
    text = re.sub(r"\bmiles\s+per\s+hour\b", "mph", text, flags=re.IGNORECASE)
    for word in re.findall(r"m/s|km/h|[A-Za-z]+|[%$°€£]", text):
        lower = word.lower()
        if lower in CANONICAL and (len(lower) > 1 or lower in "%$€£"):
            yield CANONICAL[lower]


@lru_cache(maxsize=1_024)
def words_about(tool_name: str, description: str, parameters: tuple[Parameter, ...]) -> frozenset[str]:
    """Stems of everything that a tool says about itself."""
    stems = content_stems(f"{tool_name.replace('.', ' ')} {description}")
    for parameter in parameters:
        stems |= parameter.names | parameter.about
        for member in parameter.members:
            stems |= content_stems(str(member))
    return frozenset(stems)
