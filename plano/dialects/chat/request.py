"""Requests of the chat completions dialect: from a client, and for an upstream.

Source: OpenAI API reference, "Create chat completion" (CreateChatCompletionRequest); vLLM, "OpenAI-compatible server"
(extra parameters: top_k); OpenRouter, "Reasoning tokens" (`reasoning`); Z.ai and DeepSeek (`thinking`).
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.chat.fields import (
    read_array,
    read_boolean,
    read_integer,
    read_number,
    read_object,
    read_string,
    require_string,
)
from plano.dialects.chat.messages import parse_messages
from plano.dialects.chat.prompt import render_messages
from plano.dialects.chat.tools import parse_choice, parse_tools, render_tools
from plano.dialects.chat.usage import SERVICE_TIERS
from plano.dialects.conversation import (
    BadRequest,
    Conversation,
    Dropped,
    Json,
    OutputFormat,
    Reasoning,
    Untranslatable,
)

# What has a place in Conversation. Everything else a client sends goes to `extra`.
_KNOWN: Final = frozenset(
    (
        "frequency_penalty",
        "function_call",
        "functions",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
    )
)

# Fields of other dialects that mean the same here by the same name.
_SHARED: Final = frozenset(
    (
        "audio",
        "logit_bias",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "web_search_options",
    )
)

# Fields of other dialects without which the request would be another one.
_ESSENTIAL: Final = frozenset(("background", "conversation", "mcp_servers", "previous_response_id", "prompt"))

# OpenAI rejects longer ones; what clients of Anthropic send as `metadata.user_id` often is.
_USER_LIMIT: Final = 64


def parse_request(body: dict[str, Any]) -> Conversation:
    """A client's request. Raises BadRequest, naming the field."""
    messages = read_array(body, "messages")
    if not messages:
        raise BadRequest(f"'messages' {'is missing' if messages is None else 'must not be empty'}.", "messages")
    system, turns, numbers = parse_messages(messages)
    limit = read_integer(body, "max_completion_tokens")
    conversation = Conversation(
        read_string(body, "model"),
        turns,
        system=system,
        stream=read_boolean(body, "stream") is True,
        tools=parse_tools(body),
        tool_choice=parse_choice(body),
        parallel_tools=read_boolean(body, "parallel_tool_calls"),
        max_tokens=limit if limit is not None else read_integer(body, "max_tokens"),
        temperature=read_number(body, "temperature"),
        top_p=read_number(body, "top_p"),
        top_k=read_integer(body, "top_k"),
        stop=_parse_stop(body.get("stop")),
        seed=read_integer(body, "seed"),
        frequency_penalty=read_number(body, "frequency_penalty"),
        presence_penalty=read_number(body, "presence_penalty"),
        n=read_integer(body, "n"),
        logprobs=read_boolean(body, "logprobs"),
        top_logprobs=read_integer(body, "top_logprobs"),
        output=_parse_output(body),
        reasoning=_parse_reasoning(body),
        verbosity=read_string(body, "verbosity"),
        user=read_string(body, "user"),
        metadata=read_object(body, "metadata"),
        service_tier=read_string(body, "service_tier"),
        store=read_boolean(body, "store"),
        extra={key: value for key, value in body.items() if key not in _KNOWN and value is not None},
        notes={"dialect": "chat", "message_numbers": numbers},
    )
    _parse_stream_options(body, conversation)
    if limit is not None:
        conversation.notes["max_tokens_field"] = "max_completion_tokens"
    if body.get("functions") is not None and body.get("tools") is None:
        conversation.notes["functions"] = True
    if conversation.output is None and body.get("response_format") is not None:
        conversation.extra["response_format"] = body["response_format"]
    return conversation


def render_request(conversation: Conversation, model: str, dropped: Dropped) -> dict[str, Any]:
    """The request for an upstream. A stream is always asked for its usage. Raises Untranslatable."""
    own = conversation.notes.get("dialect") == "chat"
    body: Json = {"model": model, "messages": render_messages(conversation, dropped)}
    if conversation.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    if conversation.max_tokens is not None:
        body[conversation.notes.get("max_tokens_field") or "max_tokens"] = conversation.max_tokens
    for name, value in (
        ("temperature", conversation.temperature),
        ("top_p", conversation.top_p),
        ("stop", conversation.stop or None),
        ("seed", conversation.seed),
        ("frequency_penalty", conversation.frequency_penalty),
        ("presence_penalty", conversation.presence_penalty),
        ("n", conversation.n),
        ("verbosity", conversation.verbosity),
    ):
        if value is not None:
            body[name] = value
    render_tools(conversation, body, dropped)
    if conversation.output is not None:
        body["response_format"] = _render_output(conversation.output)
    _render_reasoning(conversation.reasoning, body, dropped)
    _render_logprobs(conversation, body)
    _render_options(conversation, own, body, dropped)
    _render_extra(conversation.extra, own, body, dropped)
    return body


def _parse_stop(value: Any) -> list[str]:
    if value is None:
        return []
    if type(value) is str:
        return [value]
    if type(value) is not list:
        raise BadRequest("'stop' must be a string or an array of strings.", "stop")
    for number, item in enumerate(value):
        if type(item) is not str:
            raise BadRequest(f"'stop[{number}]' must be a string.", f"stop[{number}]")
    return list(value)


