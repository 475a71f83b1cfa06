"""The embedded function role: ranks the tools, and calls one only where nothing has to be guessed.

A tool is called when it is clearly the one, when every required argument stands in the text as one unambiguous span,
and when nothing of the text is left that these rules did not understand. When the tool is clear and a required value
is nowhere in the text, the user is asked for it. Everything else is left to a larger model, with the tools ranked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol

from plano.inference.calls import FunctionAnswer, FunctionCall, Tool, ToolCall
from plano.inference.embedded.parameters import read_parameters, words_about
from plano.inference.embedded.slots import Filling, fill
from plano.inference.embedded.spans import MAX_CHARS
from plano.inference.embedded.vocabulary import content_stems, stem, wishes_of, words_of
from plano.inference.roles.arguments import check_arguments
from plano.inference.roles.function import question_for
from plano.inference.roles.transcript import plain_messages

Json = dict[str, Any]

CANDIDATES: Final = 3
_EXPLAINED_SHARE: Final = 0.3  # weight of the words in common beside the meaning (measured on the development cases)
_RANKED_CHARS: Final = 2_000  # of a request: what is ranked by
MAX_WORDS: Final = 60  # of a request that is answered by rules

_NOT_TO_BE_DONE: Final = re.compile(
    r"\b(?:do not|don'?t|never|instead of|unless|except|rather than|if|how (?:do|can|would|could|should) (?:i|you|we)"
    r"|how to|why|explain|what does|what is the difference|should i)\b",
    re.IGNORECASE,
)


class Ranker(Protocol):
    """Says how near texts are to a query in meaning; a higher score is nearer, and scores of one ranker compare."""

    def rank(self, query: str, texts: Sequence[str]) -> list[float]: ...


class Ranked(NamedTuple):
    tool: Tool
    score: float


class EmbeddedFunction:
    """`relevance` is the score from which a tool may be called, `margin` by how much it has to lead the next one, both
    on the scale of the ranker with the words that a tool explains added."""

    def __init__(self, ranker: Ranker, relevance: float = 0.5, margin: float = 0.05) -> None:
        self._ranker = ranker
        self._relevance = relevance
        self._margin = margin

    def answer(self, call: FunctionCall) -> FunctionAnswer:
        """One of the three outcomes. Raises BadCall when the parameters of the tool meant are no JSON Schema."""
        request = _request(call)
        if request is None:
            return FunctionAnswer("none")
        text, reply = request
        ranked = self.rank(text[:_RANKED_CHARS], call.tools)
        candidates = tuple(item.tool.name for item in ranked[:CANDIDATES])
        undecided = FunctionAnswer("none", candidates=candidates)
        best = ranked[0]
        certain = best.score >= self._relevance and (len(ranked) == 1 or best.score - ranked[1].score >= self._margin)
        if not certain or len(text) > MAX_CHARS or len(text.split()) > MAX_WORDS or _NOT_TO_BE_DONE.search(text):
            return undecided
        wishes = wishes_of(best.tool.name)
        if wishes and not wishes & set(map(stem, words_of(text))):
            return undecided
        filling = _with_reply(best.tool, text, reply) if reply else fill(best.tool, text)
        if filling.unread or not content_stems(text):
            return undecided
        if filling.missing:
            if filling.missing != filling.askable:
                return undecided
            return FunctionAnswer("clarify", question=question_for(best.tool, filling.missing), candidates=candidates)
        checked = check_arguments(best.tool, filling.arguments)
        if checked.missing or checked.problems:
            return undecided
        return FunctionAnswer("calls", calls=(ToolCall(best.tool.name, checked.arguments),), candidates=candidates)

    def rank(self, text: str, tools: Sequence[Tool]) -> list[Ranked]:
        """The tools, the most fitting first."""
        texts = [_tool_text(tool.name, tool.description, _parameters_text(tool)) for tool in tools]
        scores = self._ranker.rank(text, texts)
        said = content_stems(text)
        ranked = [
            Ranked(tool, score + _EXPLAINED_SHARE * _explained(said, tool))
            for tool, score in zip(tools, scores, strict=True)
        ]
        return sorted(ranked, key=lambda item: -item.score)


def _request(call: FunctionCall) -> tuple[str, str] | None:
    """What is asked for, and the reply to a question that was asked back ("" when there was none). None when the last
    message is a tool's result: that is for a larger model to put into words."""
    spoken = [message for message in plain_messages(call.messages) if message["role"] != "system"]
    if not spoken or spoken[-1]["role"] != "user" or spoken[-1].get("result"):
        return None
    last = spoken[-1]["content"]
    asked_back = (
        len(spoken) >= 3
        and spoken[-2]["role"] == "assistant"
        and spoken[-2]["content"].rstrip().endswith("?")
        and spoken[-3]["role"] == "user"
        and not spoken[-3].get("result")
    )
    return (f"{spoken[-3]['content']}\n{last}", last) if asked_back and len(last.split()) <= 12 else (last, "")


def _with_reply(tool: Tool, text: str, reply: str) -> Filling:
    """The reply to a question need not say what it is for: when exactly one value was missing, it is that one."""
    before = text[: -len(reply)].rstrip()
    first = fill(tool, before)
    both = fill(tool, text)
    if not both.missing and not both.unread:
        return both
    if len(first.missing) != 1 or first.unread:
        return both
    (name,) = first.missing
    said = re.sub(
        r"^(?:it'?s|it is|the|in|at|to|for|on|my|please|is)\s+|\s*(?:please|thanks|thank you)?[.!]*$",
        "",
        reply.strip(),
        flags=re.I,
    )
    phrased = fill(_only(tool, name), f"{name.replace('_', ' ')} {reply}")
    value = phrased.arguments.get(name)
    if value is None and 0 < len(said.split()) <= 4 and "?" not in said:
        value = said
    if value is None:
        return both
    checked = check_arguments(tool, {**first.arguments, name: value})
    if checked.problems or checked.missing:
        return both
    return Filling(checked.arguments, (), (), ())


def _only(tool: Tool, name: str) -> Tool:
    """The tool with just one of its parameters."""
    schema = tool.parameters["properties"][name]
    return Tool(tool.name, tool.description, {"type": "object", "properties": {name: schema}, "required": [name]})


@lru_cache(maxsize=1_024)
def _tool_text(name: str, description: str, parameters: str) -> str:
    words = " ".join(words_of(name.replace(".", " ")))
    return f"{words}: {description} {parameters}".strip()


def _parameters_text(tool: Tool) -> str:
    properties = tool.parameters.get("properties")
    if not isinstance(properties, dict):
        return ""
    return ", ".join(" ".join(words_of(name)) for name in properties)


def _explained(said: set[str], tool: Tool) -> float:
    """The share of a request's words that the tool uses of itself, its parameters' names and choices included."""
    return len(said & words_about(tool.name, tool.description, read_parameters(tool))) / len(said) if said else 0.0
