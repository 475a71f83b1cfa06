"""The conversation as the function model is shown it, hidden calls of earlier turns included. Pure.

A client sees the answers that were worded for it, not the calls behind them. It is given those as `x-arch-state` in the
metadata of an answer and may send that back with its next request (spec 6.3): then they are put back where they were.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from plano.dialects.codecs import UPSTREAMS
from plano.dialects.conversation import BadRequest, Conversation, Dropped
from plano.inference.roles.turns import trim_middle

Json = dict[str, Any]

STATE: Final = "x-arch-state"
PARAM: Final = "metadata.x-arch-state"
_OWN_PREFIX: Final = "x-arch-"

MAX_STATE_BYTES: Final = 4 * 1024 * 1024
MAX_MESSAGES: Final = 512
MAX_TEXT_BYTES: Final = 64 * 1024  # of one message; twice what the model's context holds
MAX_TOTAL_BYTES: Final = 256 * 1024
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})


def list_messages(dialect: str, body: Json, conversation: Conversation) -> list[Json]:
    """The messages of a request in the shape of chat completions. Raises BadRequest when it cannot express them."""
    if dialect == "chat":
        return list(body["messages"])
    messages: list[Json] = UPSTREAMS["chat"].render_request(conversation, "", Dropped())["messages"]
    return messages


def parse_state(metadata: Any) -> list[Json]:
    """The messages in `x-arch-state` of a request's metadata; empty when there is none. Raises BadRequest."""
    state = metadata.get(STATE) if isinstance(metadata, dict) else None
    if state is None:
        return []
    if isinstance(state, str):
        state = _load(state)
    messages = state.get("messages") if isinstance(state, dict) else None
    if isinstance(messages, str):
        messages = _load(messages)
    if not isinstance(messages, list) or not all(_is_message(message) for message in messages):
        raise BadRequest(f"'{PARAM}' is not what an answer of this gateway has brought.", PARAM)
    return messages[-MAX_MESSAGES:]


def render_state(messages: list[Json]) -> str:
    """What `parse_state` reads: the shape that clients of the original know."""
    return orjson.dumps({"messages": orjson.dumps(messages).decode()}).decode()


def restore_calls(messages: list[Json], state: list[Json]) -> list[Json]:
    """`messages` with the calls and results of `state` after the user's messages that led to them.

    The two are walked side by side, a user's message standing for itself: a client that has cut off old turns, or sends
    the state of an older answer, gets what still fits. Where it has kept the calls itself nothing is added.
    """
    if not state:
        return messages
    restored: list[Json] = []
    position = 0
    for index, message in enumerate(messages):
        restored.append(message)
        if message.get("role") != "user":
            continue
        found = _find_turn(state, position, message.get("content"))
        if found < 0:
            continue
        position = found + 1
        hidden: list[Json] = []
        while position < len(state) and _is_hidden(state[position]):
            hidden.append(state[position])
            position += 1
        following = messages[index + 1] if index + 1 < len(messages) else None
        if hidden and not (following is not None and _is_hidden(following)):
            restored += hidden
    return restored


def select_messages(messages: list[Json]) -> list[Json]:
    """The newest messages that the function model can make something of: text, calls and results, bounded in number and
    bytes. The last one is always among them."""
    selected: list[Json] = []
    left = MAX_TOTAL_BYTES
    for message in reversed(messages[-MAX_MESSAGES:]):
        plain = _simplify(message)
        size = len(orjson.dumps(plain))
        if size > left and selected:
            break
        selected.append(plain)
        left -= size
    selected.reverse()
    return selected


def asks_something(messages: list[Json]) -> bool:
    """Is the last message one of the user's, with words in it? Anything else is no prompt for a target."""
    last = messages[-1] if messages else {}
    return last.get("role") == "user" and bool(_text_of(last.get("content")).strip())


def without_state(body: Json) -> Json:
    """The request without what its metadata holds for us; `body` itself when there is nothing."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or not any(name.startswith(_OWN_PREFIX) for name in metadata):
        return body
    kept = {name: value for name, value in metadata.items() if not name.startswith(_OWN_PREFIX)}
    rest = {name: value for name, value in body.items() if name != "metadata"}
    return {**rest, "metadata": kept} if kept else rest


def _load(text: str) -> Any:
    if len(text) > MAX_STATE_BYTES:
        raise BadRequest(f"'{PARAM}' is larger than {MAX_STATE_BYTES} bytes.", PARAM)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest(f"'{PARAM}' is not JSON.", PARAM) from None


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        return False
    calls = message.get("tool_calls")
    return calls is None or (isinstance(calls, list) and all(isinstance(call, dict) for call in calls))


def _is_hidden(message: Json) -> bool:
    return message.get("role") == "tool" or bool(message.get("role") == "assistant" and message.get("tool_calls"))


def _find_turn(state: list[Json], start: int, content: Any) -> int:
    """The index of the user's message with this content, -1 when there is none from `start` on."""
    text = trim_middle(_text_of(content), MAX_TEXT_BYTES)  # as it was when it went into the state
    for index in range(start, len(state)):
        if state[index].get("role") == "user" and _text_of(state[index].get("content")) == text:
            return index
    return -1


def _simplify(message: Json) -> Json:
    plain: Json = {
        "role": message.get("role"),
        "content": trim_middle(_text_of(message.get("content")), MAX_TEXT_BYTES),
    }
    for key in ("tool_call_id", "name"):
        if isinstance(message.get(key), str):
            plain[key] = message[key][:256]
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        plain["tool_calls"] = [_simplify_call(call) for call in calls[:64] if isinstance(call, dict)]
    return plain


def _simplify_call(call: Json) -> Json:
    function = call.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(arguments, str) or len(arguments) > MAX_TEXT_BYTES:
        arguments = "{}"
    return {
        "id": str(call.get("id", ""))[:256],
        "type": "function",
        "function": {"name": str(name or "")[:256], "arguments": arguments},
    }


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str) and text)
