"""What the client is told of the calls behind an answer (spec 6.3): metadata of a document, leading chunks of a stream.
Chat completions only; the other dialects have no place for it. Pure, but for the filter that puts it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from plano.agents.filters import FilteredRequest
from plano.config.plan import FilterPlan
from plano.functions.history import STATE, render_state, select_messages
from plano.functions.visits import Result

Json = dict[str, Any]

MODEL: Final = "Arch-Function"  # what the original calls the model that decides about calls
_PLAN: Final = FilterPlan("prompt targets", "http", "", on_failure="allow")


class Disclosure:
    """The calls of one turn and their results, or (`results` empty) what the client's own state holds.

    `messages` is the conversation as the function model saw it, `raw` what that model said.
    """

    def __init__(self, messages: list[Json], results: Sequence[Result] = (), raw: str = "") -> None:
        self._results = results
        self._call = _call_message(results)
        self._answers = [_answer_message(result) for result in results]
        self._metadata: dict[str, str] = {}
        if results:
            answers: Any = self._answers if len(self._answers) > 1 else self._answers[0]
            self._metadata["x-arch-tool-call-message"] = orjson.dumps(self._call).decode()
            self._metadata["x-arch-api-response-message"] = orjson.dumps(answers).decode()
            if raw:
                self._metadata["x-arch-fc-model-response"] = raw
            messages = [*messages, self._call, *self._answers]
        self._metadata[STATE] = render_state(select_messages(messages))

    def annotate(self, document: bytes) -> bytes:
        """The document with metadata; as it is when it is no JSON object."""
        try:
            answer = orjson.loads(document)
        except orjson.JSONDecodeError:
            return document
        if type(answer) is not dict or "error" in answer:
            return document
        given = answer.get("metadata")
        answer["metadata"] = {**(given if type(given) is dict else {}), **self._metadata}
        return orjson.dumps(answer)

    def lead_in(self, id: str, created: int) -> bytes:
        """The events before the first one of the answer: the calls, then each result. The first carries the metadata
        that a document would."""
        if not self._results:
            return b""
        calls = [{"index": index, **call} for index, call in enumerate(self._call["tool_calls"])]
        deltas: list[Json] = [{"role": "assistant", "content": None, "tool_calls": calls}, *self._answers]
        chunks: list[Json] = [
            {
                "id": f"chatcmpl-{id}",
                "object": "chat.completion.chunk",
                "created": created,
                "model": MODEL,
                "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}],
            }
            for delta in deltas
        ]
        chunks[0]["metadata"] = {STATE: self._metadata[STATE]}
        return b"".join([b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks])


class DisclosingFilter:
    """Puts the metadata into a document, as the first of the filters that an answer passes."""

    def __init__(self, disclosure: Disclosure) -> None:
        self.plan = _PLAN
        self._disclosure = disclosure

    async def call(self, payload: bytes, request: FilteredRequest) -> bytes:
        """The document with its metadata."""
        return self._disclosure.annotate(payload)

    async def close(self) -> None:
        """There is nothing to close."""


def _call_message(results: Sequence[Result]) -> Json:
    calls = [
        {
            "id": result.visit.id,
            "type": "function",
            "function": {
                "name": result.visit.target.name,
                "arguments": orjson.dumps(result.visit.arguments).decode(),
            },
        }
        for result in results
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _answer_message(result: Result) -> Json:
    return {"role": "tool", "tool_call_id": result.visit.id, "content": result.text}
