"""Text from grammars: a small language in which the guard's own training text is written.

A grammar file holds rules. A line `@name` begins one; every following line is one way to say it. `@@family` begins a
root: a family of whole texts. Within a line

    [name]            one of the ways of the rule `name`
    [name:style]      the same, changed by a style of STYLES (several: `[name:upper:quoted]`)
    [name=key]        the same, and kept: every later `[name=key]` or `[=key]` of this text is the same words
    {a|b|}            one of the parts between the bars (parts may nest)
    \\n                a new line; a backslash before a bracket or bar takes away its meaning
    ~3 at the start   this line counts three times

A line that begins with # is a comment. Everything is drawn from one seeded `random.Random`.
"""

from __future__ import annotations

import base64
import codecs
import random
from collections.abc import Callable, Iterable
from pathlib import Path

Style = Callable[[str, random.Random], str]
_LEET = str.maketrans({"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7"})
_HOMOGLYPHS = str.maketrans({"a": "а", "e": "е", "o": "о", "p": "р", "c": "с", "x": "х", "i": "і"})


_ESCAPES = {"[": "\0o", "]": "\0c", "{": "\0p", "}": "\0q", "|": "\0r"}


class GrammarError(Exception):
    """A grammar file that cannot be read: an unknown rule, an open bracket. The message names the place."""


def _sometimes(text: str, rng: random.Random, table: dict[int, str], share: float) -> str:
    return "".join(c.translate(table) if rng.random() < share else c for c in text)


