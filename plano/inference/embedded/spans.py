"""What stands in a user's text so plainly that it can be taken as a value: quotes, addresses, dates, numbers, names.

Found from the most to the least certain form; what one form has taken is not looked at again.
"""

from __future__ import annotations

import re
from datetime import date
from enum import StrEnum
from typing import Final, NamedTuple

MAX_CHARS: Final = 800  # of a text; no request that rules can understand is longer, and the forms are quadratic


class Kind(StrEnum):
    QUOTE = "quote"
    URL = "url"
    EMAIL = "email"
    DATE = "date"
    TIME = "time"  # of a day, HH:MM
    UNREAD = "unread"  # a value that only a clock, or more of a grammar than this, could read: "tomorrow", "2d8"
    IDENTIFIER = "identifier"
    NUMBER = "number"
    NAME = "name"  # capitalised words within a sentence


class Span(NamedTuple):
    """`value`: what it stands for, a number for NUMBER, a `date` for DATE, else the text without quotes. `unit` is the
    canonical name of the unit behind (or the currency before) a number. `spelled`: a number in words."""

    kind: Kind
    start: int
    end: int
    value: str | float | date
    unit: str = ""
    spelled: bool = False


_MONTH_NAMES = "january february march april may june july august september october november december"
_MONTHS: Final = tuple(_MONTH_NAMES.split())
_MONTH = "|".join(rf"{name}|{name[:3]}\.?" for name in _MONTHS) + r"|sept\.?"
_WEEKDAYS: Final = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_NUMBER_NAMES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty"""
_WORD_NUMBERS: Final = {word: number for number, word in enumerate(_NUMBER_NAMES.split())} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
    "dozen": 12,
}
_AMBIGUOUS_WORDS: Final = {"one", "second"}  # "the first one", "a second"

UNITS: Final[dict[str, tuple[str, float]]] = {}
"""Unit by its spelling: its dimension and how many of the dimension's base unit it is."""
CANONICAL: Final[dict[str, str]] = {}
"""The one name of a unit by its spelling."""


def _unit(dimension: str, factor: float, *spellings: str) -> None:
    for spelling in spellings:
        UNITS[spelling] = (dimension, factor)
        CANONICAL[spelling] = spellings[0]


_unit("length", 1.0, "meter", "meters", "metre", "metres", "m")
_unit("length", 1000.0, "kilometer", "kilometers", "kilometre", "kilometres", "km", "kms")
_unit("length", 0.01, "centimeter", "centimeters", "centimetre", "centimetres", "cm")
_unit("length", 0.001, "millimeter", "millimeters", "millimetre", "millimetres", "mm")
_unit("length", 1609.344, "mile", "miles", "mi")
_unit("length", 0.3048, "foot", "feet", "ft")
_unit("length", 0.0254, "inch", "inches")
_unit("length", 0.9144, "yard", "yards")
_unit("mass", 1.0, "kilogram", "kilograms", "kg", "kgs", "kilo", "kilos")
_unit("mass", 0.001, "gram", "grams", "g")
_unit("mass", 0.45359237, "pound", "pounds", "lb", "lbs")
_unit("mass", 0.028349523125, "ounce", "ounces", "oz")
_unit("time", 1.0, "second", "seconds", "sec", "secs", "s")
_unit("time", 60.0, "minute", "minutes", "min", "mins")
_unit("time", 3600.0, "hour", "hours", "hr", "hrs", "h")
_unit("time", 86400.0, "day", "days")
_unit("time", 604800.0, "week", "weeks")
_unit("time", 2629746.0, "month", "months")
_unit("time", 31556952.0, "year", "years", "yr", "yrs")
_unit("speed", 1.0, "m/s", "mps")
_unit("speed", 1 / 3.6, "km/h", "kmh", "kph")
_unit("speed", 0.44704, "mph")
_unit("celsius", 1.0, "celsius", "°c")
_unit("fahrenheit", 1.0, "fahrenheit", "°f")
_unit("kelvin", 1.0, "kelvin")
_unit("degree", 1.0, "degree", "degrees", "°")
_unit("percent", 1.0, "percent", "%", "percentage")
_unit("usd", 1.0, "dollar", "dollars", "usd", "$", "bucks")
_unit("eur", 1.0, "euro", "euros", "eur", "€")
_unit("gbp", 1.0, "gbp", "£")
_unit("jpy", 1.0, "yen", "jpy", "¥")
_unit("chf", 1.0, "franc", "francs", "chf")
_unit("volume", 1.0, "liter", "liters", "litre", "litres", "l")
_unit("volume", 0.001, "milliliter", "milliliters", "ml")
_unit("electric", 1.0, "volt", "volts", "v")
_unit("current", 1.0, "ampere", "amperes", "amp", "amps")
_unit("newton", 1.0, "newton", "newtons")
_unit("joule", 1.0, "joule", "joules")

