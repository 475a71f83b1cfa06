"""Requests in the messages dialect: its body as a conversation, and a conversation as its body. No I/O.

Source: Anthropic API reference, "Create a Message" (POST /v1/messages), as typed in its SDK of late 2026; for thinking
and sampling also what `messages_models` names. Structured output is written as `output_config.format`, the form that
needs no beta header, and read in both forms.

System texts in the middle of a conversation join the top-level system prompt, in order: every model takes them there.
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.conversation import (
    BadRequest,
    Conversation,
    Dropped,
    Json,
    OutputFormat,
    Reasoning,
    Text,
    Tool,
    ToolChoice,
    Turn,
    Untranslatable,
)
from plano.dialects.messages.blocks import MessagesRenderer, compact
from plano.dialects.messages.content import read_content, read_texts
from plano.dialects.messages.fields import (
    keep_rest,
    need_object,
    need_string,
    read_flag,
    read_integer,
    read_number,
    read_object,
    read_objects,
    read_string,
    read_strings,
)
from plano.dialects.messages.options import (
    DEFAULT_MAX_TOKENS,
    render_output_config,
    render_sampling,
    render_thinking,
    render_tier,
    render_tool_choice,
    render_tools,
)

_FIELDS: Final = frozenset(
    (
        "model",
        "messages",
        "system",
        "max_tokens",
        "metadata",
        "stop_sequences",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "service_tier",
        "output_config",
        "output_format",
    )
)
_MESSAGE_FIELDS: Final = frozenset({"role", "content"})
_TOOL_FIELDS: Final = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_CHOICE_FIELDS: Final = frozenset({"type", "name", "disable_parallel_tool_use"})
_CONFIG_FIELDS: Final = frozenset({"effort", "format"})
_CHOICES: Final = frozenset({"auto", "any", "none", "tool"})
# Neutral names of service tiers are those of the other dialects.
_TIERS: Final = {"auto": "auto", "standard_only": "default"}
# Fields of other dialects that mean what a field here means, or ask for what this API always or never does.
_ANSWERED_FIELDS: Final = frozenset({"safety_identifier", "stream_options"})
# Fields that only this API has: they go to it as they came.
_OWN_FIELDS: Final = frozenset(
    (
        "billing_policy",
        "cache_control",
        "compaction",
        "container",
        "context_management",
        "diagnostics",
        "fallback_credit_token",
        "fallbacks",
        "inference_geo",
        "mcp_servers",
        "speed",
        "thinking",
        "thread",
        "user_profile_id",
        "workspace_id",
    )
)
_OWN_TOOL_FIELDS: Final = frozenset(("allowed_callers", "defer_loading", "eager_input_streaming", "input_examples"))
# Fields of other dialects that hold a part of the conversation: without it, another question would be answered.
_HISTORY_FIELDS: Final = ("previous_response_id", "conversation", "prompt")


def parse_request(body: dict[str, Any]) -> Conversation:
    """Read a request. Raises BadRequest, naming the field, where the dialect does not allow it."""
    extra: Json = {}
    conversation = Conversation(read_string(body, "model"), [], extra=extra)
    conversation.system.extend(read_texts(body, "system", "", extra))
    _read_messages(body, conversation)
    max_tokens = read_integer(body, "max_tokens")
    if max_tokens is None:
        raise BadRequest("'max_tokens' is missing.", "max_tokens")
    conversation.max_tokens = max_tokens
    conversation.stream = read_flag(body, "stream") is True
    conversation.include_usage = True  # this dialect always tells
    conversation.temperature = read_number(body, "temperature")
    conversation.top_p = read_number(body, "top_p")
    conversation.top_k = read_integer(body, "top_k")
    conversation.stop = list(read_strings(body, "stop_sequences"))
    conversation.tools = [_read_tool(tool, index, extra) for index, tool in enumerate(read_objects(body, "tools"))]
    _read_tool_choice(body, conversation)
    conversation.reasoning = _read_thinking(body, extra)
    _read_output_config(body, conversation)
    metadata = read_object(body, "metadata")
    if metadata is not None:
        conversation.user = read_string(metadata, "user_id", "metadata")
        keep_rest(metadata, frozenset({"user_id"}), "metadata", extra)
    tier = read_string(body, "service_tier")
    if tier is not None:
        conversation.service_tier = _TIERS.get(tier, tier)
    keep_rest(body, _FIELDS, "", extra)
    return conversation


def render_request(conversation: Conversation, model: str, dropped: Dropped) -> dict[str, Any]:
    """The body of a request to `model`. What has no place in it is named in `dropped`.

    Raises Untranslatable where leaving something out would change what was asked.
    """
    if conversation.n is not None and conversation.n > 1:
        raise Untranslatable("The messages API gives one answer to a request.", "n")
    for name in _HISTORY_FIELDS:
        if conversation.extra.get(name) is not None:
            raise Untranslatable(f"The messages API has no '{name}': send the whole conversation.", name)
    renderer = MessagesRenderer(dropped)
    messages = renderer.render_turns(conversation.turns)
    system = renderer.render_texts(_collect_system(conversation))
    if not messages:
        if not system:
            raise Untranslatable("The messages API needs at least one message with content.", "messages")
        # The API answers turns only: instructions that stand alone are said as the user.
        messages = [{"role": "user", "content": compact(system)}]
        system = []
    tools = render_tools(conversation, model, dropped)
    choice = render_tool_choice(conversation, bool(tools), dropped)
    thinking, effort = render_thinking(conversation, model, messages, choice, dropped)
    body: dict[str, Any] = {"model": model, "max_tokens": _limit(conversation, thinking)}
    if system:
        body["system"] = compact(system)
    body["messages"] = messages
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    if thinking is not None:
        body["thinking"] = thinking
    config = render_output_config(conversation, effort, dropped)
    if config:
        body["output_config"] = config
    render_sampling(conversation, model, thinking, body, dropped)
    _render_stop(conversation, body, dropped)
    if conversation.stream:
        body["stream"] = True
    _render_user(conversation, body)
    tier = render_tier(conversation.service_tier, dropped)
    if tier is not None:
        body["service_tier"] = tier
    _drop_rest(conversation, body, dropped)
    return body


# -- reading ----------------------------------------------------------------------------------------------------------


def _read_messages(body: Json, conversation: Conversation) -> None:
    if body.get("messages") is None:
        raise BadRequest("'messages' is missing.", "messages")
    messages = read_objects(body, "messages")
    if not messages:
        raise BadRequest("'messages' must hold at least one message.", "messages")
    extra = conversation.extra
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        role = need_string(message, "role", path)
        if message.get("content") is None and role != "system":
            raise BadRequest(f"'{path}.content' is missing.", f"{path}.content")
        if role == "user":
            conversation.turns.append(Turn("user", read_content(message, "content", path, extra), path=path))
        elif role == "assistant":
            conversation.turns.append(Turn("assistant", read_content(message, "content", path, extra), path=path))
        elif role == "system":
            texts = read_texts(message, "content", path, extra)
            if conversation.turns:
                conversation.turns.append(Turn("system", [*texts], path=path))
            else:
                conversation.system.extend(texts)
        else:
            raise BadRequest(f"'{path}.role' must be 'user', 'assistant' or 'system'.", f"{path}.role")
        keep_rest(message, _MESSAGE_FIELDS, path, extra)


def _read_tool(tool: Json, index: int, extra: Json) -> Tool:
    path = f"tools[{index}]"
    kind = read_string(tool, "type", path) or "custom"
    if kind != "custom":
        return Tool(read_string(tool, "name", path) or kind, opaque=tool)
    keep_rest(tool, _TOOL_FIELDS, path, extra)
    return Tool(
        need_string(tool, "name", path),
        read_string(tool, "description", path),
        need_object(tool, "input_schema", path),
        read_flag(tool, "strict", path),
        cache=read_object(tool, "cache_control", path),
    )


def _read_tool_choice(body: Json, conversation: Conversation) -> None:
    choice = read_object(body, "tool_choice")
    if choice is None:
        return
    kind = need_string(choice, "type", "tool_choice")
    if kind not in _CHOICES:
        raise BadRequest("'tool_choice.type' must be 'auto', 'any', 'none' or 'tool'.", "tool_choice.type")
    if kind == "tool":
        conversation.tool_choice = ToolChoice("tool", need_string(choice, "name", "tool_choice"))
    elif kind == "any":
        conversation.tool_choice = ToolChoice("any")
    elif kind == "none":
        conversation.tool_choice = ToolChoice("none")
    else:
        conversation.tool_choice = ToolChoice("auto")
    keep_rest(choice, _CHOICE_FIELDS, "tool_choice", conversation.extra)
    disabled = read_flag(choice, "disable_parallel_tool_use", "tool_choice")
    if disabled is not None:
        conversation.parallel_tools = not disabled


def _read_thinking(body: Json, extra: Json) -> Reasoning | None:
    thinking = read_object(body, "thinking")
    if thinking is None:
        return None
    kind = need_string(thinking, "type", "thinking")
    reasoning = Reasoning()
    if kind == "enabled":
        reasoning.enabled = True
        reasoning.budget_tokens = read_integer(thinking, "budget_tokens", "thinking", least=1)
        if reasoning.budget_tokens is None:
            raise BadRequest("'thinking.budget_tokens' is missing.", "thinking.budget_tokens")
    elif kind == "disabled":
        reasoning.enabled = False
    elif kind != "adaptive":
        # A mode newer than this file: this API knows what it means, no other does.
        extra["thinking"] = thinking
        return None
    display = read_string(thinking, "display", "thinking")
    if display == "summarized":
        reasoning.summary = "auto"
    elif display is not None:
        extra["thinking.display"] = display
    keep_rest(thinking, frozenset({"type", "budget_tokens", "display"}), "thinking", extra)
    return reasoning


def _read_output_config(body: Json, conversation: Conversation) -> None:
    config = read_object(body, "output_config") or {}
    effort = read_string(config, "effort", "output_config")
    if effort is not None:
        if conversation.reasoning is None:
            conversation.reasoning = Reasoning()
        conversation.reasoning.effort = effort
    keep_rest(config, _CONFIG_FIELDS, "output_config", conversation.extra)
    path = "output_config.format"
    output = read_object(config, "format", "output_config")
    if output is None:
        path = "output_format"
        output = read_object(body, "output_format")
    if output is None:
        return
    kind = need_string(output, "type", path)
    if kind != "json_schema":
        raise BadRequest(f"'{path}.type' must be 'json_schema'.", f"{path}.type")
    conversation.output = OutputFormat("schema", schema=need_object(output, "schema", path), strict=True)
    keep_rest(output, frozenset({"type", "schema"}), path, conversation.extra)


# -- rendering --------------------------------------------------------------------------------------------------------


def _collect_system(conversation: Conversation) -> list[Text]:
    texts = list(conversation.system)
    for turn in conversation.turns:
        if turn.role == "system":
            texts.extend(block for block in turn.blocks if isinstance(block, Text))
    return texts


def _limit(conversation: Conversation, thinking: Json | None) -> int:
    if conversation.max_tokens is not None:
        return conversation.max_tokens
    # Thinking counts towards the limit: the answer gets the default on top of the budget.
    budget = thinking.get("budget_tokens") if thinking is not None else None
    return DEFAULT_MAX_TOKENS + budget if type(budget) is int else DEFAULT_MAX_TOKENS


def _render_stop(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    # The API refuses sequences of nothing but white space.
    sequences = [sequence for sequence in conversation.stop if sequence.strip()]
    if len(sequences) < len(conversation.stop):
        dropped.add("stop")
    if sequences:
        body["stop_sequences"] = sequences


def _render_user(conversation: Conversation, body: Json) -> None:
    user = conversation.user
    if user is None:
        identifier = conversation.extra.get("safety_identifier")
        user = identifier if type(identifier) is str else None
    if user:
        body["metadata"] = {"user_id": user}


def _drop_rest(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    if conversation.seed is not None:
        dropped.add("seed")
    if conversation.frequency_penalty:
        dropped.add("frequency_penalty")
    if conversation.presence_penalty:
        dropped.add("presence_penalty")
    if conversation.logprobs or conversation.top_logprobs:
        dropped.add("logprobs")
    if conversation.verbosity is not None and conversation.verbosity != "medium":
        dropped.add("verbosity")
    if conversation.metadata:
        dropped.add("metadata")
    if conversation.store:
        dropped.add("store")
    for name, value in conversation.extra.items():
        if value is None or name in _ANSWERED_FIELDS:
            continue
        if name == "context_management" and type(value) is not dict:
            dropped.add(name)  # the responses dialect has a list under this name
        elif name in _OWN_FIELDS:
            body.setdefault(name, value)
        elif not _put_back(name, value, body):
            dropped.add(name)


def _put_back(name: str, value: Any, body: Json) -> bool:
    """Put a field of a messages client, kept under its path, to where it came from. Messages and blocks move when turns
    are merged, so theirs cannot be."""
    head, _, key = name.partition(".")
    if not key or "." in key:
        return False
    if head.startswith("tools[") and head.endswith("]"):
        place = head[6:-1]
        tools = body.get("tools", [])
        if key in _OWN_TOOL_FIELDS and place.isdecimal() and int(place) < len(tools):
            tools[int(place)].setdefault(key, value)
            return True
        return False
    if head in ("metadata", "output_config"):
        body.setdefault(head, {}).setdefault(key, value)
        return True
    if head == "thinking":
        # The mode may be another one here: what refines the client's mode would not fit.
        thinking = body.get("thinking")
        if type(thinking) is dict and thinking.get("type") in ("enabled", "adaptive"):
            thinking.setdefault(key, value)
            return True
    return False
