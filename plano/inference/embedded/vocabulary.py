"""Words as the slot filler sees them: names cut into words, stems, words that say nothing, countries, languages."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

SYNONYMS: Final = {
    "high": "height",
    "tall": "height",
    "wide": "width",
    "long": "length",
    "deep": "depth",
    "heavy": "weight",
    "weigh": "weight",
    "weighing": "weight",
    "old": "age",
    "aged": "age",
    "lasting": "duration",
    "people": "guest",
    "hot": "temperature",
    "cold": "temperature",
    "warm": "temperature",
    "fast": "speed",
    "borrow": "principal",
    "cost": "price",
    "far": "distance",
    "restart": "reboot",
    "package": "parcel",
    "reminder": "remind",
    "average": "mean",
    "monthly": "month",
    "yearly": "year",
    "annual": "year",
    "daily": "day",
    "weekly": "week",
    "hourly": "hour",
    "payment": "pay",
}

_STOPWORDS = """
a about above after again all also am an and any anything are as at back be because been being between both but by
can could do does doing done down each else for from further get gets getting give given gives go going got had has
have having he hello help her here hey hi him his how i i'd i'll i'm i've if in into is it it's its just kindly know
let let's like look make many may me might mine more most much must my myself need needed needs new next no not now
of off ok on one only or other our out over own please really right say see shall she should show so some such tell
than thank thanks that that's the their them then there these they this those through to too under until up us use
using very via want wanted wants was we were what what's when where which while who whom whose why will with within
without won't would yes yet you your yours find found calculate compute determine check using currently total value
given following provide specific particular certain based whether amount
"""
STOPWORDS: Final = frozenset(_STOPWORDS.split())

_ASKING = """
search status latest current today's right quick quickly turn put set place last past four digit digits id yet someone
person say per ending number left
"""
ASKING: Final = frozenset(_ASKING.split())
"""Words of requests that change nothing about what is wanted, but may be a tool's own words."""

_EFFECTS = """
cancel terminate end stop
delete remove erase drop
block freeze lock disable deactivate stolen lost
reboot restart reset
reset forgot forgotten recover
close resolve
create open new add put schedule make need set write file
add put append include
send write email mail message text forward
transfer send pay wire
pay settle
buy purchase order place get
sell
book reserve need want
set make change turn adjust put start increase decrease raise lower
switch turn put lights
update change edit modify rename
scale resize
start launch begin run set
submit file report
file report flooded stolen damaged
request need want ask
restart reboot
deploy roll
approve accept confirm
refund return
upgrade downgrade
subscribe unsubscribe
register sign
share post publish
play
"""
EFFECTS: Final = tuple(frozenset(line.split()) for line in _EFFECTS.strip().splitlines())
"""Verbs of tools that change something, each line the words of one wish. The first one is the tool's."""

_EFFECT_LINES: Final = tuple(line.split() for line in _EFFECTS.strip().splitlines())
"""Verbs of tools that change something: the tool's own, and behind it the words in which people wish for it."""

_LANGUAGES = """
english french german spanish italian portuguese dutch russian chinese mandarin japanese korean arabic hindi greek
turkish polish swedish danish norwegian finnish latin hebrew thai vietnamese indian mexican american british
european african asian christian jewish muslim python java javascript excel internet google
"""
LANGUAGES: Final = frozenset(_LANGUAGES.split())

_COUNTRIES = """
afghanistan albania algeria argentina armenia australia austria azerbaijan bangladesh belarus belgium bolivia brazil
bulgaria cambodia cameroon canada chile china colombia croatia cuba cyprus denmark ecuador egypt england estonia
ethiopia finland france georgia germany ghana greece guatemala honduras hungary iceland india indonesia iran iraq
ireland israel italy jamaica japan jordan kazakhstan kenya kuwait latvia lebanon libya lithuania luxembourg malaysia
mali malta mexico moldova mongolia morocco mozambique myanmar namibia nepal netherlands nicaragua niger nigeria
norway oman pakistan panama paraguay peru philippines poland portugal qatar romania russia rwanda scotland senegal
serbia singapore slovakia slovenia somalia spain sudan sweden switzerland syria taiwan tanzania thailand tunisia
turkey uganda ukraine uruguay usa uzbekistan venezuela vietnam wales yemen zambia zimbabwe europe asia africa
america uk us
"""
COUNTRIES: Final = frozenset(_COUNTRIES.split()) | {
    "united states",
    "united kingdom",
    "new zealand",
    "south korea",
    "north korea",
    "south africa",
    "saudi arabia",
    "costa rica",
    "sri lanka",
    "czech republic",
    "united arab emirates",
    "el salvador",
    "ivory coast",
}


def words_of(text: str) -> list[str]:
    """The words of a text or a name, in lower case: `get_orderStatus` is get, order, status."""
    return [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", text.replace("_", " ")))]


@lru_cache(maxsize=8_192)
def stem(word: str) -> str:
    """A word without its commonest endings, its synonym where it has one: good for comparing, not for reading."""
    word = SYNONYMS.get(word, word)
    for ending, rest in (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return SYNONYMS.get(word[: -len(ending)] + rest, word[: -len(ending)] + rest)
    if word.endswith("'s"):
        word = word[:-2]
    elif word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            word = word[: -len(ending)]
            if len(word) > 2 and word[-1] == word[-2] and word[-1] not in "sl":
                word = word[:-1]
            break
    if word.endswith("e") and len(word) > 4:
        word = word[:-1]
    return SYNONYMS.get(word, word)


def content_stems(text: str) -> set[str]:
    """The stems of the words that say something."""
    return {stem(word) for word in words_of(text) if word not in STOPWORDS and len(word) > 1}


def wishes_of(name: str) -> set[str]:
    """The words one of which a request must hold for a tool of this name to be called, empty when the tool changes
    nothing: nobody's order is cancelled because it was asked about."""
    parts = words_of(name.replace(".", " "))
    return {stem(word) for line in _EFFECT_LINES if line[0] in parts for word in line}
