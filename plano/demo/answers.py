"""The content of an answer: deterministic, human, and counted in tokens of about a word.

Pure: a prompt in, an answer out. A streamed answer has one chunk per token, so what a client counts is what the usage
says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Literal

import orjson

from plano.demo.prompts import Prompt, PromptError, Tool
from plano.demo.schemas import SchemaError, make_value

Finish = Literal["stop", "length", "tool_calls"]

MAX_ECHO_CHARS = 2000
TOKENS_PER_MESSAGE = 3
TOKENS_PER_IMAGE = 85
ARGUMENT_FRAGMENT_CHARS = 6
BIG_PIECE_CHARS = 4096

_TOKEN = re.compile(r"\s*\S+|\s+$")
_PLACE = re.compile(r"[A-Z][\w'-]*(?: [A-Z][\w'-]*)*")
_PLACES = re.compile(r"\b(?:in|for|of)\s+(?=[A-Z])(.+)")
_TWO_CALLS = re.compile(r"\b(two|twice|both)\b", re.IGNORECASE)
_SENTENCE = "the quick brown fox jumps over the lazy dog while Plano relays every word without delay"
_FILLER = tuple(_SENTENCE.split())
_BIG_PIECE = (" ".join(islice(cycle(_FILLER), BIG_PIECE_CHARS // 4)) + " ")[:BIG_PIECE_CHARS]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function; `arguments` is JSON text, as the wire has it, or plain text for a `custom` tool."""

    name: str
    arguments: str
    custom: bool = False

    @property
    def fragments(self) -> list[str]:
        """The arguments in the pieces a stream sends them in."""
        size = ARGUMENT_FRAGMENT_CHARS
        return [self.arguments[at : at + size] for at in range(0, len(self.arguments), size)]


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: text in `pieces` (one per streamed chunk), or calls. `stop_sequence` is the one that ended it.
    `thoughts` come before both, in pieces too."""

    pieces: tuple[str, ...]
    calls: tuple[ToolCall, ...] = ()
    finish: Finish = "stop"
    stop_sequence: str | None = None
    thoughts: tuple[str, ...] = ()

    @property
    def thinking(self) -> str:
        """The whole of the thoughts."""
        return "".join(self.thoughts)

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything a dialect needs to render an answer. Token counts are of all choices together."""

    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class AnswerSize:
    """The exact size of an answer, whatever was asked: `chunks` words, or `kib` KiB of text."""

    chunks: int | None = None
    kib: int | None = None


def split_tokens(text: str) -> list[str]:
    """Split text into tokens that join to the same text."""
    return _TOKEN.findall(text)


def compose_answer(
    prompt: Prompt, size: AnswerSize | None = None, cached_tokens: int = 0, reasoning_tokens: int = 0
) -> Answer:
    """Return the answer to a prompt. With `size`, text of exactly that size and nothing else.

    Raises PromptError (400) where the prompt asks for JSON of a schema nothing can be made for.
    """
    if size is not None:
        choices = tuple(Choice(_filler_pieces(size)) for _ in range(prompt.choices))
    elif prompt.script is None and (calls := _choose_calls(prompt)):
        choices = tuple(Choice((), calls, "tool_calls") for _ in range(prompt.choices))
    else:
        choices = tuple(_compose_text(prompt, number) for number in range(prompt.choices))
    if prompt.thinks:
        thoughts = tuple(split_tokens(_think(prompt)))
        choices = tuple(replace(choice, thoughts=thoughts) for choice in choices)
        reasoning_tokens += len(thoughts) * len(choices)
    completion = sum(_count_choice(choice) for choice in choices) + reasoning_tokens
    return Answer(choices, max(count_prompt(prompt), cached_tokens), completion, cached_tokens, reasoning_tokens)


def count_prompt(prompt: Prompt) -> int:
    """Return the tokens of a prompt: about one per word, and some for every message and image."""
    return (
        _count_texts(turn.text for turn in prompt.turns)
        + TOKENS_PER_MESSAGE * (len(prompt.turns) + 1)
        + TOKENS_PER_IMAGE * sum(turn.images for turn in prompt.turns)
        + sum(_count_texts((tool.name, tool.description, _to_json(tool.parameters))) for tool in prompt.tools)
    )


def _think(prompt: Prompt) -> str:
    if prompt.last.role == "tool":
        return f"The tool said {_shorten(prompt.last.text)!r}. I only have to pass that on."
    return f"The user said {_shorten(prompt.question)!r}. I will greet them and repeat it."


def _filler_pieces(size: AnswerSize) -> tuple[str, ...]:
    if size.kib is not None:
        # The same string again and again: a stream of gigabytes costs the provider one piece of memory.
        return (_BIG_PIECE,) * (size.kib * 1024 // BIG_PIECE_CHARS) + tuple(
            filter(None, (_BIG_PIECE[: size.kib * 1024 % BIG_PIECE_CHARS],))
        )
    words = islice(cycle(_FILLER), size.chunks or 0)
    return tuple(word if index == 0 else f" {word}" for index, word in enumerate(words))


