"""Items of the responses dialect and the turns they make: `input` of a request, both ways.

Source: OpenAI API reference, "Create a model response", `input`; guides "Conversation state", "Function calling" and
"Reasoning" (what must come back with a tool's output).

A turn of the model is several items here: its reasoning, its message, its calls. They are put together as long as
nothing of the user's stands between them, so that calls made in parallel stay together.

Two kinds of reasoning items are ours (`responses_output.py` makes them for answers of other dialects): one that holds
redacted thinking, and one that holds the signature of a tool call. Their ids say so, and here they turn back.

Encrypted reasoning is of use to its provider only, which refuses a request with any other, and checks the id of its
item. So it leaves here, for the hub, with a tag and that id; what comes back without them is another provider's, unless
it came straight from a client of this dialect.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

from plano.dialects.chat.content import name_of
from plano.dialects.chat.fields import join_path, read_array, read_string, require_string
from plano.dialects.conversation import (
    BadRequest,
    Block,
    Dropped,
    Json,
    Opaque,
    RedactedThinking,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Turn,
    Untranslatable,
)
from plano.dialects.omission import error_text, kind_of, omit
from plano.dialects.responses.parts import ITEM, parse_content, render_part
from plano.dialects.responses.tools import ToolNames

SIGNATURE_TAG: Final = "responses:"
REDACTED_PREFIX: Final = "rs_redacted_"
SIGNATURE_PREFIX: Final = "rs_for_"

# OpenAI's encrypted reasoning: a Fernet token, whose first bytes are always these.
_OPENAI_SIGNATURE: Final = "gAAAA"
# The ids we give to reasoning items: those of providers have no number at their end.
_OUR_IDS: Final = re.compile(r"rs_.+_\d+")

# The longest `call_id`, and the longest `user`, the API accepts.
_ID_LENGTH: Final = 64


def parse_items(items: list[Any], names: ToolNames) -> tuple[list[Text], list[Turn]]:
    """(system texts before the first turn, turns) of an `input` list."""
    parser = _ItemParser(names)
    for index, item in enumerate(items):
        parser.take(item, f"input[{index}]")
    return parser.system, parser.turns


class _ItemParser:
    def __init__(self, names: ToolNames) -> None:
        self.system: list[Text] = []
        self.turns: list[Turn] = []
        self._names = names
        self._tool_names: dict[str, str] = {}
        self._calls: dict[str, ToolUse] = {}
        self._signatures: dict[str, str] = {}

    def take(self, item: Any, path: str) -> None:
        if type(item) is not dict:
            raise BadRequest(f"'{path}' must be an object.", path)
        kind = read_string(item, "type", path)
        if kind is None:
            if "role" in item:
                kind = "message"
            elif "id" in item:
                kind = "item_reference"
            else:
                raise BadRequest(f"'{path}' has neither a 'type' nor a 'role'.", join_path(path, "type"))
        if kind == "message":
            self._take_message(item, path)
        elif kind == "function_call" or kind == "custom_tool_call":
            self._take_call(item, kind == "custom_tool_call", path)
        elif kind == "function_call_output" or kind == "custom_tool_call_output":
            self._take_output(item, path)
        elif kind == "reasoning":
            self._take_reasoning(item, path)
        elif kind == "item_reference":
            name = require_string(item, "id", path)
            raise Untranslatable(f"'{path}' refers to the item '{name}', which this request does not hold.", path)
        elif kind.endswith(("_output", "_response")):
            self._add("user", Opaque(ITEM, item))
        else:
            self._add("assistant", Opaque(ITEM, item))

    def _take_message(self, item: Json, path: str) -> None:
        role = require_string(item, "role", path)
        blocks = parse_content(item.get("content"), join_path(path, "content"))
        if role == "assistant":
            for block in blocks:
                self._add("assistant", block)
        elif role == "user":
            self.turns.append(Turn("user", blocks, path=path))
        elif role == "system" or role == "developer":
            texts = [block for block in blocks if isinstance(block, Text)]
            if self.turns or len(texts) < len(blocks):
                self.turns.append(Turn("system", blocks, path=path))
            else:
                self.system += texts
        else:
            where = join_path(path, "role")
            raise BadRequest(f"'{where}' must be user, assistant, system or developer.", where)

    def _take_call(self, item: Json, custom: bool, path: str) -> None:
        call_id = require_string(item, "call_id", path)
        name = self._names.join(read_string(item, "namespace", path), require_string(item, "name", path))
        arguments = require_string(item, "input" if custom else "arguments", path)
        call = ToolUse(call_id, name, arguments, custom, signature=self._signatures.pop(call_id, None))
        self._tool_names[call_id] = name
        self._calls[call_id] = call
        self._add("assistant", call)

    def _take_output(self, item: Json, path: str) -> None:
        call_id = require_string(item, "call_id", path)
        content = parse_content(item.get("output"), join_path(path, "output"))
        self._add("user", ToolResult(call_id, content, name=self._tool_names.get(call_id)))

    def _take_reasoning(self, item: Json, path: str) -> None:
        name = read_string(item, "id", path)
        signature = read_string(item, "encrypted_content", path)
        if name is not None and signature is not None:
            if name.startswith(REDACTED_PREFIX):
                self._add("assistant", RedactedThinking(signature))
                return
            if name.startswith(SIGNATURE_PREFIX):
                self._sign_call(name.removeprefix(SIGNATURE_PREFIX), signature)
                return
        summary = _read_reasoning_texts(item, "summary", path)
        content = _read_reasoning_texts(item, "content", path)
        for block in make_thinking(name, summary, content, signature):
            self._add("assistant", block)

    def _sign_call(self, call_id: str, signature: str) -> None:
        call = self._calls.get(call_id)
        if call is None:
            self._signatures[call_id] = signature
        else:
            call.signature = signature

    def _add(self, role: str, block: Block) -> None:
        """To the turn that is open, if it is the model's (or holds only tool results), else to a new one."""
        last = self.turns[-1] if self.turns else None
        if last is not None and last.role == role and (role == "assistant" or _holds_results(last)):
            last.blocks.append(block)
        else:
            self.turns.append(Turn("assistant", [block]) if role == "assistant" else Turn("user", [block]))


