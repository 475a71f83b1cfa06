"""The text behind the text: what a message says once its disguise is taken off.

`clean` undoes what is invisible (zero-width and tag characters, look-alike letters, compatibility forms); `reveal` adds
the readings of what is written in code: spaced-out letters, leetspeak, base64, hex, escapes, rot13, reversed. A reading
is one more text for the guard to judge, so a wrong guess costs time, not correctness.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

MAX_REVEALED: Final = 4_000
"""Characters of a text in which disguises of the whole text (reversed, rot13) are looked for."""

_TAGS: Final = range(0xE0020, 0xE007F)
_LOOK_ALIKES: Final = str.maketrans(
    "асеіјорѕухҮԁһԛԝАВСЕНІЈКМОРЅТХУαοινρτυκεΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aceijopsyxYdhqwABCEHIJKMOPSTXYaoivptukeABEZHIKMNOPTYX",
)
_LATIN: Final = re.compile(r"[A-Za-z]")
_WORD: Final = re.compile(r"\w+")
_LEET_WORD: Final = re.compile(r"\b(?=\w*[A-Za-z])(?=\w*[013457@$])[\w@$]{3,}\b")
_LEET: Final = str.maketrans("013457@$", "oieastas")
_SPACED: Final = re.compile(r"(?<!\w)\w(?:[ .\-_*\u00b7]\w(?!\w)| {2,}\w(?!\w)){5,}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2}[ :]?){10,})")
_ESCAPE: Final = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}")


def clean(text: str) -> str:
    """`text` as it looks to a reader: NFKC, nothing invisible, no look-alikes within Latin words."""
    if text.isascii():
        return text
    smuggled = "".join(chr(ord(char) - 0xE0000) for char in text if ord(char) in _TAGS)
    text = "".join(char for char in unicodedata.normalize("NFKC", text) if not _is_invisible(char))
    if smuggled:
        text = f"{text} {smuggled}"
    return _WORD.sub(_unmask_word, text)


def reveal(text: str, surprise: Callable[[str], float]) -> list[str]:
    """Other readings of a cleaned text; most texts have none. `surprise`: nats per character, high for gibberish."""
    readings: list[str] = []
    if sum(map(_is_leet, _LEET_WORD.findall(text))) >= 2:
        readings.append(_LEET_WORD.sub(_read_leet, text))
    if _SPACED.search(text):
        readings.append(_SPACED.sub(_close_up, text))
    readings.extend(_decode_tokens(text))
    if "%20" in text or "%0A" in text:
        readings.append(unquote(text))
    if "&#" in text:
        readings.append(html.unescape(text))
    if _ESCAPE.search(text):
        readings.append(_ESCAPE.sub(lambda match: chr(int(match[0][2:], 16)), text))
    if 12 <= len(text) <= MAX_REVEALED:
        readings.extend(_undo_whole(text, surprise))
    return readings


def _is_leet(word: str) -> bool:
    """Letters with some digits among them; not the identifier that is mostly digits."""
    return sum(map(str.isalpha, word)) * 2 >= len(word)


def _read_leet(match: re.Match[str]) -> str:
    return match[0].translate(_LEET) if _is_leet(match[0]) else match[0]


def _is_invisible(char: str) -> bool:
    kind = unicodedata.category(char)
    return kind == "Cf" or (kind == "Mn" and "\ufe00" <= char <= "\ufe0f") or (kind == "Cc" and not char.isspace())


def _unmask_word(match: re.Match[str]) -> str:
    word = match[0]
    return word.translate(_LOOK_ALIKES) if _LATIN.search(word) else word


def _close_up(match: re.Match[str]) -> str:
    words = re.split(r" {2,}", match[0])
    return " ".join(re.sub(r"(?<=\w)[ .\-_*\u00b7](?=\w)", "", word) for word in words)


def _decode_tokens(text: str) -> list[str]:
    readings: list[str] = []
    for token in _BASE64.findall(text)[:32]:
        padded = token.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            raw = base64.b64decode(padded + "=" * (-len(padded) % 4))
        except binascii.Error:
            continue  # a long word, not a code
        readings.extend(_read(raw))
    for token in _HEX.findall(text)[:32]:
        readings.extend(_read(bytes.fromhex(re.sub(r"[ :]", "", token))))
    return readings


def _read(raw: bytes) -> list[str]:
    """What these bytes say, if they are text."""
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError:
        return []
    printable = sum(char.isprintable() or char.isspace() for char in decoded)
    return [decoded] if printable == len(decoded) and " " in decoded.strip() else []


def _undo_whole(text: str, surprise: Callable[[str], float]) -> list[str]:
    as_is = surprise(text)
    if as_is < _ODD:
        return []
    candidates = (codecs.encode(text, "rot13"), text[::-1])
    return [candidate for candidate in candidates if surprise(candidate) < as_is - _CLEARER]


_ODD: Final = 2.9
_CLEARER: Final = 0.4
