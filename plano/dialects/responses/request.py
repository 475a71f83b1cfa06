"""Requests of the responses dialect. Source: OpenAI API reference, "Create a model response" (CreateResponse).

In `Conversation.extra` stand, by their own names, what only this dialect has (`previous_response_id`, `truncation`,
`background` ...), the members of `reasoning` and `text` that the hub does not know as `reasoning.context`, and what
`include` asks for beyond the two values that the hub has a place for.
"""

from __future__ import annotations

from typing import Final

from plano.dialects.chat.fields import (
    join_path,
    read_array,
    read_boolean,
    read_integer,
    read_number,
    read_object,
    read_string,
    require_string,
)
from plano.dialects.conversation import (
    BadRequest,
    Conversation,
    Dropped,
    Json,
    OutputFormat,
    Reasoning,
    Text,
    Turn,
    Untranslatable,
)
from plano.dialects.responses.items import parse_items, render_items, shorten
from plano.dialects.responses.output import SERVICE_TIERS
from plano.dialects.responses.tools import (
    ToolNames,
    parse_tool_choice,
    parse_tools,
    render_tool_choice,
    render_tools,
)
from plano.dialects.unread import list_unread_responses

ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

# Fields that name something kept at the provider (or ask to keep the answer there, to be fetched later): a request that
# has one means something else at an upstream of another dialect, unless the gateway has resolved it before.
STATEFUL: Final = ("previous_response_id", "conversation", "prompt", "background")

_KNOWN: Final = frozenset(
    {
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "metadata",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "service_tier",
        "store",
        "stream",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    }
)
# What an answer repeats of its request as the client wrote it.
_ECHOED: Final = ("instructions", "tools", "tool_choice", "text", "reasoning")
# Fields of `extra` that mean the same here whichever dialect the client speaks.
_PASSED: Final = frozenset(
    {
        "background",
        "conversation",
        "include",
        "max_tool_calls",
        "moderation",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "truncation",
    }
)
# The least number of output tokens the API accepts.
_LEAST_TOKENS: Final = 16


def parse_request(body: Json) -> Conversation:
    """The conversation a client's request is. Raises BadRequest, and Untranslatable for a reference to an item that is
    kept elsewhere."""
    names = ToolNames(body.get("tools"))
    system, turns = _parse_input(body, names)
    instructions = read_string(body, "instructions")
    if instructions is not None:
        system = [Text(instructions), *system]
    extra = {name: value for name, value in body.items() if name not in _KNOWN and value is not None}
    stream = read_boolean(body, "stream") is True
    conversation = Conversation(
        read_string(body, "model"),
        turns,
        system,
        stream=stream,
        include_usage=stream,
        tools=parse_tools(read_array(body, "tools") or [], names),
        tool_choice=parse_tool_choice(body.get("tool_choice"), names),
        parallel_tools=read_boolean(body, "parallel_tool_calls"),
        max_tokens=read_integer(body, "max_output_tokens"),
        temperature=read_number(body, "temperature"),
        top_p=read_number(body, "top_p"),
        top_logprobs=read_integer(body, "top_logprobs"),
        reasoning=_parse_reasoning(body, extra),
        user=read_string(body, "user"),
        metadata=read_object(body, "metadata"),
        service_tier=read_string(body, "service_tier"),
        store=read_boolean(body, "store"),
        extra=extra,
        unread=list_unread_responses(body),
        notes={"dialect": "responses", "echo": {name: body[name] for name in _ECHOED if body.get(name) is not None}},
        source=body,
    )
    _parse_text(body, conversation)
    _parse_include(body, conversation)
    _check_extra(extra)
    return conversation


def _parse_input(body: Json, names: ToolNames) -> tuple[list[Text], list[Turn]]:
    given = body.get("input")
    if type(given) is str:
        return [], [Turn("user", [Text(given)])]
    if given is None or given == []:
        if any(body.get(name) is not None for name in ("previous_response_id", "conversation", "prompt")):
            return [], []
        what = "is missing" if given is None else "must hold at least one item"
        raise BadRequest(f"'input' {what}.", "input")
    if type(given) is not list:
        raise BadRequest("'input' must be a string or an array.", "input")
    return parse_items(given, names)