def _holds_results(turn: Turn) -> bool:
    if not turn.blocks:
        return True
    first = turn.blocks[0]  # messages hold none, and nothing but results joins a result
    return isinstance(first, ToolResult) or (isinstance(first, Opaque) and first.dialect == ITEM)


def _read_reasoning_texts(item: Json, name: str, path: str) -> list[str]:
    texts: list[str] = []
    for index, part in enumerate(read_array(item, name, path) or []):
        where = f"{join_path(path, name)}[{index}]"
        if type(part) is not dict:
            raise BadRequest(f"'{where}' must be an object.", where)
        texts.append(require_string(part, "text", where))
    return texts


def make_thinking(name: str | None, summary: list[str], content: list[str], signature: str | None) -> list[Thinking]:
    """The blocks of one reasoning item: one per part, the signature with the last."""
    blocks = [Thinking(text, id=name, summary=True) for text in summary]
    blocks += [Thinking(text, id=name) for text in content]
    if signature:
        if not blocks:
            blocks.append(Thinking("", id=name))
        blocks[-1].signature = signature
    return blocks


def tag_signature(encrypted: str, name: str | None) -> str:
    """The hub's signature for the encrypted content of an upstream's reasoning item."""
    return f"{SIGNATURE_TAG}{name or ''}:{encrypted}"


def untag_signature(signature: str) -> tuple[str, str] | None:
    """(id of the item, encrypted content) of such a signature; None for any other."""
    if not signature.startswith(SIGNATURE_TAG):
        return None
    name, _, encrypted = signature.removeprefix(SIGNATURE_TAG).partition(":")
    return name, encrypted


def render_items(turns: list[Turn], native: bool, dropped: Dropped) -> list[Json]:
    """The `input` list of a request for an upstream of this dialect. `native`: the client speaks it too."""
    renderer = _ItemRenderer(native, dropped)
    for number, turn in enumerate(turns):
        renderer.take(turn, turn.path or f"messages[{number}]")
    return renderer.items


