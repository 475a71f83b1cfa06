"""Which number in a text is which parameter's: by the words around it and by its unit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations
from typing import Final, NamedTuple

from plano.inference.embedded.parameters import Parameter
from plano.inference.embedded.spans import UNITS, Span
from plano.inference.embedded.vocabulary import STOPWORDS, stem, words_of

MAX_NUMBERS: Final = 5
_STRONG: Final = 1.5  # what an optional parameter needs to be meant
_MARGIN: Final = 0.9  # by which the best reading has to beat the next
_IMPOSSIBLE: Final = -1e9
_CURRENCIES: Final = {"usd", "eur", "gbp", "jpy", "chf"}
_MONEY: Final = {"amount", "price", "principal", "budget", "salary", "income", "money", "fee", "loan", "deposit"}
_EXACT: Final = ({"second", "minute", "hour", "day", "week"}, {"month", "year"})
_AS_FRACTION = re.compile(r"\b(?:decimal|fraction)\b|(?<![\d.])0\.\d|\bbetween 0 and 1\b", re.IGNORECASE)
_ORDINAL = re.compile(r"[_-]?(?:\d+|one|two|three|first|second|third)[_-]?")
_ROW = re.compile(r"\s*(?:,|(?:,\s*)?and|&|by|x|×)\s*")
_BREAK = re.compile(r"[,;.:!?()\n]|\band\b|\bor\b", re.IGNORECASE)


class Assignment(NamedTuple):
    """`values` by parameter, `used` are the spans they came from."""

    values: dict[str, int | float]
    used: tuple[Span, ...]


def assign_numbers(text: str, numbers: Sequence[Span], parameters: Sequence[Parameter]) -> Assignment:
    """The values of numeric `parameters`, none where more than one reading is plausible."""
    nothing = Assignment({}, ())
    if not numbers or not parameters or len(numbers) > MAX_NUMBERS or len(parameters) > 8:
        return nothing
    if in_order := _in_order(text, numbers, parameters):
        return in_order
    contexts = [_context(text, numbers, index) for index in range(len(numbers))]
    scores = [
        [_score(parameter, number, context) for number, context in zip(numbers, contexts, strict=True)]
        for parameter in parameters
    ]
    required = [index for index, parameter in enumerate(parameters) if parameter.required]
    optional = [index for index, parameter in enumerate(parameters) if not parameter.required]
    readings = sorted(_readings(scores, required, optional, len(numbers)), key=lambda reading: -reading[0])
    if not readings or (len(readings) > 1 and readings[0][0] - readings[1][0] < _MARGIN):
        return nothing
    chosen = readings[0][1]
    values: dict[str, int | float] = {}
    for parameter_index, number_index in chosen.items():
        value = convert(parameters[parameter_index], numbers[number_index])
        if value is None:
            return nothing
        values[parameters[parameter_index].name] = value
    return Assignment(values, tuple(numbers[index] for index in sorted(chosen.values())))


def _in_order(text: str, numbers: Sequence[Span], parameters: Sequence[Parameter]) -> Assignment | None:
    """Numbers in a row for parameters that only their order tells apart (`num1` and `num2`, `a`, `b` and `c`)."""
    alike = {_ORDINAL.sub("", parameter.name.lower()) for parameter in parameters}
    letters = all(len(parameter.name) == 1 for parameter in parameters)
    if not (letters or (len(alike) == 1 and "" not in alike)) or not all(p.required for p in parameters):
        return None
    gaps = [text[a.end : b.start] for a, b in pairwise(numbers)]
    if len(parameters) < 2 or len(numbers) != len(parameters) or not all(map(_ROW.fullmatch, gaps)):
        return None
    values = {p.name: convert(p, number) for p, number in zip(parameters, numbers, strict=True)}
    whole = {name: value for name, value in values.items() if value is not None}
    return Assignment(whole, tuple(numbers)) if len(whole) == len(values) else None


def convert(parameter: Parameter, number: Span) -> int | float | None:
    """The number in the unit and type that the parameter wants; None where that is uncertain."""
    value = float(number.value) if isinstance(number.value, int | float) else 0.0
    if number.unit == "percent" and _AS_FRACTION.search(parameter.description):
        value = round(value / 100, 9)
    elif number.unit == "percent" and "percent" not in parameter.units:
        return None
    elif number.unit and parameter.units and number.unit not in parameter.units:
        target = next((unit for unit in parameter.units if _convertible(number.unit, unit)), None)
        if target is None:
            return None
        value = round(value * UNITS[number.unit][1] / UNITS[target][1], 9)
    if parameter.whole:
        return int(value) if value.is_integer() else None
    return int(value) if value.is_integer() else value


def _convertible(unit: str, target: str) -> bool:
    if unit not in UNITS or target not in UNITS or UNITS[unit][0] != UNITS[target][0]:
        return False
    dimension = UNITS[unit][0]
    if dimension == "time":
        return any({unit, target} <= exact for exact in _EXACT)
    return dimension in ("length", "mass", "speed", "volume")


def _readings(
    scores: list[list[float]], required: list[int], optional: list[int], numbers: int
) -> Iterator[tuple[float, dict[int, int]]]:
    """Every way to give the required parameters a number each and what is left to optional ones, with its score. One
    required parameter may be without a cue: it takes what the others leave. With too few numbers for all of them, only
    those with a strong cue get one."""
    enough = len(required) <= numbers
    served = [tuple(required)] if enough else permutations(required, numbers)
    pairings = (
        (parameters, chosen) for parameters in served for chosen in permutations(range(numbers), len(parameters))
    )
    for parameters, chosen in pairings:
        if not enough and list(chosen) != sorted(chosen):
            continue  # the same reading in another order
        reading = dict(zip(parameters, chosen, strict=True))
        parts = [scores[parameter][number] for parameter, number in reading.items()]
        if any(part <= _IMPOSSIBLE for part in parts) or sum(part <= 0 for part in parts) > 1:
            continue
        if not enough and min(parts) < _STRONG:
            continue
        total = sum(parts)
        for number in sorted(set(range(numbers)) - set(chosen)):
            best = max(
                ((scores[parameter][number], parameter) for parameter in optional if parameter not in reading),
                default=(0.0, -1),
            )
            if best[0] >= _STRONG:
                reading[best[1]] = number
                total += best[0]
        if reading:
            yield total, reading


def _score(parameter: Parameter, number: Span, context: list[tuple[str, float]]) -> float:
    if convert(parameter, number) is None:
        return _IMPOSSIBLE
    score = 0.0
    for word, nearness in context:
        if word in parameter.names:
            score = max(score, nearness)
        elif word in parameter.about:
            score = max(score, nearness * 0.5)
    if number.unit:
        if number.unit in parameter.units:
            score += 2.0
        elif parameter.units:
            score += 1.5  # converted
        elif UNITS.get(number.unit, ("",))[0] in _CURRENCIES and parameter.names & _MONEY:
            score += 1.0
        elif "age" in parameter.names and number.unit == "year":
            score += 2.0
        elif score <= 0:
            return _IMPOSSIBLE  # a length is no number of guests
    elif "year" in parameter.names and isinstance(number.value, float) and 1500 <= number.value <= 2100:
        score += 2.5
    return score


def _context(text: str, numbers: Sequence[Span], index: int) -> list[tuple[str, float]]:
    """The stems around a number and how near they are: up to 3 before it, 2 behind it, less beyond commas and `and`,
    none beyond the next number."""
    number = numbers[index]
    start = numbers[index - 1].end if index else 0
    end = numbers[index + 1].start if index + 1 < len(numbers) else len(text)
    near: list[tuple[str, float]] = []
    for part, first, backwards in ((text[start : number.start], 3.0, True), (text[number.end : end], 2.0, False)):
        distance = 0.0
        pieces = re.findall(r"[A-Za-z']+|[,;.:!?()\n]", part)
        for piece in reversed(pieces) if backwards else pieces:
            if _BREAK.fullmatch(piece):
                distance += 1.0
            elif piece.lower() not in STOPWORDS or piece.lower() == "amount":
                near += [(stem(word), first - distance) for word in words_of(piece)]
                distance += 0.5
            if distance >= first:
                break
    return [(word, nearness) for word, nearness in near if nearness > 0]