def _compose_text(prompt: Prompt, number: int) -> Choice:
    if prompt.script is not None:
        text = prompt.script
    else:
        text = _compose_json(prompt) if prompt.schema is not None else _compose_reply(prompt)
    if number and prompt.schema is None and prompt.script is None:
        text += f" (This is answer {number + 1} of {prompt.choices}.)"
    ended_by = None
    for stop in prompt.stop:
        before, found, _ = text.partition(stop)
        if found:
            text, ended_by = before, stop
    pieces = split_tokens(text)
    if prompt.max_tokens is not None and len(pieces) > prompt.max_tokens:
        return Choice(tuple(pieces[: prompt.max_tokens]), (), "length")
    return Choice(tuple(pieces), (), "stop", ended_by)


def _compose_reply(prompt: Prompt) -> str:
    if prompt.repeats:
        return prompt.question
    if prompt.last.role == "tool":
        return f'The tool answered: {_shorten(prompt.last.text)} That is my answer to "{_shorten(prompt.question)}".'
    asked = sum(turn.role == "user" for turn in prompt.turns)
    parts = []
    if asked <= 1:
        parts.append(f"Hello! I am {prompt.model}, a demo model that ships with Plano.")
    parts.append(f"You said: {_shorten(prompt.question)}" if prompt.question else "You said nothing yet.")
    if images := sum(turn.images for turn in prompt.turns if turn.role == "user"):
        parts.append(f"(I also see {'an image' if images == 1 else f'{images} images'}.)")
    if asked > 1:
        parts.append(f"(This is turn {asked} of our conversation.)")
    return " ".join(parts)


def _compose_json(prompt: Prompt) -> str:
    if not prompt.schema:
        return _to_json({"answer": _compose_reply(prompt)})
    try:
        return _to_json(make_value(prompt.schema))
    except SchemaError as error:
        message = f"Invalid schema for response_format: {error}."
        raise PromptError(400, message, param="response_format", code="invalid_json_schema") from error


def _choose_calls(prompt: Prompt) -> tuple[ToolCall, ...]:
    if not prompt.tools or prompt.tool_choice == "none":
        return ()
    if prompt.tool_choice == "named":
        wanted = [tool for tool in prompt.tools if tool.name == prompt.tool_name]
    else:
        if prompt.tool_choice == "auto" and prompt.last.role != "user":
            return ()
        wanted = [tool for tool in prompt.tools if _is_asked_for(tool, prompt.question)]
        if not wanted and prompt.tool_choice == "required":
            wanted = [prompt.tools[0]]
    places = find_places(prompt.question)
    if len(wanted) == 1 and (len(places) > 1 or _TWO_CALLS.search(prompt.question)):
        wanted *= max(2, len(places))
    if not prompt.parallel_tool_calls:
        wanted = wanted[:1]
    return tuple(_call(tool, index, places, prompt.question) for index, tool in enumerate(wanted))


def _is_asked_for(tool: Tool, question: str) -> bool:
    lowered = question.lower()
    name = tool.name.lower()
    return (
        name in lowered
        or name.replace("_", " ").replace("-", " ") in lowered
        or ("weather" in lowered and "weather" in f"{name} {tool.description.lower()}")
    )


def find_places(text: str) -> list[str]:
    """Return the places a question names ("the weather in Paris and New York")."""
    match = _PLACES.search(text)
    return _PLACE.findall(match.group(1)) if match else []


def _call(tool: Tool, index: int, places: list[str], question: str) -> ToolCall:
    if tool.custom:
        return ToolCall(tool.name, question, custom=True)
    place = places[min(index, len(places) - 1)] if places else "Paris"
    hints = dict.fromkeys(("city", "location", "place", "town"), place) | dict.fromkeys(
        ("query", "question", "text", "input", "message"), question
    )
    try:
        arguments = make_value(tool.parameters or {"type": "object"}, hints)
        if not isinstance(arguments, Mapping):
            raise SchemaError('schema must be of "type": "object"')
    except SchemaError as error:
        message = f"Invalid schema for function '{tool.name}': {error}."
        raise PromptError(400, message, param="tools", code="invalid_function_parameters") from error
    return ToolCall(tool.name, _to_json(arguments))


def _count_choice(choice: Choice) -> int:
    if choice.pieces and len(choice.pieces[0]) == BIG_PIECE_CHARS:
        return len(choice.pieces) * len(split_tokens(_BIG_PIECE))
    return len(choice.pieces) + sum(1 + len(call.fragments) for call in choice.calls)


def _count_texts(texts: Iterable[str]) -> int:
    return sum(len(split_tokens(text)) for text in texts)


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_ECHO_CHARS else f"{text[:MAX_ECHO_CHARS]}…"


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()