class _ItemRenderer:
    def __init__(self, native: bool, dropped: Dropped) -> None:
        self.items: list[Json] = []
        self._native = native
        self._dropped = dropped
        self._custom: set[str] = set()
        self._parts: list[Json] = []

    def take(self, turn: Turn, path: str) -> None:
        if turn.name is not None:
            self._dropped.add("name")
        for index, block in enumerate(turn.blocks):
            where = f"{path}.content[{index}]"
            part = render_part(block, turn.role == "assistant", where, self._dropped)
            if part is not None:
                self._parts.append(part)
                continue
            self._end_message(turn)
            self._add_item(block, turn.role == "assistant", where)
        self._end_message(turn)

    def _end_message(self, turn: Turn) -> None:
        if self._parts:
            self.items.append({"type": "message", "role": turn.role, "content": self._parts})
            self._parts = []

    def _add_item(self, block: Block, by_model: bool, path: str) -> None:
        if isinstance(block, ToolUse):
            self._add_call(block)
        elif isinstance(block, ToolResult):
            self._add_output(block, path)
        elif isinstance(block, Thinking):
            self._add_reasoning(block)
        elif isinstance(block, RedactedThinking):
            self._dropped.add("redacted_thinking")
        elif isinstance(block, Opaque):
            if block.dialect == ITEM:
                self.items.append(block.value)
            else:
                omit(block, by_model, path, kind_of(block), self._dropped)

    def _add_call(self, call: ToolUse) -> None:
        if call.cache is not None:
            self._dropped.add("cache_control")
        if call.signature is not None:
            self._dropped.add("signature")
        call_id = shorten(call.id, "call_")
        if call.custom:
            self._custom.add(call.id)
            item = {"type": "custom_tool_call", "call_id": call_id, "name": call.name, "input": call.arguments}
        else:
            arguments = call.arguments or "{}"
            item = {"type": "function_call", "call_id": call_id, "name": call.name, "arguments": arguments}
        self.items.append(item)

    def _add_output(self, result: ToolResult, path: str) -> None:
        if result.cache is not None:
            self._dropped.add("cache_control")
        parts: list[Json] = []
        for index, block in enumerate(result.content):
            where = f"{result.path or path}.content[{index}]"
            part = render_part(block, False, where, self._dropped)
            if part is not None:
                parts.append(part)
            elif isinstance(block, Opaque):
                omit(block, False, where, kind_of(block), self._dropped)
            else:
                self._dropped.add(name_of(block))
        if result.is_error:
            first = parts.pop(0)["text"] if parts and parts[0]["type"] == "input_text" else ""
            parts.insert(0, {"type": "input_text", "text": error_text(first)})
        kind = "custom_tool_call_output" if result.id in self._custom else "function_call_output"
        item: Json = {"type": kind, "call_id": shorten(result.id, "call_")}
        if not parts:
            item["output"] = ""
        elif len(parts) == 1 and parts[0]["type"] == "input_text":
            item["output"] = parts[0]["text"]
        else:
            item["output"] = parts
        self.items.append(item)

    def _add_reasoning(self, block: Thinking) -> None:
        name, encrypted = block.id, block.signature
        found = untag_signature(encrypted) if encrypted is not None else None
        if found is not None:
            name, encrypted = found[0] or None, found[1]
        elif not self._is_own(block):
            self._dropped.add("thinking")
            return
        last = self.items[-1] if self.items else None
        if name is not None and last is not None and last["type"] == "reasoning" and last.get("id") == name:
            item = last
        else:
            item = {"type": "reasoning", "summary": []}
            if name is not None:
                item["id"] = name
            self.items.append(item)
        # What passed through another dialect may have been a summary. OpenAI takes no reasoning text as input.
        if block.text and (block.summary or found is not None):
            item["summary"].append({"type": "summary_text", "text": block.text})
        elif block.text:
            item.setdefault("content", []).append({"type": "reasoning_text", "text": block.text})
        if encrypted is not None:
            item["encrypted_content"] = encrypted

    def _is_own(self, block: Thinking) -> bool:
        """May reasoning without a tag go to a provider of this dialect?"""
        if block.signature is not None and block.signature.startswith(_OPENAI_SIGNATURE):
            return True
        if not self._native or block.id is None or _OUR_IDS.fullmatch(block.id) is not None:
            return False
        return block.signature is None or ":" not in block.signature


def shorten(name: str, prefix: str) -> str:
    """An id as this API accepts it: one of more than 64 characters becomes `prefix` and a digest, always the same."""
    if len(name) <= _ID_LENGTH:
        return name
    return prefix + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
