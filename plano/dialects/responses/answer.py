"""Whole answers of the responses dialect. Source: OpenAI API reference, "The response object" (Response)."""

from __future__ import annotations

from typing import Any

from plano.dialects.conversation import (
    Answer,
    BadAnswer,
    Block,
    Conversation,
    Image,
    Json,
    Opaque,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    Thinking,
    ToolUse,
)
from plano.dialects.custom_tools import custom_names, unwrap
from plano.dialects.responses.error import parse_error, render_error
from plano.dialects.responses.items import (
    REDACTED_PREFIX,
    SIGNATURE_PREFIX,
    make_thinking,
    tag_signature,
    untag_signature,
)
from plano.dialects.responses.output import (
    Envelope,
    annotation_of,
    call_item,
    citation_of,
    custom_call_item,
    is_encodable,
    message_item,
    name_answer,
    parse_usage,
    reasoning_item,
    reasoning_part,
    refusal_part,
    status_of,
    suffix_of,
    summary_part,
    text_part,
)
from plano.dialects.responses.parts import ITEM, PART
from plano.dialects.responses.tools import ToolNames

__all__ = ["parse_answer", "parse_error", "render_answer", "render_error"]


def parse_answer(body: Json) -> Answer:
    """The answer in a response object. Raises BadAnswer, also for one that has failed or is not done yet."""
    status = body.get("status", "completed")
    if status == "failed":
        raise BadAnswer(parse_error(body, 0).message)
    if status in ("queued", "in_progress"):
        raise BadAnswer(f"The upstream's answer is not done: its status is '{status}'.")
    output = body.get("output")
    if type(output) is not list:
        raise BadAnswer("The upstream's answer has no 'output' array.")
    blocks: list[Block] = []
    for index, item in enumerate(output):
        if type(item) is not dict:
            raise BadAnswer(f"'output[{index}]' of the upstream's answer must be an object.")
        blocks += _parse_item(item, f"output[{index}]")
    tier = body.get("service_tier")
    return Answer(
        _text(body, "id"),
        _text(body, "model"),
        blocks,
        stop_of(
            body,
            any(isinstance(block, ToolUse) for block in blocks),
            any(isinstance(block, Refusal) for block in blocks),
        ),
        parse_usage(body.get("usage")),
        created=parse_created(body),
        service_tier=tier if type(tier) is str else None,
    )


def parse_created(response: Json) -> int | None:
    """Unix seconds. The reference says number, and some servers send one with a fraction."""
    created: Any = response.get("created_at")
    if (type(created) is int or type(created) is float) and 0 < created < 1e12:
        return int(created)
    return None


def stop_of(response: Json, called: bool, refused: bool) -> StopReason:
    """Why the model stopped, by the final response object. `called`: it called a tool; `refused`: it declined."""
    status = response.get("status", "completed")
    if status == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if type(details) is dict else None
        if reason == "max_output_tokens":
            return StopReason.MAX_TOKENS
        return StopReason.FILTERED if reason == "content_filter" else StopReason.OTHER
    if status != "completed":
        return StopReason.OTHER
    if called:
        return StopReason.TOOL_USE
    return StopReason.REFUSAL if refused else StopReason.END


def _parse_item(item: Json, path: str) -> list[Block]:
    kind = item.get("type")
    if kind == "message":
        return [_parse_part(part, path) for part in _objects(item, "content", path)]
    if kind == "function_call":
        return [ToolUse(call_id_of(item), _need(item, "name", path), _need(item, "arguments", path))]
    if kind == "custom_tool_call":
        return [ToolUse(call_id_of(item), _need(item, "name", path), _need(item, "input", path), custom=True)]
    if kind == "reasoning":
        name, encrypted = _text(item, "id") or None, _text(item, "encrypted_content")
        return list(
            make_thinking(
                name,
                [_need(part, "text", path) for part in _objects(item, "summary", path)],
                [_need(part, "text", path) for part in _objects(item, "content", path)],
                tag_signature(encrypted, name) if encrypted else None,
            )
        )
    return [Opaque(ITEM, item)]


def _parse_part(part: Json, path: str) -> Block:
    kind = part.get("type")
    if kind == "output_text":
        return Text(_need(part, "text", path), citations=citations_of(part))
    if kind == "refusal":
        return Refusal(_need(part, "refusal", path))
    return Opaque(PART, part)


def citations_of(part: Json) -> list[Json]:
    annotations = part.get("annotations")
    found = [citation_of(annotation) for annotation in annotations] if type(annotations) is list else []
    return [citation for citation in found if citation is not None]


def call_id_of(item: Json) -> str:
    """What a tool's output will refer to; servers that do not know `call_id` have only the item's `id`."""
    return _text(item, "call_id") or _text(item, "id")


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    return value if type(value) is str else ""


