"""Values in the form that a parameter wants: members of an enum, dates, places."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from plano.inference.embedded.parameters import Parameter
from plano.inference.embedded.spans import CANONICAL, Span
from plano.inference.embedded.vocabulary import COUNTRIES

_SHORT_MEMBERS: Final = {"on", "in", "to", "no", "yes", "all", "any", "none", "other", "a", "an", "the", "us", "it"}
_SWITCHED: Final = r"(?:turn(?:ed)?|switch(?:ed)?|put|power(?:ed)?|lights?)\b(?:\s+\w+){0,4}?\s+"
_DATE_FORMS: Final = (
    ("YYYY-MM-DD", "%Y-%m-%d"),
    ("MM/DD/YYYY", "%m/%d/%Y"),
    ("DD/MM/YYYY", "%d/%m/%Y"),
    ("MM-DD-YYYY", "%m-%d-%Y"),
    ("DD-MM-YYYY", "%d-%m-%Y"),
    ("DD.MM.YYYY", "%d.%m.%Y"),
    ("YYYY/MM/DD", "%Y/%m/%d"),
)
_WANTS_REGION = re.compile(r"city,\s*(?:and\s+)?(?:state|country)|state\b.*\bcode|[a-z],\s*[A-Z]{2}\b", re.IGNORECASE)


def find_members(text: str, parameter: Parameter) -> list[tuple[str, tuple[int, int]]]:
    """The members of an enum that the text names, and where; of two that overlap the longer one. A unit may be spelled
    another way ("euros" is EUR), and one word may stand within a member of several ("changed my mind")."""
    found: list[tuple[str, tuple[int, int]]] = []
    for member in parameter.members:
        form = r"[\s_-]+(?:\w+\s+)?".join(map(re.escape, re.split(r"[\s_-]+", member.strip())))
        if member.lower() == "on":
            form = rf"{_SWITCHED}(?P<v>{form})"
        elif member.lower() in _SHORT_MEMBERS or len(member) == 1:
            form = rf"{re.escape(parameter.name)}\s+(?P<v>{form})"
        else:
            form = rf"(?P<v>{form}(?:e?s)?)"
        matches = re.finditer(rf"(?<!\w){form}(?!\w)", text, re.IGNORECASE)
        found += [(member, match.span("v")) for match in matches]
        if unit := CANONICAL.get(member.lower()):
            for match in re.finditer(r"[A-Za-z°$€£]+", text):
                word = match.group().lower()
                if CANONICAL.get(word) == unit and (len(word) > 1 or not word.isalpha()):
                    found.append((member, match.span()))
    return [
        (member, at)
        for member, at in found
        if not any(other[0] <= at[0] and at[1] <= other[1] and other != at for _, other in found)
    ]


def write_date(parameter: Parameter, span: Span, said: str) -> str | None:
    """A date in the form that the parameter's description or format names. Where none is named only ISO's is certain,
    and only when it was said so."""
    if not isinstance(span.value, date):
        return None
    wanted = parameter.description.upper()
    for form, written in _DATE_FORMS:
        if form in wanted:
            return span.value.strftime(written)
    if "YY" in wanted:
        return None
    if parameter.format == "date" or "ISO" in wanted:
        return span.value.isoformat()
    return said if re.fullmatch(r"\d{4}-\d{2}-\d{2}", said) else None


def accept_place(parameter: Parameter, span: Span) -> str | None:
    """A place as it was said, None where it is not of the kind that is wanted: a country for a city, a city without
    its state. What the text does not say is not made up."""
    place = str(span.value)
    country = place.lower() in COUNTRIES
    if "country" in parameter.names:
        return place if country else None
    if country and (parameter.names | parameter.about) & {"city", "town"}:
        return None
    return None if _WANTS_REGION.search(parameter.description) and "," not in place else place
