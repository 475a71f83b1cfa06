"""Filling a tool's parameters with what a text says beyond doubt.

Every value comes from one span of the text, and a span serves one parameter. Where two spans or two parameters could
be meant the parameter stays empty. What of the text remains unread is told as well: a number, a name or a word that no
parameter has taken means that the user said something these rules did not understand, and then no call is safe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from plano.inference.calls import Tool
from plano.inference.embedded.numbers import assign_numbers
from plano.inference.embedded.parameters import Parameter, Want, read_parameters, words_about
from plano.inference.embedded.spans import Kind, Span, find_spans
from plano.inference.embedded.values import accept_place, find_members, write_date
from plano.inference.embedded.vocabulary import ASKING, LANGUAGES, STOPWORDS, stem, words_of

_BEFORE_PLACE = re.compile(
    r"\b(in|near|at|around|for|of|to|from|between|and|visit|visiting)\s+(?:the\s+)?$", re.IGNORECASE
)
_BEFORE_FROM = re.compile(
    r"\b(?:from|leaving|departing|between|starting(?:\s+(?:in|from|on))?)\s+(?:the\s+)?$", re.IGNORECASE
)
_BEFORE_TO = re.compile(r"\b(?:to|into|until|till|through|and|arriving(?:\s+in)?)\s+(?:the\s+)?$", re.IGNORECASE)
_COMPOUND: Final = r"([A-Za-z]\w*(?:[-_][A-Za-z0-9]+)+)(?![\w-])"
_NEGATED: Final = re.compile(
    r"\b(?:without|no|not|non|don'?t|exclud\w+|skip|except)\b[\s-]*(?:\w+[\s-]+){0,1}$", re.IGNORECASE
)
_AFFIRMED: Final = re.compile(
    r"\b(?:with|includ\w+|and|want|need|force|please|enable)\s+(?:\w+\s+){0,1}$", re.IGNORECASE
)
_AUXILIARY: Final = {"includ", "with", "has", "have", "is", "only", "enabl", "want", "show", "allow", "use"}


class Filling(NamedTuple):
    """`missing`: required parameters without a value. `askable`: of those, the ones that the text shows no trace of, so
    that it makes sense to ask for them. `unread`: what is left of the text, spans and words that say something."""

    arguments: dict[str, Any]
    missing: tuple[str, ...]
    askable: tuple[str, ...]
    unread: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.missing and not self.unread


def fill(tool: Tool, text: str) -> Filling:
    """What `text` says for the parameters of `tool`."""
    return _Filler(tool, text).fill()


class _Filler:
    def __init__(self, tool: Tool, text: str) -> None:
        self._text = text
        self._tool = tool
        self._parameters = read_parameters(tool)
        self._spans = find_spans(text)
        self._free = list(self._spans)
        self._taken: list[tuple[int, int]] = []  # parts of the text that a value or its cue has explained
        self._arguments: dict[str, Any] = {}
        self._unsure: set[str] = set()  # parameters for which more than one value could be meant

    def fill(self) -> Filling:
        self._fill_enums()
        self._fill_alike(Want.URL, Kind.URL, lambda parameter, span: span.value)
        self._fill_alike(Want.EMAIL, Kind.EMAIL, lambda parameter, span: span.value)
        self._fill_alike(Want.DATE, Kind.DATE, self._dated)
        self._fill_alike(Want.TIME, Kind.TIME, lambda parameter, span: span.value)
        self._fill_lists()
        self._fill_identifiers()
        self._fill_numbers()
        self._fill_tickers()
        self._fill_places()
        self._fill_quotes()
        self._fill_booleans()
        missing = tuple(p.name for p in self._parameters if p.required and p.name not in self._arguments)
        return Filling(self._arguments, missing, self._askable(missing), self._unread())

    # -- one kind after the other, the most certain first ----------------------------------------------------------

    def _fill_enums(self) -> None:
        parameters = self._open(Want.ENUM)
        found = {parameter.name: find_members(self._text, parameter) for parameter in parameters}
        for parameter in parameters:
            rivals = [p for p in parameters if p is not parameter and set(p.members) & set(parameter.members)]
            members = found[parameter.name]
            if rivals:
                members = [(m, at) for m, at in members if self._is_side(parameter, rivals, at)]
            if len({member for member, _ in members}) == 1:
                self._arguments[parameter.name] = members[0][0]
                for _, at in members:
                    self._take(*at)
            elif members:
                self._unsure.add(parameter.name)

    def _is_side(self, parameter: Parameter, rivals: Sequence[Parameter], at: tuple[int, int]) -> bool:
        """Whether what stands at `at` is meant for this one of several parameters that take the same values."""
        if len(rivals) != 1 or not parameter.side or parameter.side == rivals[0].side:
            return False
        towards = re.search(r"\b(?:to|into|in|towards)\s+(?:degrees\s+)?$", self._text[: at[0]], re.IGNORECASE)
        return (parameter.side == "to") == (towards is not None)

    def _fill_alike(self, want: Want, kind: Kind, value_of: Callable[[Parameter, Span], Any]) -> None:
        """Parameters and spans that know each other by their form: one and one, or two of a pair in their order."""
        parameters, spans = self._open(want), self._left(kind)
        needed = [parameter for parameter in parameters if parameter.required]
        if len(spans) == 1 and (len(parameters) == 1 or len(needed) == 1):
            self._give((needed or parameters)[0], spans[0], value_of)
            return
        pair = self._pair(parameters, spans)
        if pair is not None:
            for parameter, span in pair:
                self._give(parameter, span, value_of)
        elif spans:
            self._unsure.update(parameter.name for parameter in parameters)

    def _pair(
        self, parameters: Sequence[Parameter], spans: Sequence[Span]
    ) -> tuple[tuple[Parameter, Span], tuple[Parameter, Span]] | None:
        """`from A to B`, `to B from A`, `between A and B`: whose is which."""
        if len(parameters) != 2 or len(spans) != 2:
            return None
        start = next((parameter for parameter in parameters if parameter.side == "from"), None)
        end = next((parameter for parameter in parameters if parameter.side == "to"), None)
        if start is None or end is None:
            return None
        sides = [self._side_of(span, start, end) for span in spans]
        if sides == ["from", "to"]:
            return (start, spans[0]), (end, spans[1])
        if sides == ["to", "from"]:
            return (start, spans[1]), (end, spans[0])
        return None

    def _side_of(self, span: Span, start: Parameter, end: Parameter) -> str:
        before = self._text[max(0, span.start - 40) : span.start]
        near = re.sub(r"[-_]", "", before.lower()).split()[-2:]
        for side, parameter in (("from", start), ("to", end)):
            if parameter.name.replace("_", "").lower() in "".join(near):
                return side
        if _BEFORE_FROM.search(before):
            return "from"
        return "to" if _BEFORE_TO.search(before) else ""

    def _dated(self, parameter: Parameter, span: Span) -> str | None:
        return write_date(parameter, span, self._said(span))

    def _fill_lists(self) -> None:
        parameters = self._open(Want.NUMBERS)
        numbers = [span for span in self._left(Kind.NUMBER) if not span.spelled]
        if len(parameters) != 1 or len(numbers) < 2:
            return
        gaps = [self._text[a.end : b.start] for a, b in pairwise(numbers)]
        if all(re.fullmatch(r"\s*(?:,\s*(?:and\s+)?|\s+and\s+)", gap) for gap in gaps):
            values = [_plain(span) for span in numbers]
            if not any(span.unit for span in numbers):
                self._arguments[parameters[0].name] = values
                for span in numbers:
                    self._use(span)

    def _fill_identifiers(self) -> None:
        parameters = self._open(Want.IDENTIFIER)
        named = [p for p in self._open(Want.TEXT) if p.required]
        for parameter in (*parameters, *named):
            spans = [span for span in self._free if self._identifies(parameter, span)]
            if not spans and parameter.want is Want.IDENTIFIER and len(parameters) == 1:
                spans = self._left(Kind.IDENTIFIER)
            name = re.escape(parameter.name.replace("_", " "))
            hyphenated = re.findall(rf"\b{name}\s+(?:called\s+|named\s+)?{_COMPOUND}", self._text, re.IGNORECASE)
            if len(spans) == 1 and not hyphenated:
                said = self._text[spans[0].start : spans[0].end]
                value = spans[0].value if spans[0].kind is Kind.IDENTIFIER else said.strip()
                self._arguments[parameter.name] = value
                self._use(spans[0])
            elif len(hyphenated) == 1 and not spans:
                at = self._text.index(hyphenated[0])
                self._arguments[parameter.name] = hyphenated[0]
                self._take(at, at + len(hyphenated[0]))
            elif spans or hyphenated:
                self._unsure.add(parameter.name)

    def _identifies(self, parameter: Parameter, span: Span) -> bool:
        """Whether the words just before a span say that it is this identifier: "order 55812", "ending in 4471"."""
        if span.kind is Kind.NUMBER and (span.unit or span.spelled or not re.fullmatch(r"\d+", self._said(span))):
            return False
        if span.kind not in (Kind.NUMBER, Kind.IDENTIFIER):
            return False
        if parameter.want is Want.TEXT and span.kind is Kind.NUMBER:
            return False
        before = [stem(word) for word in words_of(self._text[max(0, span.start - 40) : span.start])][-2:]
        if parameter.want is Want.IDENTIFIER and before[-2:] == [stem("ending"), "in"]:
            return "digit" in parameter.names | parameter.about
        own = (parameter.names - {"id", "identifier", "number", "code"}) or parameter.names
        if parameter.want is Want.IDENTIFIER and not own - {"id", "identifier", "number", "code"}:
            own = own | (parameter.about - STOPWORDS)
        return bool(own & set(before))

    def _fill_numbers(self) -> None:
        parameters = self._open(Want.NUMBER)
        identifying = [p for p in parameters if p.names & {"id", "number"} and len(p.names) > 1]
        for parameter in identifying:
            spans = [
                span
                for span in self._free
                if span.kind in (Kind.NUMBER, Kind.IDENTIFIER)
                and str(self._said(span)).lstrip("# ").isdigit()
                and (parameter.names - {"id", "number"}) & {stem(w) for w in words_of(self._text[: span.start])[-2:]}
            ]
            if len(spans) == 1:
                self._arguments[parameter.name] = int(self._said(spans[0]).lstrip("# "))
                self._use(spans[0])
        # Units that an enum has taken ("250 USD") are explained; they say nothing more about the number.
        numbers = {
            span._replace(unit="") if self._unit_is_taken(span) else span: span for span in self._left(Kind.NUMBER)
        }
        assignment = assign_numbers(self._text, list(numbers), self._open(Want.NUMBER))
        self._arguments.update(assignment.values)
        for span in assignment.used:
            self._use(numbers[span])
        known = {unit for parameter in self._parameters for unit in parameter.units}
        if any(span.unit and span.unit not in known for span in assignment.used):
            # A parameter for the unit has been left out although the text names one.
            self._unsure.update(p.name for p in self._parameters if "unit" in p.names and p.name not in self._arguments)
        if not assignment.values and self._left(Kind.NUMBER):
            self._unsure.update(parameter.name for parameter in self._open(Want.NUMBER))

    def _unit_is_taken(self, span: Span) -> bool:
        return bool(span.unit) and any(span.start < end and start < span.end for start, end in self._taken)

    def _fill_tickers(self) -> None:
        parameters = self._open(Want.TICKER)
        names = [
            span
            for span in self._left(Kind.NAME)
            if re.fullmatch(r"[A-Z]{1,5}", str(span.value))
            and span.value not in ("USD", "EUR", "GBP", "NYSE", "CEO", "I")
        ]
        if len(parameters) == 1 and len({span.value for span in names}) == 1:
            self._arguments[parameters[0].name] = names[0].value
            for span in names:
                self._use(span)
        elif len(names) > 1:
            self._unsure.update(parameter.name for parameter in parameters)

    def _fill_places(self) -> None:
        parameters = self._open(Want.PLACE)
        names = [
            span
            for span in self._left(Kind.NAME)
            if str(span.value).lower() not in LANGUAGES
            and _BEFORE_PLACE.search(self._text[: span.start])
            and not (set(words_of(str(span.value))) & LANGUAGES)
        ]
        endings = [
            p for p in self._open(Want.TEXT) if p.required and p.side and p.about & {"city", "country", "town", "place"}
        ]
        parameters = parameters + [parameter for parameter in endings if parameter not in parameters]
        needed = [parameter for parameter in parameters if parameter.required] or parameters
        if len(names) == 1 and len(needed) == 1 and _BEFORE_PLACE.search(self._text[: names[0].start]):
            self._give(needed[0], names[0], accept_place)
        elif pair := self._pair(needed, names):
            for parameter, span in pair:
                self._give(parameter, span, accept_place)
        elif names:
            self._unsure.update(parameter.name for parameter in parameters)

    def _fill_quotes(self) -> None:
        quotes = self._left(Kind.QUOTE)
        parameters = [
            p
            for p in self._parameters
            if p.name not in self._arguments and p.want in (Want.TEXT, Want.DATE, Want.IDENTIFIER, Want.PLACE)
        ]
        texts = [parameter for parameter in parameters if parameter.want is Want.TEXT]
        cued = {}
        for span in quotes:
            before = {stem(word) for word in words_of(self._text[max(0, span.start - 30) : span.start])[-2:]}
            owners = [parameter for parameter in parameters if parameter.names & before]
            if len(owners) == 1:
                cued[span] = owners[0]
        if len({parameter.name for parameter in cued.values()}) != len(cued):
            return
        for span, parameter in cued.items():
            self._give(parameter, span, lambda _, quote: quote.value)
        quotes = self._left(Kind.QUOTE)
        texts = [p for p in texts if p.name not in self._arguments]
        needed = [p for p in texts if p.required]
        if len(quotes) == 1 and len(needed) == 1:
            self._give(needed[0], quotes[0], lambda _, quote: quote.value)
        elif quotes:
            self._unsure.update(parameter.name for parameter in texts)

    def _fill_booleans(self) -> None:
        for parameter in self._open(Want.BOOLEAN):
            own = parameter.names - _AUXILIARY
            mentions = [m for m in re.finditer(r"[A-Za-z]+", self._text) if stem(m.group().lower()) in own]
            if not mentions or len({stem(m.group().lower()) for m in mentions}) < len(own):
                continue
            first, last = mentions[0].start(), mentions[-1].end()
            before = self._text[:first]
            if negated := _NEGATED.search(before):
                self._arguments[parameter.name] = False
                first = negated.start()
            elif _AFFIRMED.search(before) or own & {"force"} or all(m.group().endswith("ly") for m in mentions):
                self._arguments[parameter.name] = True
            else:
                self._unsure.add(parameter.name)
                continue
            self._take(first, last)

    # -- bookkeeping ------------------------------------------------------------------------------------------------

    def _open(self, want: Want) -> list[Parameter]:
        return [p for p in self._parameters if p.want is want and p.name not in self._arguments]

    def _left(self, kind: Kind) -> list[Span]:
        return [span for span in self._free if span.kind is kind]

    def _said(self, span: Span) -> str:
        return self._text[span.start : span.end]

    def _give(self, parameter: Parameter, span: Span, value_of: Callable[[Parameter, Span], Any]) -> None:
        value = value_of(parameter, span)
        if value is None:
            self._unsure.add(parameter.name)
            return
        self._arguments[parameter.name] = value
        self._use(span)

    def _use(self, span: Span) -> None:
        self._free = [other for other in self._free if other is not span]
        self._taken.append((span.start, span.end))

    def _take(self, start: int, end: int) -> None:
        """A part of the text is explained: names and the like within it are no longer free. Numbers are, for it may be
        just their unit that was meant."""
        self._taken.append((start, end))
        self._free = [
            s for s in self._free if not (s.kind in (Kind.NAME, Kind.UNREAD) and start <= s.start and s.end <= end)
        ]

    def _askable(self, missing: Sequence[str]) -> tuple[str, ...]:
        kinds = {
            Want.NUMBER: Kind.NUMBER,
            Want.DATE: Kind.DATE,
            Want.TIME: Kind.TIME,
            Want.EMAIL: Kind.EMAIL,
            Want.URL: Kind.URL,
        }
        kinds |= {Want.IDENTIFIER: Kind.IDENTIFIER, Want.PLACE: Kind.NAME, Want.TICKER: Kind.NAME}
        asked: list[str] = []
        if self._left(Kind.UNREAD):
            return ()
        for parameter in self._parameters:
            if parameter.name not in missing or parameter.name in self._unsure:
                continue
            trace = kinds.get(parameter.want)
            if parameter.want is Want.ENUM or (trace is not None and not self._left(trace)):
                asked.append(parameter.name)
        return tuple(asked)

    def _unread(self) -> tuple[str, ...]:
        """Spans that no parameter took, parameters that could not be decided, and words that neither the tool nor a
        value accounts for."""
        known = words_about(self._tool.name, self._tool.description, self._parameters)
        unread = [self._said(span) for span in self._free if not self._explained(span, known)]
        unread += [name for name in self._unsure if name not in unread]
        for match in re.finditer(r"[A-Za-z]+(?:'[a-z]+)?", self._text):
            if any(start <= match.start() < end for start, end in self._taken):
                continue
            if any(span.start <= match.start() < span.end for span in self._free):
                continue
            word = match.group().lower()
            if word not in STOPWORDS and word not in ASKING and stem(word) not in known:
                unread.append(word)
        return tuple(unread)

    def _explained(self, span: Span, known: frozenset[str]) -> bool:
        """A name that the tool speaks of itself is no value: "NBA", "Fibonacci"."""
        return span.kind is Kind.NAME and all(
            stem(word) in known or word in STOPWORDS for word in words_of(str(span.value))
        )


def _plain(span: Span) -> int | float:
    value = span.value
    assert isinstance(value, int | float)
    return int(value) if float(value).is_integer() else value
