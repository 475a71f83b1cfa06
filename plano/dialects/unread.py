"""Fields inside a request that are known to no translator: a client is told that they went no further.

Fields at the top of a request are in `Conversation.extra`; those within its messages, tools and options are found here,
by what each place may hold (OpenAI API reference: CreateChatCompletionRequest, CreateResponse). The messages dialect
keeps its own under their paths. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = dict[str, Any]

# What answers say of calls that the model itself has made, and clients send back.
_DIRECT_CALLER: Final = {"type": "direct"}


@dataclass(frozen=True, slots=True)
class _Place:
    """What an object holds: fields that are read, and those of them in which objects stand, or arrays of objects.
    `kinds`: the values of `type` it has this for; others pass whole, or are refused, and are not looked into."""

    fields: frozenset[str]
    inner: Mapping[str, _Place] = field(default_factory=dict)
    kinds: frozenset[str | None] = frozenset()


def _place(fields: str, kinds: str = "", **inner: _Place) -> _Place:
    """`kinds` ends in a comma where an object may have no type."""
    names = frozenset(kind or None for kind in kinds.split(",")) if kinds else frozenset[str | None]()
    return _Place(frozenset(fields.split()) | frozenset(inner), inner, names)


_CACHE: Final = "cache_control prompt_cache_breakpoint"

_CHAT_PART: Final = _place(
    f"type text refusal thinking signature {_CACHE}",
    "text,input_text,output_text,image_url,input_audio,file,refusal,thinking",
    image_url=_place("url detail"),
    input_audio=_place("data format"),
    file=_place("filename file_data file_id"),
)
_CHAT_CALL: Final = _place(
    f"id type index extra_content {_CACHE}",
    function=_place("name arguments"),
    custom=_place("name input"),
)
# Annotations of earlier answers are for people: no model reads them.
_CHAT_MESSAGE: Final = _place(
    "role name tool_call_id refusal audio annotations reasoning reasoning_content reasoning_details thinking_blocks"
    f" {_CACHE}",
    content=_CHAT_PART,
    tool_calls=_CHAT_CALL,
    function_call=_place("name arguments"),
)
_FUNCTION: Final = _place(f"name description parameters strict {_CACHE}")
_CHAT: Final = {
    "messages": _CHAT_MESSAGE,
    "functions": _FUNCTION,
    "tools": _place(
        f"type name description parameters strict {_CACHE}",
        "function,custom",
        function=_FUNCTION,
        custom=_place("name description format"),
    ),
    "tool_choice": _place(
        "type name",
        function=_place("name"),
        custom=_place("name"),
        allowed_tools=_place("mode tools"),
    ),
    "response_format": _place(
        "type", "text,json_object,json_schema", json_schema=_place("name description schema strict")
    ),
    "reasoning": _place("effort max_tokens enabled summary"),
    "thinking": _place("type budget_tokens"),
}

_PART: Final = _place(
    "type text annotations logprobs refusal image_url file_id detail file_data file_url filename"
    " prompt_cache_breakpoint",
    "input_text,output_text,text,refusal,input_image,input_file,input_audio",
    input_audio=_place("data format"),
)
_MEMBER: Final = _place("type name description parameters strict format", "function,custom")
_RESPONSES: Final = {
    "input": _place(
        "type id status role call_id name namespace arguments input summary encrypted_content",
        "message,function_call,function_call_output,custom_tool_call,custom_tool_call_output,reasoning,",
        content=_PART,
        output=_PART,
    ),
    "tools": _place(
        "type name description parameters strict format",
        "function,custom,namespace",
        tools=_MEMBER,
    ),
    "tool_choice": _place("type name namespace mode tools", "function,custom,allowed_tools"),
    "text": _place("verbosity", format=_place("type name description schema strict")),
}
# What is not read of these stands in `extra` already.
_TOLD: Final = frozenset({"text"})


def list_unread_chat(body: Json) -> list[str]:
    """The paths of such fields of a chat completions request, in order (`messages[0].content[1].fps`)."""
    return _list(body, _CHAT)


def list_unread_responses(body: Json) -> list[str]:
    """The same of a responses request."""
    return _list(body, _RESPONSES)


def _list(body: Json, places: Mapping[str, _Place]) -> list[str]:
    found: list[str] = []
    for name, place in places.items():
        value = body.get(name)
        if name in _TOLD and type(value) is dict:
            value = {key: inner for key, inner in value.items() if key in place.fields}
        _look(value, place, name, found)
    return found


def _look(value: Any, place: _Place, path: str, found: list[str]) -> None:
    if type(value) is list:
        for number, element in enumerate(value):
            if type(element) is dict:
                _look_into(element, place, f"{path}[{number}]", found)
    elif type(value) is dict:
        _look_into(value, place, path, found)


def _look_into(value: Json, place: _Place, path: str, found: list[str]) -> None:
    if place.kinds:
        kind = value.get("type")
        if (kind is not None and type(kind) is not str) or kind not in place.kinds:
            return
    for name, inner in value.items():
        if name not in place.fields:
            if inner is not None and inner != _DIRECT_CALLER:
                found.append(f"{path}.{name}")
        elif name in place.inner:
            _look(inner, place.inner[name], f"{path}.{name}", found)
