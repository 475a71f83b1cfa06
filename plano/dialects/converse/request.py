"""Requests to Bedrock's Converse and ConverseStream operations. No I/O.

Source: Bedrock API reference, Converse (API version 2023-09-30): body and path are the same for both operations but for
the end of the path. Decisions where the API has no direct way:

- `tool_choice` none: the tools are left out; when the history holds calls Converse insists on tools, so they stay and
  `tool_choice` is reported as dropped. A history with calls and no tools gets declarations of the tools it names.
- Structured output by schema is `outputConfig.textFormat`; models known not to have it are refused (a forced tool would
  change the shape of the answer). Any-JSON mode has no counterpart and is reported as dropped: the prompt has to ask
  for JSON in that mode anyway.
- Free-text tools become tools with one string (custom_tools.py).
- A temperature above 1, Bedrock's limit, is sent as 1 and reported.
- System turns among the others join `system`.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import orjson

from plano.dialects.conversation import (
    BadRequest,
    Conversation,
    Dropped,
    Json,
    OutputFormat,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Untranslatable,
)
from plano.dialects.converse.content import cache_point, render_messages, render_system
from plano.dialects.converse.models import Traits
from plano.dialects.converse.names import converse_tool_name
from plano.dialects.custom_tools import schema_of
from plano.dialects.messages.schema import close_schema

# Fields of Converse itself that a client may add to its own dialect's.
_OWN_FIELDS: Final = (
    "guardrailConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "additionalModelRequestFields",
)
_SERVICE_TIERS: Final = {
    "priority": "priority",
    "default": "default",
    "standard_only": "default",
    "flex": "flex",
    "reserved": "reserved",
}
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}", re.ASCII)
_ANTHROPIC_TOOLS = re.compile(r"(?:bash|text_editor|computer|memory)_\d{8}")
_EMPTY_SCHEMA: Final[Json] = {"type": "object", "properties": {}}


def converse_path(model: str, stream: bool) -> str:
    """The path of a call; a model may be an id or an ARN, whose `:` and `/` are encoded."""
    return f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}"


def render_request(conversation: Conversation, model: str, dropped: Dropped) -> Json:
    """The body of a call. Raises Untranslatable, and BadRequest for a wrong type in a field of Converse's own."""
    traits = Traits(model)
    if conversation.n is not None and conversation.n > 1:
        raise Untranslatable("Bedrock gives one answer to a request.", "n")
    body: Json = {"messages": render_messages(conversation, traits, dropped)}
    system = render_system(conversation, traits, dropped)
    if system:
        body["system"] = system
    additional: Json = {}
    tools = _tool_config(conversation, traits, additional, dropped)
    if tools is not None:
        body["toolConfig"] = tools
    output = _output_config(conversation, traits, additional, dropped)
    if output:
        body["outputConfig"] = output
    thinks = _thinks_by_hint(conversation, additional)
    if conversation.top_k is not None:
        fields = None if thinks else traits.top_k(conversation.top_k)
        if fields is None:
            dropped.add("top_k")
        else:
            additional.update(fields)
    inference = _inference(conversation, traits, thinks, dropped)
    if inference:
        body["inferenceConfig"] = inference
    if additional:
        body["additionalModelRequestFields"] = additional
    if conversation.stop:
        # Converse only says that one of them was met; models that say which are asked to. Others ignore it.
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    _operation(conversation, body, dropped)
    _own_fields(conversation, body, dropped)
    _report(conversation, dropped)
    return body


def _inference(conversation: Conversation, traits: Traits, thinks: bool, dropped: Dropped) -> Json:
    inference: Json = {}
    if conversation.max_tokens is not None:
        inference["maxTokens"] = conversation.max_tokens
    temperature, top_p = conversation.temperature, conversation.top_p
    # 1 means "all tokens": left out it is the same, and many clients send it beside a temperature.
    if top_p == 1:
        top_p = None
    if temperature is not None and temperature != 1 and (thinks or not traits.limits.sampling):
        dropped.add("temperature")
        temperature = None
    if top_p is not None and (not traits.limits.sampling or (temperature is not None and not traits.limits.both)):
        dropped.add("top_p")
        top_p = None
    if temperature is not None and temperature > 1:
        dropped.add("temperature")
        temperature = 1
    if temperature is not None and traits.limits.sampling:
        inference["temperature"] = temperature
    if top_p is not None:
        inference["topP"] = top_p
    stop = [text for text in conversation.stop if text]
    if stop:
        inference["stopSequences"] = stop
    return inference