def _typos(text: str, rng: random.Random) -> str:
    chars = list(text)
    for _ in range(max(1, len(chars) // 40)):
        at = rng.randrange(max(1, len(chars) - 1))
        if len(chars) > 3 and chars[at].isalpha() and chars[at + 1].isalpha():
            chars[at], chars[at + 1] = chars[at + 1], chars[at]
    return "".join(chars)


def _soup(text: str, rng: random.Random) -> str:
    """Words run together, doubled and cut, as gradient search leaves them behind."""
    pieces: list[str] = []
    for word in text.split():
        roll = rng.random()
        if roll < 0.2 and len(word) > 4:
            pieces.append(
                word[: rng.randint(2, len(word))] + rng.choice(["", ".", "(", "](", "**", "--", '"', "\\", "{"])
            )
        elif roll < 0.35:
            pieces.append(word.capitalize() + rng.choice(["", " ", "=", "<", ";", '":']))
        elif roll < 0.45:
            pieces.append(
                rng.choice(['!--"', ";)", "]{", "\\+", "()`", "**ONE", "]]", "}}", "==>", "//", "\\\\", "/**"]) + word
            )
        else:
            pieces.append(word + " ")
    return "".join(pieces)


STYLES: dict[str, Style] = {
    "upper": lambda text, _: text.upper(),
    "lower": lambda text, _: text.lower(),
    "first": lambda text, _: text[:1].upper() + text[1:],
    "quoted": lambda text, rng: rng.choice(['"{}"', "'{}'", "“{}”", "«{}»"]).format(text),
    "base64": lambda text, _: base64.b64encode(text.encode()).decode(),
    "hex": lambda text, _: text.encode().hex(),
    "rot13": lambda text, _: codecs.encode(text, "rot13"),
    "reversed": lambda text, _: text[::-1],
    "leet": lambda text, rng: _sometimes(text, rng, _LEET, 0.8),
    "homoglyphs": lambda text, rng: _sometimes(text, rng, _HOMOGLYPHS, 0.5),
    "spaced": lambda text, rng: rng.choice([" ", "-", ".", " "]).join(text),
    "zero_width": lambda text, rng: "".join(c + rng.choice(["", "\u200b", "\u200d"]) for c in text),
    "typos": _typos,
    "soup": _soup,
    "joined": lambda text, _: text.replace(" ", ""),
    "snake": lambda text, _: text.replace(" ", "_"),
}


class Grammar:
    """The rules of one or more files; `families` are the roots."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._rules: dict[str, list[str]] = {}
        self.families: list[str] = []
        for path in paths:
            self._read(path)

    def add_rule(self, name: str, ways: list[str]) -> None:
        """A rule whose ways are taken as they are: no bracket or bar in them means anything."""
        self._rules[name] = [
            way.replace("\\", "\0b").translate({ord(plain): code for plain, code in _ESCAPES.items()}) for way in ways
        ]

    def _read(self, path: Path) -> None:
        rule: list[str] | None = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("#") or not line.strip():
                continue
            if line.startswith("@"):
                name = line.lstrip("@").strip()
                rule = self._rules.setdefault(name, [])
                if line.startswith("@@") and name not in self.families:
                    self.families.append(name)
                continue
            if rule is None:
                raise GrammarError(f"{path.name}:{number}: a line before the first rule")
            times = 1
            if line.startswith("~"):
                count, _, line = line[1:].partition(" ")
                times = int(count)
            for plain, code in _ESCAPES.items():
                line = line.replace("\\" + plain, code)
            rule.extend([line] * times)

    def rename(self, rules: dict[str, str]) -> Grammar:
        """A copy in which each of these rules says what another says."""
        twin = Grammar(())
        twin._rules = {name: self._rules[rules.get(name, name)] for name in self._rules}
        twin.families = list(self.families)
        return twin

    def draw(self, family: str, rng: random.Random) -> str:
        """One text of a family. Raises GrammarError."""
        text = self._expand(f"[{family}]", rng, {}, 0)
        text = text.replace("\\n", "\n").replace("\\t", "\t")
        for plain, code in (*_ESCAPES.items(), ("\\", "\0b")):
            text = text.replace(code, plain)
        return text.strip()

    def draw_many(self, family: str, count: int, rng: random.Random) -> list[str]:
        """Up to `count` different texts of a family; fewer when it has no more to say."""
        seen: dict[str, None] = {}
        for _ in range(count * 4):
            seen.setdefault(self.draw(family, rng))
            if len(seen) == count:
                break
        return list(seen)

    def _expand(self, text: str, rng: random.Random, kept: dict[str, str], depth: int) -> str:
        if depth > 40:
            raise GrammarError(f"rules without end: {text[:80]}")
        out: list[str] = []
        at = 0
        while at < len(text):
            char = text[at]
            if char == "[":
                end = text.find("]", at)
                if end < 0:
                    raise GrammarError(f"no ] in: {text[:80]}")
                out.append(self._call(text[at + 1 : end], rng, kept, depth))
                at = end + 1
            elif char == "{":
                end, parts = _split_choice(text, at)
                out.append(self._expand(rng.choice(parts), rng, kept, depth + 1))
                at = end + 1
            else:
                stop = min((i for i in (text.find("[", at), text.find("{", at)) if i >= 0), default=len(text))
                out.append(text[at:stop])
                at = stop
        return "".join(out)

    def _call(self, call: str, rng: random.Random, kept: dict[str, str], depth: int) -> str:
        name, *styles = call.split(":")
        name, keyed, key = name.partition("=")
        if keyed and key in kept:
            value = kept[key]
        elif keyed and not name:
            raise GrammarError(f"[={key}] before it is set")
        else:
            if name not in self._rules:
                raise GrammarError(f"no rule [{name}]")
            value = self._expand(rng.choice(self._rules[name]), rng, kept, depth + 1)
            if keyed:
                kept[key] = value
        for style in styles:
            if style not in STYLES:
                raise GrammarError(f"no style {style!r} in [{call}]")
            value = STYLES[style](value.replace("\\n", "\n"), rng)
        return value


def _split_choice(text: str, at: int) -> tuple[int, list[str]]:
    depth, start, parts = 0, at + 1, []
    for i in range(at, len(text)):
        if text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if depth == 0:
                parts.append(text[start:i])
                return i, parts
        elif text[i] == "|" and depth == 1:
            parts.append(text[start:i])
            start = i + 1
    raise GrammarError(f"no }} in: {text[at : at + 80]}")
