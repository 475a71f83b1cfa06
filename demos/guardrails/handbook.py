"""A filter that is a tool of an MCP server: it looks into the handbook and puts what fits after the question.

    python -m demos.guardrails.handbook --port 10560

Written with the server of the official MCP SDK, over streamable HTTP. Plano calls the tool with the conversation
(`body`) and the path of the request; what the tool returns takes the place of the conversation.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from mcp.server.mcpserver import MCPServer

from demos.lifeline import end_with_parent
from demos.service import find_question, read_options, report

Json = dict[str, Any]

PASSAGES = 1
MIN_SCORE = 1.0
_WORD = re.compile(r"[a-z]{3,}")
# Words that say nothing about what a question is about.
_STOP = frozenset(
    {
        *("and", "are", "but", "can", "for", "from", "how", "its", "long", "not", "possible", "still", "that", "the"),
        *("then", "until", "what", "with", "you", "your"),
    }
)


class Passage(NamedTuple):
    """A section of the handbook, and the words in it, in their simplest form."""

    title: str
    text: str
    words: frozenset[str]


def read_words(text: str) -> frozenset[str]:
    """The words that say something, without their endings: "returned" is "return"."""
    found = (word for word in _WORD.findall(text.lower()) if word not in _STOP)
    return frozenset(re.sub(r"(?:ing|ed|s)$", "", word) for word in found)


def read_handbook(path: Path) -> list[Passage]:
    """The sections of a Markdown file."""
    sections = re.split(r"^# ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    split = [section.partition("\n") for section in sections]
    return [Passage(title, " ".join(text.split()), read_words(f"{title} {text}")) for title, _, text in split]


class Handbook:
    """Finds the passages that have the rarest words in common with a question."""

    def __init__(self, passages: list[Passage]) -> None:
        self._passages = passages
        self._spread = Counter(word for passage in passages for word in passage.words)

    def find(self, question: str) -> list[Passage]:
        """At most `PASSAGES`, the best first; none when nothing fits."""
        asked = read_words(question)
        scored = [(self._score(asked, passage), passage) for passage in self._passages]
        best = sorted(scored, key=lambda pair: -pair[0])[:PASSAGES]
        return [passage for score, passage in best if score >= MIN_SCORE]

    def _score(self, asked: frozenset[str], passage: Passage) -> float:
        in_title = read_words(passage.title)
        return sum(
            math.log(1 + len(self._passages) / self._spread[word]) * (2 if word in in_title else 1)
            for word in asked & passage.words
        )


HANDBOOK = Handbook(read_handbook(Path(__file__).with_name("handbook.md")))
server: MCPServer[Any] = MCPServer("handbook", log_level="WARNING")


@server.tool()
def add_passages(body: Json, path: str) -> Json:
    """The conversation with what the handbook says about its last question."""
    messages: list[Json] = body["messages"]
    passages = HANDBOOK.find(find_question(messages))
    report(f"{path}: found {', '.join(passage.title for passage in passages) or 'nothing'}")
    last = messages[-1]
    if not passages or not isinstance(last.get("content"), str):
        return body
    told = "\n".join(f"Handbook, {passage.title}: {passage.text}" for passage in passages)
    return {**body, "messages": [*messages[:-1], {**last, "content": f"{last['content']}\n\n{told}"}]}


if __name__ == "__main__":
    options = read_options()
    end_with_parent()
    server.run("streamable-http", host="127.0.0.1", port=options.port, json_response=True)
