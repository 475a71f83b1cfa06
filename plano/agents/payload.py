"""What filters of an agent see of a request: `{model, messages}` in the shape of chat completions, whatever the
client's dialect is (spec 5.3), and how what they make of it goes back into the request. Pure."""

from __future__ import annotations

from typing import Any, Final

import orjson

from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import BadRequest, Dropped

Json = dict[str, Any]

PATH: Final = "/v1/chat/completions"
# The fields of each dialect that hold the conversation.
_CONVERSATION: Final = {
    "chat": ("messages",),
    "messages": ("system", "messages"),
    "responses": ("instructions", "input"),
}


class BadPayload(Exception):
    """What came back from a filter is no conversation. The message is safe to show a client."""


def render_payload(dialect: str, body: Json) -> bytes:
    """The conversation of the request `body`. Raises BadRequest when chat completions cannot express it."""
    messages = body.get("messages")
    if dialect != "chat":
        conversation = CLIENTS[dialect].parse_request(body)
        messages = UPSTREAMS["chat"].render_request(conversation, "", Dropped())["messages"]
    return orjson.dumps({"model": body.get("model"), "messages": messages})


def apply_payload(dialect: str, body: Json, before: bytes, after: bytes) -> Json:
    """The request `body` with the conversation that a filter has made of `before`. Raises BadPayload."""
    if after == before:
        return body
    try:
        payload = orjson.loads(after)
    except orjson.JSONDecodeError as error:
        raise BadPayload("it is not JSON") from error
    messages = payload.get("messages") if type(payload) is dict else None
    if type(messages) is not list or not messages:
        raise BadPayload("it holds no 'messages'")
    if dialect == "chat":
        return {**body, "messages": messages}
    if messages == orjson.loads(before)["messages"]:
        return body  # only written differently: the client's own words are kept to the byte
    try:
        conversation = CLIENTS["chat"].parse_request({"messages": messages})
        rendered = UPSTREAMS[dialect].render_request(conversation, "", Dropped())
    except BadRequest as bad:
        raise BadPayload(bad.message) from bad
    kept = {key: value for key, value in body.items() if key not in _CONVERSATION[dialect]}
    return {**kept, **{key: rendered[key] for key in _CONVERSATION[dialect] if key in rendered}}