def _parse_stream_options(body: Json, conversation: Conversation) -> None:
    options = read_object(body, "stream_options")
    if options is None:
        return
    conversation.include_usage = read_boolean(options, "include_usage", "stream_options") is True
    rest = {key: value for key, value in options.items() if key != "include_usage" and value is not None}
    if rest:
        conversation.extra["stream_options"] = rest


def _parse_output(body: Json) -> OutputFormat | None:
    output = read_object(body, "response_format")
    if output is None:
        return None
    kind = require_string(output, "type", "response_format")
    if kind == "text":
        return OutputFormat("text")
    if kind == "json_object":
        return OutputFormat("json")
    if kind != "json_schema":
        return None  # a server's own (grammar, structural_tag): kept in `extra`
    path = "response_format.json_schema"
    schema = read_object(output, "json_schema", "response_format")
    if schema is None:
        raise BadRequest(f"'{path}' is missing.", path)
    return OutputFormat(
        "schema",
        name=read_string(schema, "name", path),
        schema=read_object(schema, "schema", path),
        strict=read_boolean(schema, "strict", path),
        description=read_string(schema, "description", path),
    )


def _parse_reasoning(body: Json) -> Reasoning | None:
    effort = read_string(body, "reasoning_effort")
    if effort is not None:
        return Reasoning(enabled=effort != "none", effort=effort)
    options = read_object(body, "reasoning")
    if options is not None:
        effort = read_string(options, "effort", "reasoning")
        budget = read_integer(options, "max_tokens", "reasoning")
        enabled = read_boolean(options, "enabled", "reasoning")
        if enabled is None and (effort is not None or budget is not None):
            enabled = effort != "none"
        summary = read_string(options, "summary", "reasoning")
        return Reasoning(enabled=enabled, effort=effort, budget_tokens=budget, summary=summary)
    thinking = read_object(body, "thinking")
    if thinking is None:
        return None
    kind = read_string(thinking, "type", "thinking")
    budget = read_integer(thinking, "budget_tokens", "thinking")
    return Reasoning(enabled=None if kind == "adaptive" else kind != "disabled", budget_tokens=budget)


def _render_output(output: OutputFormat) -> Json:
    if output.kind == "text":
        return {"type": "text"}
    if output.kind == "json":
        return {"type": "json_object"}
    schema: Json = {"name": output.name or "answer"}
    if output.description is not None:
        schema["description"] = output.description
    if output.schema is not None:
        schema["schema"] = output.schema
    if output.strict is not None:
        schema["strict"] = output.strict
    return {"type": "json_schema", "json_schema": schema}


def _render_reasoning(reasoning: Reasoning | None, body: Json, dropped: Dropped) -> None:
    if reasoning is None:
        return
    if reasoning.effort is not None:
        body["reasoning_effort"] = reasoning.effort
    elif reasoning.budget_tokens is not None and reasoning.enabled is not False:
        body["reasoning_effort"] = _effort_of(reasoning.budget_tokens)
    elif reasoning.enabled is not None:
        # Only some models can be told by an effort to think at all, or not to; the others reject it.
        dropped.add("thinking")
    if reasoning.summary is not None:
        dropped.add("reasoning.summary")
    if reasoning.encrypted:
        dropped.add("include")


def _effort_of(budget_tokens: int) -> str:
    """This dialect has no budget, only efforts. The steps are ours: Anthropic's smallest budget is 1,024 tokens, and it
    advises 16,000 and more for complex tasks ("Building with extended thinking")."""
    if budget_tokens < 4_096:
        return "low"
    return "medium" if budget_tokens < 16_000 else "high"


def _render_logprobs(conversation: Conversation, body: Json) -> None:
    if conversation.top_logprobs:  # not allowed without `logprobs`, which the responses dialect does not have
        body["logprobs"] = True
        body["top_logprobs"] = conversation.top_logprobs
    elif conversation.logprobs is not None:
        body["logprobs"] = conversation.logprobs


def _render_options(conversation: Conversation, own: bool, body: Json, dropped: Dropped) -> None:
    """What other dialects' clients send by habit and this dialect's servers may reject is left out for those."""
    if conversation.user is not None:
        if own or len(conversation.user) <= _USER_LIMIT:
            body["user"] = conversation.user
        else:
            dropped.add("user")
    if conversation.top_k is not None:
        if own:
            body["top_k"] = conversation.top_k
        else:
            dropped.add("top_k")
    if conversation.metadata is not None:
        if own or conversation.store:  # OpenAI allows metadata only of what it stores
            body["metadata"] = conversation.metadata
        elif conversation.metadata:
            dropped.add("metadata")
    if conversation.store is not None and (own or conversation.store):
        body["store"] = conversation.store
    tier = conversation.service_tier
    if tier is not None and (own or tier != "auto"):
        if own or tier in SERVICE_TIERS:
            body["service_tier"] = tier
        else:
            dropped.add("service_tier")


def _render_extra(extra: Json, own: bool, body: Json, dropped: Dropped) -> None:
    for name, value in extra.items():
        if name == "stream_options":
            if own and type(value) is dict and "stream_options" in body:
                body["stream_options"] = {**value, "include_usage": True}
            elif not own:
                dropped.add(name)
        elif own or name in _SHARED:
            body.setdefault(name, value)
        elif name in _ESSENTIAL and value:
            raise Untranslatable(f"This model's API has nothing like '{name}'.", name)
        else:
            dropped.add(name)
