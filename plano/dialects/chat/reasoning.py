"""Reasoning in the chat dialect, for which OpenAI's reference has no field and everybody else has one.

- `reasoning_content` (DeepSeek, Moonshot, Qwen, Z.ai; vLLM before 0.12) and `reasoning` (vLLM, Groq, OpenRouter): text.
- `reasoning_details` (OpenRouter, "Preserving reasoning"): a list of `reasoning.text` {text, signature},
  `reasoning.summary` {summary} and `reasoning.encrypted` {data}; what carries signatures, both ways.
- `thinking_blocks` (LiteLLM): Anthropic's blocks.

We write `reasoning_content`, and `reasoning_details` only where there is something to prove or to hide. What an
upstream of this dialect proves or hides is of use to it alone: it gets a tag, with OpenRouter's name of its format, so
that no other dialect mistakes it for its own, and only what has the tag goes back to such an upstream.
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.conversation import Block, Dropped, Json, RedactedThinking, Thinking

_TAG: Final = "chat:"


def read_reasoning(message: Json, upstream: bool) -> list[Block]:
    """The reasoning of a message: of an upstream's answer, or of a client's request. What is of another type than it
    should be is ignored: these are extensions that nobody has promised."""
    details = message.get("reasoning_details")
    if type(details) is list:
        blocks = _read_details(details, upstream)
        if blocks:
            return blocks
    native = message.get("thinking_blocks")
    if type(native) is list:
        blocks = _read_native(native, upstream)
        if blocks:
            return blocks
    text = reasoning_text(message)
    return [Thinking(text)] if text else []


def reasoning_text(message: Json) -> str:
    """The plain text of the reasoning in a message or a delta; "" when there is none. vLLM and OpenRouter may send it
    under both names."""
    text = message.get("reasoning_content")
    if type(text) is str and text:
        return text
    text = message.get("reasoning")
    return text if type(text) is str else ""


def render_reasoning(blocks: list[Block]) -> Json:
    """The fields of an answer's message that carry its reasoning to a client; empty when there is none."""
    details: list[Json] = []
    signed = False
    for block in blocks:
        if isinstance(block, Thinking):
            signed = signed or block.signature is not None
            details.append(thinking_detail(len(details), block))
        elif isinstance(block, RedactedThinking):
            signed = True
            details.append(redacted_detail(len(details), block.data))
    return _fields(blocks, details if signed else [])


def render_sent_reasoning(blocks: list[Block], dropped: Dropped) -> Json:
    """The fields of a request's message that carry its reasoning back to an upstream; empty when there is none."""
    details: list[Json] = []
    signed = False
    for block in blocks:
        if isinstance(block, Thinking):
            found = split_tag(block.signature)
            detail = thinking_detail(len(details), Thinking(block.text, None, block.id, block.summary))
            if found is not None:
                signed = True
                detail["signature"] = found[1]
                if found[0]:
                    detail["format"] = found[0]
            details.append(detail)
        elif isinstance(block, RedactedThinking):
            found = split_tag(block.data)
            if found is None:
                dropped.add("redacted_thinking")
                continue
            signed = True
            detail = redacted_detail(len(details), found[1])
            if found[0]:
                detail["format"] = found[0]
            details.append(detail)
    return _fields(blocks, details if signed else [])


def tag(value: str, detail: Json) -> str:
    """The signature or the hidden data of an upstream, marked as such."""
    form = detail.get("format")
    return f"{_TAG}{form if type(form) is str else ''}:{value}"


def split_tag(value: str | None) -> tuple[str, str] | None:
    """(format, value) of what an upstream of this dialect has made; None for another's."""
    if value is None or not value.startswith(_TAG):
        return None
    form, _, rest = value.removeprefix(_TAG).partition(":")
    return form, rest


def _fields(blocks: list[Block], details: list[Json]) -> Json:
    texts = [block.text for block in blocks if isinstance(block, Thinking) and block.text]
    fields: Json = {}
    if texts:
        fields["reasoning_content"] = "\n\n".join(texts)
    if details:
        fields["reasoning_details"] = details
    return fields


def thinking_detail(index: int, block: Thinking) -> Json:
    detail: Json = {"index": index}
    if block.summary:
        detail["type"] = "reasoning.summary"
        detail["summary"] = block.text
    else:
        detail["type"] = "reasoning.text"
        detail["text"] = block.text
    if block.signature is not None:
        detail["signature"] = block.signature
    if block.id is not None:
        detail["id"] = block.id
    return detail


def redacted_detail(index: int, data: str) -> Json:
    return {"index": index, "type": "reasoning.encrypted", "data": data}


def _read_details(details: list[Any], upstream: bool) -> list[Block]:
    blocks: list[Block] = []
    last: Thinking | None = None
    last_index: Any = None
    for detail in details:
        if type(detail) is not dict:
            continue
        kind = detail.get("type")
        if kind == "reasoning.encrypted":
            data = detail.get("data")
            if type(data) is str:
                blocks.append(RedactedThinking(tag(data, detail) if upstream else data))
                last = None
            continue
        text = detail.get("summary" if kind == "reasoning.summary" else "text")
        signature = detail.get("signature")
        if type(signature) is not str or not signature:
            signature = None
        elif upstream:
            signature = tag(signature, detail)
        if type(text) is not str or (kind not in ("reasoning.text", "reasoning.summary")):
            text = ""
        if not text and signature is None:
            continue
        # A client that collects the deltas of a stream sends one thought in many pieces, the signature in the last.
        if last is not None and last.signature is None and last_index == detail.get("index"):
            last.text += text
            last.signature = signature
            continue
        item_id = detail.get("id")
        named = item_id if type(item_id) is str else None
        last = Thinking(text, signature=signature, id=named, summary=kind == "reasoning.summary")
        last_index = detail.get("index")
        blocks.append(last)
    return blocks


def _read_native(native: list[Any], upstream: bool) -> list[Block]:
    blocks: list[Block] = []
    for value in native:
        if type(value) is not dict:
            continue
        text, signature, data = value.get("thinking"), value.get("signature"), value.get("data")
        if type(text) is str:
            if type(signature) is not str or not signature:
                signature = None
            elif upstream:
                signature = tag(signature, {})
            blocks.append(Thinking(text, signature=signature))
        elif type(data) is str:
            blocks.append(RedactedThinking(tag(data, {}) if upstream else data))
    return blocks
