"""Has the model guessed a value that the user should have been asked for?

Where a language model fills in a required value that the conversation does not hold, the distribution of the value's
first token is flat. Two figures of the likeliest tokens are compared with thresholds: entropy and varentropy. Which
token is a value's first is found by following the JSON as it is written, character by character, so nothing depends on
how a tokenizer cuts it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from plano.inference.calls import Tool

_LN2: Final = math.log(2)


def entropy_bits(logprobs: Sequence[float]) -> float:
    """H = -sum(p log2 p) over natural-log probabilities, as they are: what they leave out of 1 is not shared out."""
    return -sum(math.exp(logprob) * logprob for logprob in logprobs if logprob > -math.inf) / _LN2


def varentropy(logprobs: Sequence[float]) -> float:
    """sum(p (log2 p + H)^2): how unlike each other the tokens are in what they contribute to the entropy."""
    entropy = entropy_bits(logprobs)
    return sum(math.exp(logprob) * (logprob / _LN2 + entropy) ** 2 for logprob in logprobs if logprob > -math.inf)


class UncertaintyGate:
    """Follows a function model's answer token by token.

    Feed it everything from the prefill on, in order. `uncertain` then lists the (tool, parameter) whose value is
    guessed: a required parameter without an enum, the first token of whose value exceeds both thresholds. A value that
    comes before the name of its function is judged when the name is known.
    """

    def __init__(self, tools: Sequence[Tool], entropy: float, varentropy: float) -> None:
        self.uncertain: list[tuple[str, str]] = []
        self._tools = {tool.name: tool for tool in tools}
        self._entropy = entropy
        self._varentropy = varentropy
        self._names: dict[int, str] = {}
        self._guesses: dict[tuple[int, str], bool] = {}
        self._position = JsonPosition(self._value_begins, self._string_ends)
        self._logprobs: Sequence[float] | None = None

    @property
    def flagged(self) -> bool:
        return bool(self.uncertain)

    def feed(self, text: str, logprobs: Sequence[float] | None) -> bool:
        """The next token's `text` and the natural-log probabilities of the likeliest tokens in its place (None for
        text that the model did not choose, as the prefill). True as soon as a value is found to be guessed."""
        self._logprobs = logprobs
        for char in text:
            self._position.advance(char)
        return self.flagged

    def _value_begins(self, path: tuple[str | int, ...]) -> None:
        call, rest = _call_of(path)
        if len(rest) < 2 or rest[0] not in ("arguments", "parameters") or not isinstance(rest[1], str):
            return
        key = (call, rest[1])
        if key in self._guesses:
            return
        logprobs = self._logprobs
        self._guesses[key] = (
            logprobs is not None and entropy_bits(logprobs) > self._entropy and varentropy(logprobs) > self._varentropy
        )
        self._judge(call)

    def _string_ends(self, path: tuple[str | int, ...], text: str) -> None:
        call, rest = _call_of(path)
        if rest == ("name",):
            self._names[call] = text
            self._judge(call)

    def _judge(self, call: int) -> None:
        tool = self._tools.get(self._names.get(call, ""))
        if tool is None:
            return
        required = tool.parameters.get("required")
        properties = tool.parameters.get("properties")
        for (of_call, parameter), guessed in self._guesses.items():
            if not guessed or of_call != call or (tool.name, parameter) in self.uncertain:
                continue
            schema = properties.get(parameter) if isinstance(properties, dict) else None
            if (
                isinstance(required, list)
                and parameter in required
                and not (isinstance(schema, dict) and ("enum" in schema or "const" in schema))
            ):
                self.uncertain.append((tool.name, parameter))


def _call_of(path: tuple[str | int, ...]) -> tuple[int, tuple[str | int, ...]]:
    """Which call a path leads into, and the rest of it. `{"tool_calls": [call, ...]}`, or one object per call."""
    root, rest = path[0], path[1:]
    assert isinstance(root, int)
    if len(rest) >= 2 and rest[0] == "tool_calls" and isinstance(rest[1], int):
        return root * 1_000 + rest[1], rest[2:]
    return root * 1_000, rest


class JsonPosition:
    """Where in a JSON text its reader is, one character at a time; forgiving, for a model writes the text.

    A path is the number of the top-level object, then names and indices. `value_begins` is called once per value with
    the path, at the first character of its content: behind the opening quote of a string, at the closing one of an
    empty string, at the first character of a number or word, at the bracket that closes an empty container. It is not
    called for containers that hold something, whose first content reports itself. `string_ends` gets whole strings.
    """

    def __init__(
        self,
        value_begins: Callable[[tuple[str | int, ...]], None],
        string_ends: Callable[[tuple[str | int, ...], str], None],
    ) -> None:
        self._value_begins = value_begins
        self._string_ends = string_ends
        self._frames: list[tuple[str, str | int]] = []  # opening bracket, and the name or index one is at
        self._objects = -1
        self._expect_name = False
        self._fresh = False  # the innermost container has been opened and holds nothing yet
        self._in_word = False
        self._quote = ""  # of the string one is in
        self._ending = False  # a single quote was read that may be the string's end, or an apostrophe
        self._escape = ""
        self._chars: list[str] = []

    def advance(self, char: str) -> None:
        if self._ending:
            if char.isspace():
                return
            self._ending = False
            if char in ",:]}":
                self._end_string()
            else:
                self._chars.append("'")
        if self._quote:
            self._in_string(char)
        else:
            self._outside(char)

    def _in_string(self, char: str) -> None:
        if self._escape:
            self._escape += char
            if self._escape[1] != "u" or len(self._escape) == 6:
                self._chars.append(_unescape(self._escape))
                self._escape = ""
            return
        begins = not self._chars and not self._expect_name
        if char == self._quote:
            if begins:
                self._value_begins(self._path())
            if char == "'":
                self._ending = True
            else:
                self._end_string()
            return
        if begins:
            self._value_begins(self._path())
        if char == "\\":
            self._escape = char
        else:
            self._chars.append(char)

    def _end_string(self) -> None:
        text = "".join(self._chars).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self._quote = ""
        self._chars.clear()
        if self._expect_name:
            self._expect_name = False
            self._frames[-1] = ("{", text)
        else:
            self._string_ends(self._path(), text)

    def _outside(self, char: str) -> None:
        if char.isspace():
            self._in_word = False
            return
        if not self._frames and char != "{":
            return  # prose, or the fence around the JSON
        if char in "{[":
            if not self._frames:
                self._objects += 1
            self._frames.append((char, "" if char == "{" else 0))
            self._expect_name = char == "{"
            self._fresh = True
        elif char in "}]":
            self._close()
        elif char == ",":
            self._in_word = False
            opener, at = self._frames[-1]
            self._expect_name = opener == "{"
            if isinstance(at, int):
                self._frames[-1] = (opener, at + 1)
        elif char == ":":
            self._in_word = False
        elif char in "\"'":
            self._fresh = False
            self._quote = char
        elif not self._in_word:
            self._fresh = False
            self._in_word = True
            if not self._expect_name:
                self._value_begins(self._path())

    def _close(self) -> None:
        self._in_word = False
        empty = self._fresh
        self._fresh = False
        self._expect_name = False
        self._frames.pop()
        if empty and self._frames:
            self._value_begins(self._path())

    def _path(self) -> tuple[str | int, ...]:
        return (self._objects, *(at for _, at in self._frames))


def _unescape(escape: str) -> str:
    if escape[1] == "u":
        try:
            return chr(int(escape[2:], 16))
        except ValueError:
            return escape
    return {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}.get(escape[1], escape[1])