def _need(body: Json, name: str, path: str) -> str:
    value = body.get(name)
    if type(value) is not str:
        raise BadAnswer(f"'{path}' of the upstream's answer has no '{name}', or not as a string.")
    return value


def _objects(item: Json, name: str, path: str) -> list[Json]:
    values: Any = item.get(name)
    if values is None:
        return []
    if type(values) is not list or any(type(value) is not dict for value in values):
        raise BadAnswer(f"'{path}.{name}' of the upstream's answer must be an array of objects.")
    objects: list[Json] = values
    return objects


def render_answer(answer: Answer, conversation: Conversation, created: int) -> Json:
    """The response object for a client. `created` (Unix seconds) is used when the upstream does not say."""
    refused = any(isinstance(block, Refusal) for block in answer.blocks)
    status, reason = status_of(answer.stop, refused)
    answer_id = name_answer(answer.id, created)
    output = _Output(answer_id, conversation)
    for block in answer.blocks:
        output.add(block)
    if status == "incomplete" and output.items and "status" in output.items[-1]:
        output.items[-1]["status"] = status
    return Envelope(conversation).render(
        answer_id,
        answer.model or conversation.model or "",
        created if answer.created is None else answer.created,
        status,
        output.items,
        usage=answer.usage,
        service_tier=answer.service_tier,
        reason=reason,
    )


class _Output:
    """Output items, made of blocks. Texts that follow each other are parts of one message, and so are thoughts with the
    id of one reasoning item."""

    def __init__(self, answer_id: str, conversation: Conversation) -> None:
        self.items: list[Json] = []
        self._suffix = suffix_of(answer_id)
        echo = conversation.notes.get("echo")
        self._names = ToolNames(echo.get("tools") if type(echo) is dict else None)
        self._custom = custom_names(conversation)
        self._taken: set[str] = set()  # ids of reasoning items
        self._thought: str | None = None  # the upstream's id of the reasoning item that is last, if it has one

    def add(self, block: Block) -> None:
        if isinstance(block, Text):
            annotations = [annotation_of(citation, len(block.text)) for citation in block.citations]
            self._add_part(text_part(block.text, [known for known in annotations if known is not None]))
        elif isinstance(block, Refusal):
            self._add_part(refusal_part(block.text))
        elif isinstance(block, Thinking):
            self._add_thought(block)
        elif isinstance(block, RedactedThinking):
            self._append(reasoning_item(self._id(REDACTED_PREFIX), [], [], block.data))
        elif isinstance(block, ToolUse):
            self._add_call(block)
        elif isinstance(block, Image) and block.data is not None:
            item = {"id": self._id("ig_"), "type": "image_generation_call", "status": "completed", "result": block.data}
            self._append(item)
        elif isinstance(block, Opaque) and block.dialect == PART and is_encodable(block.value):
            self._add_part(block.value)
        elif isinstance(block, Opaque) and block.dialect == ITEM and is_encodable(block.value):
            self._append(block.value)

    def _id(self, prefix: str) -> str:
        return f"{prefix}{self._suffix}_{len(self.items)}"

    def _append(self, item: Json) -> None:
        self._thought = None
        self.items.append(item)

    def _add_part(self, part: Json) -> None:
        if not self.items or self.items[-1].get("type") != "message":
            self._append(message_item(self._id("msg_"), [], "completed"))
        self.items[-1]["content"].append(part)

    def _add_thought(self, block: Thinking) -> None:
        if block.id is None or self._thought != block.id:
            name = block.id
            if name is None or name in self._taken or not name.startswith("rs_"):
                name = self._id("rs_")
            self._taken.add(name)
            self._append(reasoning_item(name, [], [], None))
            self._thought = block.id
        item = self.items[-1]
        if block.text and block.summary:
            item["summary"].append(summary_part(block.text))
        elif block.text:
            item.setdefault("content", []).append(reasoning_part(block.text))
        if block.signature is not None:
            found = untag_signature(block.signature)
            item["encrypted_content"] = block.signature if found is None else found[1]

    def _add_call(self, block: ToolUse) -> None:
        namespace, name = self._names.split(block.name)
        if block.custom or block.name in self._custom:
            text = block.arguments if block.custom else unwrap(block.arguments)
            item = custom_call_item(self._id("ctc_"), block.id, name, namespace, text, "completed")
        else:
            item = call_item(self._id("fc_"), block.id, name, namespace, block.arguments or "{}", "completed")
        self._append(item)
        if block.signature is not None:
            self._append(reasoning_item(SIGNATURE_PREFIX + block.id, [], [], block.signature))