_UNIT_PHRASES: Final = (
    (re.compile(r"\s*(?:meters?|metres?)\s+per\s+second(?!\s*(?:squared|\^))", re.IGNORECASE), "m/s"),
    (re.compile(r"\s*(?:kilometers?|kilometres?|km)\s+per\s+hour", re.IGNORECASE), "km/h"),
    (re.compile(r"\s*miles\s+per\s+hour", re.IGNORECASE), "mph"),
    (re.compile(r"\s*(?:m/s\^?[2²]|(?:meters?|metres?)\s+per\s+second\s*(?:squared|\^\s?2))", re.IGNORECASE), "m/s2"),
    (re.compile(r"\s*degrees?\s+(?=celsius|fahrenheit)", re.IGNORECASE), ""),
)
_UNIT_AFTER = re.compile(r"(?:\s*(?P<sign>[%°$€£¥][CFcf]?)|[\s-]*(?P<word>m/s|km/h|[A-Za-z]+))")
_NAME_WORD = r"[A-Z][\w'’.&-]*[\w'’]|[A-Z]"
_NAME = re.compile(
    rf"(?:{_NAME_WORD})(?:(?:\s+(?:de|del|da|do|la|las|los|le|of|the|van|von|der|upon)){{0,2}}\s+(?:{_NAME_WORD}))*"
    rf"(?:,\s+(?:{_NAME_WORD})(?:\s+(?:{_NAME_WORD}))*)*"
)
_FORMS: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = (
    (
        Kind.QUOTE,
        re.compile(
            r'"(?P<v>[^"\n]{1,500})"|“(?P<w>[^”\n]{1,500})”|(?<![\w])\'(?P<x>[^\'\n]{1,500}?)\'(?!\w)|`(?P<y>[^`\n]{1,500})`'
        ),
    ),
    (Kind.URL, re.compile(r"https?://[^\s<>\"'`]+[^\s<>\"'`.,;:!?)\]]")),
    (Kind.EMAIL, re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    (Kind.DATE, re.compile(r"(?<![\w/-])(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?![\w/-])")),
    (Kind.DATE, re.compile(r"(?<![\w/-])(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d{4})(?![\w/-])")),
    (
        Kind.DATE,
        re.compile(rf"\b(?P<n>{_MONTH})\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y>\d{{4}})\b", re.IGNORECASE),
    ),
    (
        Kind.DATE,
        re.compile(
            rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<n>{_MONTH}),?\s+(?P<y>\d{{4}})\b", re.IGNORECASE
        ),
    ),
    (Kind.TIME, re.compile(r"(?<![\w:.])(?P<h>\d{1,2})(?::(?P<i>\d{2}))?\s?(?P<a>[ap])\.?m\b\.?", re.IGNORECASE)),
    (Kind.TIME, re.compile(r"(?<![\w:.])(?P<h>\d{1,2}):(?P<i>\d{2})(?![\w:])")),
    (
        Kind.UNREAD,
        re.compile(
            rf"\b(?:today|tonight|tomorrow|yesterday|noon|midnight|(?:this|next|last|coming|past)\s+(?:week|weekend|month|"
            rf"year|{_WEEKDAYS}|morning|evening)|{_WEEKDAYS}|\d{{1,2}}(?::\d{{2}})?\s?[ap]\.?m\b\.?|\d{{1,2}}:\d{{2}}(?::\d{{2}})?"
            rf"|(?:{_MONTH})\s+\d{{1,2}}(?:st|nd|rd|th)?(?!\d)|\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_MONTH})(?!\w)"
            rf"|\d{{1,2}}/\d{{1,2}}(?:/\d{{2}})?(?![\w/])|\d+(?:st|nd|rd|th)(?:\s+century)?)\b",
            re.IGNORECASE,
        ),
    ),
    (
        Kind.UNREAD,
        re.compile(
            r"\b(?:January|February|March|April|(?<=[a-z]\s)May|June|July|August|September|October|November|December)\b"
        ),
    ),
    (
        Kind.URL,
        re.compile(
            r"(?<![\w@.])(?:www\.)?[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|dev|ai|edu|gov)(?:/[^\s<>\"'`]*[\w/])?(?!\w)"
        ),
    ),
    (Kind.IDENTIFIER, re.compile(r"#\s?(?P<v>[\w-]*\d[\w-]*)")),
    (
        Kind.IDENTIFIER,
        re.compile(
            r"(?<![\w.,$€£-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])(?P<v>[A-Za-z][A-Za-z]*[-_]?[\w-]*\d[\w-]*|\d+[-_]?[A-Z][\w-]*\d[\w-]*)(?![\w-])"
        ),
    ),
    (Kind.IDENTIFIER, re.compile(r"(?<![\w.,$€£-])(?P<v>\d+(?:-\d+)+|0\d+|\d{9,})(?![\w.-]*\d)(?!\w)")),
)
_NUMBER = re.compile(
    r"(?<![\w.])(?P<c>[$€£¥]\s?)?(?P<n>(?:(?<![\w)])[-+])?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)(?P<k>\s?(?:k|thousand|million|billion)\b)?",
    re.IGNORECASE,
)
_SPELLED = re.compile(rf"\b(?:{'|'.join(sorted(_WORD_NUMBERS, key=len, reverse=True))})\b", re.IGNORECASE)
_SCALES: Final = {"k": 1e3, "thousand": 1e3, "million": 1e6, "billion": 1e9}
_CONNECTED = re.compile(r"(?:(?:de|del|da|do|la|las|los|le|of|the|van|von|der|upon)\s+)+")
_DIGITS = re.compile(r"[^\s\x00]*\d[^\s\x00]*")