def _parse_reasoning(body: Json, extra: Json) -> Reasoning | None:
    given = read_object(body, "reasoning")
    if given is None:
        return None
    effort = read_string(given, "effort", "reasoning")
    summary = read_string(given, "summary", "reasoning")
    if summary is None:
        summary = read_string(given, "generate_summary", "reasoning")
    for name, value in given.items():
        if name not in ("effort", "summary", "generate_summary") and value is not None:
            extra[f"reasoning.{name}"] = value
    return Reasoning(False if effort == "none" else None, effort, summary=summary)


def _parse_text(body: Json, conversation: Conversation) -> None:
    text = read_object(body, "text")
    if text is None:
        return
    conversation.verbosity = read_string(text, "verbosity", "text")
    form = read_object(text, "format", "text")
    if form is not None:
        conversation.output = _parse_format(form, "text.format")
    for name, value in text.items():
        if name not in ("verbosity", "format") and value is not None:
            conversation.extra[f"text.{name}"] = value


def _parse_format(form: Json, path: str) -> OutputFormat:
    kind = require_string(form, "type", path)
    if kind == "text":
        return OutputFormat("text")
    if kind == "json_object":
        return OutputFormat("json")
    if kind != "json_schema":
        where = join_path(path, "type")
        raise BadRequest(f"'{where}' must be text, json_object or json_schema.", where)
    schema = read_object(form, "schema", path)
    if schema is None:
        where = join_path(path, "schema")
        raise BadRequest(f"'{where}' is missing.", where)
    return OutputFormat(
        "schema",
        require_string(form, "name", path),
        schema,
        read_boolean(form, "strict", path),
        read_string(form, "description", path),
    )


def _parse_include(body: Json, conversation: Conversation) -> None:
    others: list[str] = []
    for index, value in enumerate(read_array(body, "include") or []):
        if type(value) is not str:
            raise BadRequest(f"'include[{index}]' must be a string.", f"include[{index}]")
        if value == ENCRYPTED:
            if conversation.reasoning is None:
                conversation.reasoning = Reasoning()
            conversation.reasoning.encrypted = True
        elif value == LOGPROBS:
            conversation.logprobs = True
        else:
            others.append(value)
    if others:
        conversation.extra["include"] = others


def _check_extra(extra: Json) -> None:
    """The types of the fields that are kept as they came."""
    for name in ("previous_response_id", "truncation", "safety_identifier", "prompt_cache_key"):
        read_string(extra, name)
    read_boolean(extra, "background")
    read_integer(extra, "max_tool_calls")
    kept = extra.get("conversation")
    if kept is not None and type(kept) is not str:
        read_object(extra, "conversation")


def check_portable(conversation: Conversation) -> None:
    """Raise Untranslatable when a request of this dialect asks for what only its own provider can do: to be called
    before it is rendered for an upstream of another dialect, and after the gateway has resolved the state it keeps."""
    for name in STATEFUL:
        value = conversation.extra.get(name)
        if value is not None and value is not False:
            raise Untranslatable(f"'{name}' is known only to upstreams of the responses API.", name)


def render_request(conversation: Conversation, model: str, dropped: Dropped) -> Json:
    """The body for an upstream. Raises Untranslatable."""
    if conversation.n is not None and conversation.n > 1:
        raise Untranslatable("The upstream of this model gives one answer to a request.", "n")
    if conversation.stop:
        raise Untranslatable("The upstream of this model knows no stop sequences.", "stop")
    native = conversation.notes.get("dialect") == "responses"
    body: Json = {"model": model}
    items = render_items(conversation.turns, native, dropped)
    texts = [text.text for text in conversation.system if text.text]
    if any(text.cache is not None for text in conversation.system):
        dropped.add("cache_control")
    if texts:
        body["instructions"] = texts[0]
    if len(texts) > 1:
        parts = [{"type": "input_text", "text": text} for text in texts[1:]]
        items = [{"type": "message", "role": "system", "content": parts}, *items]
    if items or conversation.turns or not native:
        body["input"] = items
    if conversation.stream:
        body["stream"] = True
    _render_tooling(conversation, body, dropped)
    _render_sampling(conversation, body, dropped)
    _render_reasoning(conversation, body, dropped)
    _render_text(conversation, body)
    if conversation.store is not None:
        body["store"] = conversation.store
    elif not native:
        # Kept answers are of no use to a client of another dialect, who did not ask for them to be kept.
        body["store"] = False
    _render_include(conversation, body)
    _render_extra(conversation, body, dropped)
    return body


