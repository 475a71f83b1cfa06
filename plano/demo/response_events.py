"""The stream of a response, as OpenAI's Responses API sends it.

Source: OpenAI's OpenAPI document, `ResponseStreamEvent`, and the API reference, "Streaming events".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from plano.demo.answers import Choice
from plano.demo.dialect import Event, EventKind
from plano.demo.prompts import PromptError


class _Events:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self._number = 0

    def make(self, kind: EventKind, name: str, /, **fields: Any) -> Event:
        """Return the next event."""
        data = orjson.dumps({"type": name, "sequence_number": self._number, **fields})
        self._number += 1
        return Event(kind, data, name)


def render_events(response: dict[str, Any], choice: Choice) -> Iterator[Event]:
    """Yield the events that build up `response`, whose items are those of `choice`."""
    events = _Events()
    begun = {key: value for key, value in response.items() if key != "usage"}
    begun |= {"status": "in_progress", "output": [], "completed_at": None, "incomplete_details": None}
    yield events.make("opening", "response.created", response=begun)
    yield events.make("opening", "response.in_progress", response=begun)
    calls = iter(choice.calls)
    for index, item in enumerate(response["output"]):
        match item["type"]:
            case "reasoning":
                yield from _render_reasoning(events, index, item, choice)
            case "message":
                yield from _render_message(events, index, item, choice)
            case _:
                yield from _render_call(events, index, item, next(calls).fragments)
    name = "response.incomplete" if response["status"] == "incomplete" else "response.completed"
    yield events.make("done", name, response=response)


def render_error_event(error: PromptError) -> Event:
    """Return the event that reports an error. Its number restarts: what came before is not known here."""
    fields = {"code": error.code or "server_error", "message": error.message, "param": error.param}
    return Event("closing", orjson.dumps({"type": "error", "sequence_number": 0, **fields}), "error")


def _render_reasoning(events: _Events, index: int, item: dict[str, Any], choice: Choice) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    begun = {**item, "summary": []}
    yield events.make("opening", "response.output_item.added", output_index=index, item=begun)
    part = {"type": "summary_text", "text": ""}
    yield events.make("opening", "response.reasoning_summary_part.added", **place, part=part)
    for thought in choice.thoughts:
        yield events.make("content", "response.reasoning_summary_text.delta", **place, delta=thought)
    yield events.make("closing", "response.reasoning_summary_text.done", **place, text=choice.thinking)
    yield events.make("closing", "response.reasoning_summary_part.done", **place, part=item["summary"][0])
    yield events.make("closing", "response.output_item.done", output_index=index, item=item)


def _render_message(events: _Events, index: int, item: dict[str, Any], choice: Choice) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part = item["content"][0]
    begun = {**item, "status": "in_progress", "content": []}
    yield events.make("opening", "response.output_item.added", output_index=index, item=begun)
    yield events.make("opening", "response.content_part.added", **place, part={**part, "text": ""})
    for piece in choice.pieces:
        yield events.make("content", "response.output_text.delta", **place, delta=piece, logprobs=[])
    yield events.make("closing", "response.output_text.done", **place, text=part["text"], logprobs=[])
    yield events.make("closing", "response.content_part.done", **place, part=part)
    yield events.make("closing", "response.output_item.done", output_index=index, item=item)


def _render_call(events: _Events, index: int, item: dict[str, Any], fragments: list[str]) -> Iterator[Event]:
    custom = item["type"] == "custom_tool_call"
    name = "response.custom_tool_call_input" if custom else "response.function_call_arguments"
    text = "input" if custom else "arguments"
    begun = {**item, text: ""} if custom else {**item, text: "", "status": "in_progress"}
    place = {"item_id": item["id"], "output_index": index}
    yield events.make("opening", "response.output_item.added", output_index=index, item=begun)
    for fragment in fragments:
        yield events.make("content", f"{name}.delta", **place, delta=fragment)
    whole = {text: item[text]} if custom else {text: item[text], "name": item["name"]}
    yield events.make("closing", f"{name}.done", **place, **whole)
    yield events.make("closing", "response.output_item.done", output_index=index, item=item)