# -- tools ------------------------------------------------------------------------------------------------------------


def _tool_config(conversation: Conversation, traits: Traits, additional: Json, dropped: Dropped) -> Json | None:
    choice = conversation.tool_choice
    called = _called_tools(conversation)
    allowed = None if choice is None or choice.allowed is None else frozenset(choice.allowed)
    if conversation.parallel_tools is False:
        dropped.add("parallel_tool_calls")
    if choice is not None and choice.mode == "none":
        if called is None:
            return None
        dropped.add("tool_choice")
    tools: list[Json] = []
    for index, tool in enumerate(conversation.tools):
        if allowed is not None and tool.name not in allowed:
            continue
        if tool.opaque is not None:
            _opaque_tool(tool.opaque, traits, additional, f"tools[{index}]")
            continue
        tools.append({"toolSpec": _tool_spec(tool, traits, index, dropped)})
        tools.extend(cache_point(tool.cache, traits.caches_tools(), True, dropped))
    if not tools and called is not None:
        tools = [{"toolSpec": {"name": name, "inputSchema": {"json": _EMPTY_SCHEMA}}} for name in called]
    if not tools:
        return None
    config: Json = {"tools": tools}
    if choice is not None and choice.mode == "any":
        config["toolChoice"] = {"any": {}}
    elif choice is not None and choice.mode == "tool":
        if not choice.name:
            raise BadRequest("A forced tool must be named.", "tool_choice")
        config["toolChoice"] = {"tool": {"name": converse_tool_name(choice.name)}}
    elif choice is not None and choice.mode == "auto":
        config["toolChoice"] = {"auto": {}}
    return config


def _tool_spec(tool: Tool, traits: Traits, index: int, dropped: Dropped) -> Json:
    spec: Json = {"name": converse_tool_name(tool.name)}
    if tool.description:
        spec["description"] = tool.description
    if tool.custom:
        if tool.grammar is not None and tool.grammar.get("type") != "text":
            dropped.add(f"tools[{index}].format")
        spec["inputSchema"] = {"json": schema_of(tool)}
        return spec
    schema: Json = tool.schema or _EMPTY_SCHEMA
    if "type" not in schema:
        schema = {"type": "object", **schema}
    strict = bool(tool.strict) and traits.takes_strict_tools()
    closed = close_schema(schema, f"tools[{index}].parameters") if strict else None
    if closed is not None:
        spec["strict"] = True
    elif tool.strict:
        dropped.add(f"tools[{index}].strict")
    spec["inputSchema"] = {"json": schema if closed is None else closed}
    return spec


def _opaque_tool(value: Json, traits: Traits, additional: Json, place: str) -> None:
    """Anthropic's own client tools are given to its models beside Converse's; others exist nowhere in Bedrock."""
    kind = value.get("type")
    if traits.caches_tools() and isinstance(kind, str) and _ANTHROPIC_TOOLS.fullmatch(kind):
        additional.setdefault("tools", []).append(value)
        return
    raise Untranslatable(f"Bedrock does not have the tool {kind!r}.", place)


def _called_tools(conversation: Conversation) -> list[str] | None:
    """The tools that calls of the history name, in order; None when it holds neither calls nor results."""
    names: dict[str, None] = {}  # in order, each once
    found = False
    for turn in conversation.turns:
        for block in turn.blocks:
            if isinstance(block, ToolUse):
                found = True
                names[converse_tool_name(block.name)] = None
            elif isinstance(block, ToolResult):
                found = True
    if not found:
        return None
    return list(names) or ["tool"]


# -- reasoning and output ---------------------------------------------------------------------------------------------


def _output_config(conversation: Conversation, traits: Traits, additional: Json, dropped: Dropped) -> Json:
    config: Json = {}
    output = conversation.output
    if output is not None and output.kind != "text":
        if output.schema is None:
            dropped.add("response_format")
        elif traits.refuses_schemas():
            raise Untranslatable("This model has no structured output on Bedrock.", "response_format")
        else:
            config["textFormat"] = _text_format(output, output.schema)
    wish = conversation.reasoning
    if wish is None or (wish.enabled is None and wish.effort is None and wish.budget_tokens is None):
        return config
    fields = traits.reasoning(wish, conversation.max_tokens)
    if fields is None or (_thinks_by_hint(conversation, fields[0]) and _forbids_thinking(conversation, traits)):
        dropped.add("reasoning")
        return config
    additional.update(fields[0])
    if fields[1] is not None:
        config["effort"] = fields[1]
    return config


