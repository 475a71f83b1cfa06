"""Answers of the chat completions dialect: of an upstream, and for a client. Their errors: see chat_errors.py.

Source: OpenAI API reference, "The chat completion object" (CreateChatCompletionResponse and its
ChatCompletionResponseMessage).
"""

from __future__ import annotations

from typing import Any

from plano.dialects.chat.citations import parse_annotations, render_annotations
from plano.dialects.chat.content import parse_content
from plano.dialects.chat.errors import is_error, parse_error, render_error
from plano.dialects.chat.prompt import join_texts
from plano.dialects.chat.reasoning import read_reasoning, render_reasoning
from plano.dialects.chat.tools import arguments_text, render_call, tagged_signature
from plano.dialects.chat.usage import SERVICE_TIERS, finish_reason, parse_usage, render_usage, stop_of, stop_sequence_of
from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    BadRequest,
    Block,
    Choice,
    Conversation,
    Json,
    Opaque,
    Refusal,
    StopReason,
    Text,
    ToolUse,
)

__all__ = ["call_id", "parse_answer", "parse_error", "render_answer", "render_error"]


def parse_answer(body: dict[str, Any]) -> Answer:
    """An upstream's answer. Raises BadAnswer when there is none in it."""
    if is_error(body):
        raise BadAnswer(parse_error(body, 0).message)
    values = body.get("choices")
    if type(values) is not list or not values:
        raise BadAnswer("The upstream's answer has no choices.")
    answer_id = body.get("id")
    answer_id = answer_id if type(answer_id) is str else ""
    model, created, tier = body.get("model"), body.get("created"), body.get("service_tier")
    choices = [_parse_choice(value, number, answer_id) for number, value in enumerate(values)]
    choices.sort(key=_index_of)
    first = choices[0]
    return Answer(
        answer_id,
        model if type(model) is str else "",
        first.blocks,
        first.stop,
        parse_usage(body.get("usage")),
        stop_sequence=_stop_sequence(values, first),
        created=created if type(created) is int else None,
        service_tier=tier if type(tier) is str else None,
        alternatives=choices[1:],
    )


def render_answer(answer: Answer, conversation: Conversation, created: int) -> dict[str, Any]:
    """The answer for a client. `created` (Unix seconds) counts where the upstream has not said."""
    legacy = conversation.notes.get("functions") is True
    choices = [_render_choice(0, answer.blocks, answer.stop, legacy)]
    choices += [_render_choice(choice.index, choice.blocks, choice.stop, legacy) for choice in answer.alternatives]
    body: Json = {
        "id": answer.id,
        "object": "chat.completion",
        "created": created if answer.created is None else answer.created,
        "model": answer.model,
        "choices": choices,
    }
    if answer.usage.known:
        body["usage"] = render_usage(answer.usage)
    if answer.service_tier in SERVICE_TIERS:
        body["service_tier"] = answer.service_tier
    return body


def call_id(answer_id: str, choice: int, number: int) -> str:
    """An id for a tool call that came without one. Two calls of one conversation must not share it, so it is made of
    the answer's id, of which only what all dialects allow in such an id is used."""
    allowed = [letter for letter in answer_id if letter.isascii() and (letter.isalnum() or letter in "_-")]
    return f"call_{choice}_{number}_{''.join(allowed)}"[:64]


def _index_of(choice: Choice) -> int:
    return choice.index


def _stop_sequence(values: list[Any], first: Choice) -> str | None:
    for number, value in enumerate(values):
        if _number_of(value, number) == first.index:
            return stop_sequence_of(value, first.stop)
    return None


def _number_of(value: Json, number: int) -> int:
    index = value.get("index")
    return index if type(index) is int else number


def _parse_choice(value: Any, number: int, answer_id: str) -> Choice:
    message = value.get("message") if type(value) is dict else None
    if type(value) is not dict or type(message) is not dict:
        raise BadAnswer("A choice of the upstream's answer has no message.")
    index = _number_of(value, number)
    blocks = read_reasoning(message, upstream=True)
    content = message.get("content")
    if type(content) is str:
        if content:
            blocks.append(Text(content, citations=parse_annotations(message.get("annotations"))))
    elif content is not None:
        try:
            blocks.extend(parse_content(content, "content"))
        except BadRequest as error:
            raise BadAnswer(f"The upstream's answer has content that is not understood: {error.message}") from None
    refusal = message.get("refusal")
    if type(refusal) is str and refusal:
        blocks.append(Refusal(refusal))
    blocks.extend(opaque_parts(message))
    blocks.extend(_parse_calls(message, index, answer_id))
    stop = stop_of(
        value.get("finish_reason"),
        any(isinstance(block, ToolUse) for block in blocks),
        any(isinstance(block, Refusal) for block in blocks),
    )
    if stop is StopReason.END and stop_sequence_of(value, stop) is not None:
        stop = StopReason.STOP_SEQUENCE
    return Choice(index, blocks, stop)


def opaque_parts(message: Json) -> list[Opaque]:
    """What only this dialect has in an answer: spoken audio, and the images of OpenRouter."""
    parts: list[Opaque] = []
    audio, images = message.get("audio"), message.get("images")
    if type(audio) is dict:
        parts.append(Opaque("chat", {"type": "audio", "audio": audio}))
    if type(images) is list:
        parts.extend(Opaque("chat", image) for image in images if type(image) is dict)
    return parts


def _parse_calls(message: Json, choice: int, answer_id: str) -> list[Block]:
    values = message.get("tool_calls")
    calls: list[Block] = []
    if type(values) is list:
        for number, value in enumerate(values):
            if type(value) is not dict:
                raise BadAnswer("A tool call of the upstream's answer is not an object.")
            custom = value.get("custom") if value.get("type") == "custom" else None
            if type(custom) is dict:
                calls.append(_parse_call(value, custom, "input", call_id(answer_id, choice, number)))
            else:
                calls.append(_parse_call(value, value.get("function"), "arguments", call_id(answer_id, choice, number)))
    function = message.get("function_call")
    if type(function) is dict and not calls:
        calls.append(_parse_call({}, function, "arguments", call_id(answer_id, choice, 0)))
    return calls


def _parse_call(value: Json, function: Any, field: str, default_id: str) -> ToolUse:
    name = function.get("name") if type(function) is dict else None
    if type(name) is not str or not name:
        raise BadAnswer("A tool call of the upstream's answer has no name.")
    given = value.get("id")
    text = arguments_text(function.get(field))
    if text is None:
        raise BadAnswer("A tool call of the upstream's answer is nested too deeply.")
    return ToolUse(
        given if type(given) is str and given else default_id,
        name,
        text,
        custom=field == "input",
        signature=tagged_signature(value),
    )


def _render_choice(index: int, blocks: list[Block], stop: StopReason, legacy: bool) -> Json:
    calls = [render_call(block, block.signature) for block in blocks if isinstance(block, ToolUse)]
    refusals = [block.text for block in blocks if isinstance(block, Refusal)]
    text = join_texts(blocks)
    message: Json = {
        "role": "assistant",
        "content": text or (None if calls or refusals else ""),
        "refusal": "".join(refusals) or None,
    }
    message.update(render_reasoning(blocks))
    annotations = render_annotations(blocks)
    if annotations:
        message["annotations"] = annotations
    if calls and legacy and "function" in calls[0]:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    for block in blocks:
        if isinstance(block, Opaque) and block.dialect == "chat":
            if "audio" in block.value:
                message["audio"] = block.value["audio"]
            else:
                message.setdefault("images", []).append(block.value)
    return {
        "index": index,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(stop, bool(refusals), legacy),
    }
