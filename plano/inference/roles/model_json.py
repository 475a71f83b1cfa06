"""Reading JSON that a model wrote: fences, reasoning, single quotes, trailing commas, wrong brackets.

What is valid JSON is read as it is. Only when that fails is the text taken apart into tokens and mended, and only in
ways that add no content: a text that ends in the middle of a string, a number or a list is not guessed to its end.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

Json = dict[str, Any]

MAX_CHARS: Final = 256 * 1024  # no role's answer comes near it
MAX_DEPTH: Final = 64

_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THINKING_END = re.compile(r"^.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_CHAR = re.compile(r"\S")
_WORD = re.compile(r"[A-Za-z_]\w*")
_WORDS: Final = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_CLOSER: Final = {"{": "}", "[": "]"}


class BadModelAnswer(Exception):
    """A model's text that is not the answer its role asks for. The message is short, without the text itself."""


def strip_reasoning(text: str) -> str:
    """`text` without `<think>` blocks, also where the template has swallowed the opening tag."""
    text = _THINKING.sub("", text)
    return _THINKING_END.sub("", text, count=1)


def read_object(text: str, mend_brackets: bool = False) -> Json:
    """The first JSON object in `text`, whatever stands around it.

    `mend_brackets`: closing brackets that are missing or too many are put right as well, as long as the text ends
    after a whole value. Raises BadModelAnswer.
    """
    if len(text) > MAX_CHARS:
        raise BadModelAnswer(f"more than {MAX_CHARS} characters")
    text = strip_reasoning(text)
    start = text.find("{")
    if start < 0:
        raise BadModelAnswer("no JSON object")
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except (json.JSONDecodeError, _NotFinite):
        value = _load("".join(_mend(text[start:], mend_brackets)))
    except RecursionError:
        raise BadModelAnswer("nested too deeply") from None
    if not isinstance(value, dict):
        raise BadModelAnswer("not a JSON object")
    return value


class _NotFinite(ValueError):
    pass


def _refuse(name: str) -> NoReturn:
    raise _NotFinite(name)


_DECODER: Final = json.JSONDecoder(strict=False, parse_constant=_refuse)


def _load(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise BadModelAnswer("not JSON, and not to be mended") from None


def _mend(text: str, mend_brackets: bool) -> list[str]:
    tokens, whole = _tokens(text)
    if not whole and not mend_brackets:
        raise BadModelAnswer("cut off")
    if mend_brackets:
        tokens = _balance(tokens)
    return _without_trailing_commas(tokens)


def _tokens(text: str) -> tuple[list[str], bool]:
    """The tokens of the object at the start of `text` as strict JSON, and whether its brackets closed. Stops there, or
    at whatever cannot be part of JSON."""
    tokens: list[str] = []
    depth = position = 0
    while position < len(text):
        char = text[position]
        if char.isspace():
            position += 1
        elif char in "\"'":
            value, position = _string(text, position)
            tokens.append(value)
        elif char in "{}[],:":
            tokens.append(char)
            position += 1
            depth += (char in "{[") - (char in "}]")
            if depth > MAX_DEPTH:
                raise BadModelAnswer("nested too deeply")
            if depth == 0:
                if _next_char(text, position) in (",", "]", "}"):
                    continue  # a closer too many has ended the object too early
                return tokens, True
        elif match := _NUMBER.match(text, position):
            tokens.append(match.group())
            position = match.end()
            if position == len(text):
                raise BadModelAnswer("cut off in a number")
        elif match := _WORD.match(text, position):
            tokens.append(_WORDS.get(match.group(), json.dumps(match.group())))
            position = match.end()
            if match.group() not in _WORDS and _next_char(text, position) != ":":
                raise BadModelAnswer("not JSON, and not to be mended")  # a bare word may be a name, never a value
        elif text.startswith("```", position):
            break
        else:
            raise BadModelAnswer("not JSON, and not to be mended")
    return tokens, False


def _next_char(text: str, position: int) -> str:
    """The first character from `position` on that is no white space, "" at the end."""
    match = _CHAR.search(text, position)
    return match.group() if match else ""


def _string(text: str, position: int) -> tuple[str, int]:
    """The string that begins at `position` as a JSON string, and where it ends. A quote ends it only where JSON could
    go on after it, so apostrophes and forgotten escapes stay part of the text."""
    quote = text[position]
    chars: list[str] = []
    position += 1
    while position < len(text):
        char = text[position]
        if char == "\\" and position + 1 < len(text):
            escaped = text[position + 1]
            if escaped == "u" and re.fullmatch(r"[0-9a-fA-F]{4}", text[position + 2 : position + 6]):
                chars.append(chr(int(text[position + 2 : position + 6], 16)))
                position += 6
                continue
            if escaped in _ESCAPES:
                chars.append(_ESCAPES[escaped])
            else:
                chars.append(escaped if escaped in "\"'\\/" else char + escaped)
            position += 2
            continue
        if char == quote and _next_char(text, position + 1) in ("", ",", ":", "]", "}", "`"):
            whole = "".join(chars).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return json.dumps(whole), position + 1
        chars.append(char)
        position += 1
    raise BadModelAnswer("cut off in a string")


def _without_trailing_commas(tokens: list[str]) -> list[str]:
    following = [*tokens[1:], ""]
    return [piece for piece, after in zip(tokens, following, strict=True) if piece != "," or after not in ("}", "]")]


def _balance(tokens: list[str]) -> list[str]:
    """`tokens` with every bracket closed. A closer that does not fit the innermost bracket is either one too many or
    means that one before it is missing: both readings are tried, and the one with fewer changes that is JSON wins."""
    if tokens and tokens[-1] in (",", ":"):
        raise BadModelAnswer("cut off")
    readings = sorted((_rebalance(tokens, insert) for insert in (False, True)), key=lambda reading: reading[1])
    for reading, _ in readings:
        try:
            _DECODER.decode("".join(_without_trailing_commas(reading)))
        except (ValueError, RecursionError):
            continue
        return reading
    raise BadModelAnswer("not JSON, and not to be mended")


def _rebalance(tokens: list[str], insert: bool) -> tuple[list[str], int]:
    mended: list[str] = []
    open_: list[str] = []
    changes = 0
    for index, token in enumerate(tokens):
        if token in ("{", "["):
            open_.append(token)
        elif token in ("}", "]"):
            if not insert and len(open_) == 1 and index + 1 < len(tokens):
                changes += 1  # this closer would end the object although more of it follows
                continue
            if open_ and _CLOSER[open_[-1]] == token:
                open_.pop()
            elif insert and any(_CLOSER[opener] == token for opener in open_):
                while _CLOSER[open_[-1]] != token:
                    mended.append(_CLOSER[open_.pop()])
                    changes += 1
                open_.pop()
            else:
                changes += 1
                continue
        mended.append(token)
    closers = [_CLOSER[opener] for opener in reversed(open_)]
    return mended + closers, changes + len(closers)