def _text_format(output: OutputFormat, schema: Json) -> Json:
    closed = close_schema(schema, "response_format")
    if closed is None:
        raise Untranslatable("Bedrock takes no schema with an object whose fields are not listed.", "response_format")
    try:
        definition: Json = {"schema": orjson.dumps(closed).decode()}
    except TypeError as error:  # nested too deeply where close_schema does not look
        raise Untranslatable(f"The JSON Schema cannot be written: {error}.", "response_format") from None
    if output.name:
        definition["name"] = output.name
    if output.description:
        definition["description"] = output.description
    return {"type": "json_schema", "structure": {"jsonSchema": definition}}


def _thinks_by_hint(conversation: Conversation, additional: Json) -> bool:
    """Is thinking on for nothing but an effort? A client that asks for it in Anthropic's words knows what it excludes
    (other temperatures, forced tools); one that names an effort does not, and its request must not fail for it.
    """
    thinking = additional.get("thinking")
    wish = conversation.reasoning
    if wish is None or wish.enabled is True or wish.budget_tokens is not None:
        return False
    return isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")


def _forbids_thinking(conversation: Conversation, traits: Traits) -> bool:
    """Would thinking, which the client's dialect only hinted at with an effort, make the request fail?"""
    choice = conversation.tool_choice
    if choice is not None and (choice.mode == "any" or choice.mode == "tool"):
        return True
    if not traits.needs_thinking_before_calls():
        return False
    signed = False
    for turn in conversation.turns:
        for block in turn.blocks:
            if isinstance(block, Thinking):
                signed = signed or block.signature is not None
            elif isinstance(block, ToolUse) and not signed:
                return True
        if turn.role == "user" and not any(isinstance(block, ToolResult) for block in turn.blocks):
            signed = False
    return False


# -- everything else --------------------------------------------------------------------------------------------------


def _operation(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    tier = conversation.service_tier
    if tier is not None and tier != "auto":
        known = _SERVICE_TIERS.get(tier)
        if known is None:
            dropped.add("service_tier")
        else:
            body["serviceTier"] = {"type": known}
    if conversation.metadata:
        kept = {key: value for key, value in conversation.metadata.items() if _is_metadata(key, value)}
        if len(kept) < len(conversation.metadata) or len(kept) > 16:
            dropped.add("metadata")
        if kept and len(kept) <= 16:
            body["requestMetadata"] = kept


def _own_fields(conversation: Conversation, body: Json, dropped: Dropped) -> None:
    for name, value in conversation.extra.items():
        if value is None:
            continue
        if name in _OWN_FIELDS:
            if not isinstance(value, dict):
                raise BadRequest(f"'{name}' must be an object.", name)
            # What the client says in Bedrock's own words wins.
            body[name] = {**body.get(name, {}), **value}
        elif name == "additionalModelResponseFieldPaths":
            if not isinstance(value, list) or not all(isinstance(path, str) for path in value):
                raise BadRequest(f"'{name}' must be a list of strings.", name)
            paths: list[str] = body.get(name, [])
            body[name] = paths + [path for path in value if path not in paths]
        else:
            dropped.add(name)


def _report(conversation: Conversation, dropped: Dropped) -> None:
    for name, value in (
        ("seed", conversation.seed),
        ("frequency_penalty", conversation.frequency_penalty),
        ("presence_penalty", conversation.presence_penalty),
        ("logprobs", conversation.logprobs),
        ("top_logprobs", conversation.top_logprobs),
        ("verbosity", conversation.verbosity),
        ("user", conversation.user),
        ("store", conversation.store),
    ):
        # False and 0 are what happens anyway, but a seed of 0 is a seed.
        if value is not None and (value or name == "seed") and value is not False:
            dropped.add(name)


def _is_metadata(key: str, value: Any) -> bool:
    return bool(
        isinstance(value, str) and key and len(key) <= 256 and _METADATA.fullmatch(key) and _METADATA.fullmatch(value)
    )