def find_spans(text: str) -> list[Span]:
    """The spans of `text` in their order; they never overlap. Longer texts than `MAX_CHARS` hold none."""
    if len(text) > MAX_CHARS:
        return []
    spans: list[Span] = []
    rest = text
    for kind, form in _FORMS:
        for match in form.finditer(rest):
            value = _value(kind, match)
            if value is None:  # the 31st of February
                spans.append(Span(Kind.UNREAD, match.start(), match.end(), match.group()))
            else:
                spans.append(Span(kind, match.start(), match.end(), value))
        rest = _blank(rest, spans)
    spans += _numbers(rest)
    rest = _blank(rest, spans)
    for match in _DIGITS.finditer(rest):
        spans.append(Span(Kind.UNREAD, match.start(), match.end(), match.group()))
    rest = _blank(rest, spans)
    spans += _names(rest)
    return sorted(spans, key=lambda span: span.start)


def _blank(text: str, spans: list[Span]) -> str:
    """`text` with what the spans have taken replaced by a character that no form matches."""
    chars = list(text)
    for span in spans:
        chars[span.start : span.end] = "\x00" * (span.end - span.start)
    return "".join(chars)


def _value(kind: Kind, match: re.Match[str]) -> str | date | None:
    groups = {name: value for name, value in match.groupdict().items() if value is not None}
    if kind is Kind.DATE:
        month = groups.get("m") or str(
            next(i for i, n in enumerate(_MONTHS, 1) if n.startswith(groups["n"][:3].lower()))
        )
        try:
            return date(int(groups["y"]), int(month), int(groups["d"]))
        except ValueError:
            return None
    if kind is Kind.TIME:
        hour, minute = int(groups["h"]), int(groups.get("i", "0"))
        if half := groups.get("a"):
            if not 1 <= hour <= 12:
                return None
            hour = hour % 12 + 12 * (half.lower() == "p")
        return f"{hour:02}:{minute:02}" if hour < 24 and minute < 60 else None
    return next(iter(groups.values()), match.group()).strip()


def _numbers(text: str) -> list[Span]:
    spans: list[Span] = []
    for match in _NUMBER.finditer(text):
        number = float(match.group("n").replace(",", ""))
        if scale := match.group("k"):
            number *= _SCALES[scale.strip().lower()]
        end, unit = _unit_after(text, match.end())
        if match.group("c"):
            unit = CANONICAL[match.group("c").strip()]
        elif end == match.end() and text[end : end + 1].isalpha():
            continue  # "3D", "2d8": something else
        spans.append(Span(Kind.NUMBER, match.start(), end, number, unit))
    for match in _SPELLED.finditer(_blank(text, spans)):
        end, unit = _unit_after(text, match.end())
        word = match.group().lower()
        if word in _AMBIGUOUS_WORDS and not unit:
            continue
        if re.match(
            r"[\s-]+(?:" + "|".join(_WORD_NUMBERS) + r"|hundred|thousand|million)\b", text[match.end() :], re.I
        ):
            return [*spans, Span(Kind.UNREAD, match.start(), match.end(), word)]  # a longer number than is read here
        spans.append(Span(Kind.NUMBER, match.start(), end, float(_WORD_NUMBERS[word]), unit, True))
    return spans


def _unit_after(text: str, end: int) -> tuple[int, str]:
    """The unit that follows a number ending at `end`, and where it ends."""
    for phrase, unit in _UNIT_PHRASES:
        if match := phrase.match(text, end):
            if unit:
                return match.end(), unit
            end = match.end() - 1
            break
    match = _UNIT_AFTER.match(text, end)
    if match is None:
        return end, ""
    spelled = (match.group("sign") or match.group("word")).lower()
    if spelled not in CANONICAL or spelled in ("second", "mi"):
        return end, ""
    return match.end(), CANONICAL[spelled]


def _names(text: str) -> list[Span]:
    spans: list[Span] = []
    for match in _NAME.finditer(text):
        start, words = match.start(), match.group()
        before = text[:start].rstrip()
        first = before == "" or before[-1] in ".!?:\n;"
        if first:  # the capital of a sentence says nothing about its first word
            head, _, tail = words.partition(" ")
            if led := _CONNECTED.match(tail):
                start, words = start + len(head) + 1 + led.end(), tail[led.end() :]
            elif not tail:
                if not (len(head) > 1 and head.isupper()):
                    continue
            elif not head.isupper() or head == "I" or len(head) == 1:
                start, words = start + len(head) + 1, tail
        if words in ("I", "I'm", "I'd", "I'll", "I've", "OK", "Ok", "Please", "Hi", "Hello"):
            continue
        spans.append(Span(Kind.NAME, start, start + len(words), words.rstrip(".")))
    return spans