def _render_tooling(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    tools = render_tools(conversation, dropped)
    if not tools:  # a choice, or a limit to one call, is an error where there are no tools
        return
    body["tools"] = tools
    if conversation.tool_choice is not None:
        body["tool_choice"] = render_tool_choice(conversation.tool_choice, conversation.tools)
    if conversation.parallel_tools is not None:
        body["parallel_tool_calls"] = conversation.parallel_tools


def _render_sampling(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    if conversation.max_tokens is not None:
        body["max_output_tokens"] = max(conversation.max_tokens, _LEAST_TOKENS)
        if conversation.max_tokens < _LEAST_TOKENS:
            dropped.add("max_tokens")
    if conversation.temperature is not None:
        body["temperature"] = conversation.temperature
    if conversation.top_p is not None:
        body["top_p"] = conversation.top_p
    if conversation.top_logprobs is not None:
        body["top_logprobs"] = conversation.top_logprobs
    if conversation.user is not None:
        body["user"] = shorten(conversation.user, "user_")
    tier = conversation.service_tier
    if tier is not None and (tier in SERVICE_TIERS or conversation.notes.get("dialect") == "responses"):
        body["service_tier"] = tier
    elif tier is not None:
        dropped.add("service_tier")
    if conversation.metadata is not None:
        if all(type(value) is str for value in conversation.metadata.values()):
            body["metadata"] = conversation.metadata
        else:
            dropped.add("metadata")
    if conversation.top_k is not None:
        dropped.add("top_k")
    if conversation.seed is not None:
        dropped.add("seed")
    if conversation.frequency_penalty is not None:
        dropped.add("frequency_penalty")
    if conversation.presence_penalty is not None:
        dropped.add("presence_penalty")


def _render_reasoning(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    reasoning = conversation.reasoning
    rendered: Json = {}
    if reasoning is not None:
        if reasoning.effort is not None:
            rendered["effort"] = reasoning.effort
        elif reasoning.budget_tokens is not None and reasoning.enabled is not False:
            rendered["effort"] = _effort_of(reasoning.budget_tokens)
        elif reasoning.enabled is False:
            # Most models of this dialect have no way to switch it off, and those that do not reason at all refuse to
            # be told anything about it.
            dropped.add("thinking")
        if reasoning.summary is not None:
            rendered["summary"] = reasoning.summary
    for name, value in conversation.extra.items():
        if name.startswith("reasoning."):
            rendered[name.removeprefix("reasoning.")] = value
    if rendered:
        body["reasoning"] = rendered


def _effort_of(budget_tokens: int) -> str:
    if budget_tokens <= 2048:
        return "low"
    return "medium" if budget_tokens <= 8192 else "high"


def _render_text(conversation: Conversation, body: Json) -> None:
    text: Json = {}
    output = conversation.output
    if output is not None:
        if output.kind == "text":
            text["format"] = {"type": "text"}
        elif output.kind == "json":
            text["format"] = {"type": "json_object"}
        else:
            form: Json = {"type": "json_schema", "name": output.name or "answer", "schema": output.schema or {}}
            if output.strict is not None:
                form["strict"] = output.strict
            if output.description is not None:
                form["description"] = output.description
            text["format"] = form
    if conversation.verbosity is not None:
        text["verbosity"] = conversation.verbosity
    for name, value in conversation.extra.items():
        if name.startswith("text."):
            text[name.removeprefix("text.")] = value
    if text:
        body["text"] = text


def _render_include(conversation: Conversation, body: Json) -> None:
    include: list[str] = []
    reasoning = conversation.reasoning
    asked = reasoning is not None and reasoning.enabled is not False
    if (
        (reasoning is not None and reasoning.encrypted)
        # What is not kept there can only be continued with what is given back; models that do not reason refuse this.
        or (asked and body.get("store") is False)
        or any(item.get("encrypted_content") is not None for item in body.get("input", []))
    ):
        include.append(ENCRYPTED)
    if conversation.logprobs:
        include.append(LOGPROBS)
    if include:
        body["include"] = include


def _render_extra(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    for name, value in conversation.extra.items():
        if name.startswith(("reasoning.", "text.")) or name == "web_search_options":
            continue
        if name == "include":
            body["include"] = [*body.get("include", []), *(value if type(value) is list else [])]
        elif name in _PASSED or (name == "context_management" and type(value) is list):
            body[name] = value
        elif name == "stream_options" and type(value) is dict and "include_obfuscation" in value:
            body[name] = {"include_obfuscation": value["include_obfuscation"]}
        elif conversation.notes.get("dialect") == "responses":
            body[name] = value
        else:
            dropped.add(name)
