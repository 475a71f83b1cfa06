"""How a conversation's tools, thinking, output format and sampling are said in the messages dialect. No I/O.

Source: Anthropic API reference, "Create a Message"; documentation, "Tool use", "Strict tool use", "Extended thinking",
"Adaptive thinking", "Effort" and "Structured outputs" for what excludes what.
"""

from __future__ import annotations

import re
from typing import Final

from plano.dialects.conversation import Conversation, Dropped, Json, Reasoning, Tool, Untranslatable
from plano.dialects.custom_tools import schema_of
from plano.dialects.messages.models import ModelLimits, limits_of
from plano.dialects.messages.schema import close_schema

DEFAULT_MAX_TOKENS: Final = 4096
MIN_BUDGET_TOKENS: Final = 1024
# Tokens to think with, for models that take no effort. The largest one and the default limit together are 32,000, the
# most that Claude Opus 4 and 4.1 may answer.
_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 24_576, "max": 27_904}
_DEFAULT_BUDGET: Final = 4096
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_THINKING_TOP_P: Final = 0.95
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
# Tools of this API carry the date of their version: web_search_20250305, computer_toolset_20260801.
_OWN_TOOL: Final = re.compile(r"mcp_toolset|.+_20\d{6}")
_MAX_STRICT_TOOLS: Final = 20
# For models that take an effort instead of a budget: the largest budget that stands for each.
_BUDGET_EFFORTS: Final = ((2048, "low"), (8192, "medium"), (24_576, "high"))
_ANY_OBJECT: Final = {"type": "object", "properties": {}}


# -- tools ------------------------------------------------------------------------------------------------------------


def render_tools(conversation: Conversation, model: str, dropped: Dropped) -> list[Json]:
    """The tools on offer. Those that the client does not allow now are not offered: there is no other way to say so."""
    choice = conversation.tool_choice
    allowed = None if choice is None or choice.allowed is None else frozenset(choice.allowed)
    strict_left = _MAX_STRICT_TOOLS if limits_of(model).strict else 0
    tools: list[Json] = []
    for index, tool in enumerate(conversation.tools):
        if allowed is None or tool.name in allowed:
            rendered = _render_tool(tool, f"tools[{index}]", strict_left > 0, dropped)
            strict_left -= "strict" in rendered
            tools.append(rendered)
    return tools


def render_tool_choice(conversation: Conversation, offered: bool, dropped: Dropped) -> Json | None:
    """`offered`: are there any tools? Without them the API takes no choice."""
    choice = conversation.tool_choice
    mode = choice.mode if choice is not None else "auto"
    if not offered:
        if mode in ("any", "tool"):
            dropped.add("tool_choice")
        return None
    single = conversation.parallel_tools is False and mode != "none"
    if choice is None and not single:
        return None
    rendered: Json = {"type": mode}
    if choice is not None and mode == "tool":
        rendered["name"] = choice.name
    if single:
        rendered["disable_parallel_tool_use"] = True
    return rendered


def _render_tool(tool: Tool, path: str, may_be_strict: bool, dropped: Dropped) -> Json:
    if tool.opaque is not None:
        kind = tool.opaque.get("type")
        if type(kind) is str and _OWN_TOOL.fullmatch(kind):
            return tool.opaque
        raise Untranslatable(f"The messages API does not have the tool '{kind or tool.name}'.", path)
    rendered: Json = {"name": tool.name}
    if tool.description:
        rendered["description"] = tool.description
    if tool.custom:
        rendered["input_schema"] = schema_of(tool)
        if tool.grammar is not None and tool.grammar.get("type") != "text":
            dropped.add(f"{path}.format")
    else:
        schema = tool.schema or _ANY_OBJECT
        closed = close_schema(schema, f"{path}.parameters") if tool.strict and may_be_strict else None
        if closed is not None:
            rendered["input_schema"] = closed
            rendered["strict"] = True
        else:
            rendered["input_schema"] = schema if "type" in schema else {"type": "object", **schema}
            if tool.strict:
                dropped.add(f"{path}.strict")
    if tool.cache is not None:
        rendered["cache_control"] = tool.cache
    return rendered


# -- thinking and sampling --------------------------------------------------------------------------------------------


def render_thinking(
    conversation: Conversation, model: str, messages: list[Json], choice: Json | None, dropped: Dropped
) -> tuple[Json | None, str | None]:
    """(`thinking`, `output_config.effort`), each None when it is left to the model.

    Thinking gives way, and is named as dropped, where the API refuses it: beside a forced tool, in an answer that
    begins with text or calls the client gave without their thinking, under a limit of tokens too small for it.
    """
    reasoning = conversation.reasoning
    if reasoning is None:
        return None, None
    limits = limits_of(model)
    if reasoning.enabled is False or reasoning.effort == "none":
        if limits.off is not None:
            return {"type": limits.off}, None
        dropped.add("reasoning")
        return None, "low"
    if choice is not None and choice["type"] in ("any", "tool"):
        dropped.add("reasoning")
        return None, None
    if limits.adaptive:
        return _render_adaptive(reasoning, limits, dropped)
    budget = _budget(reasoning, dropped)
    if budget is None:
        return None, None
    most = conversation.max_tokens
    if (most is not None and most <= MIN_BUDGET_TOKENS) or not _may_begin_with_thinking(messages):
        dropped.add("reasoning")
        return None, None
    if most is not None:
        # The API wants the budget below the limit. One that is ours also leaves a part of it to answer with.
        budget = min(budget, most - 1 if reasoning.budget_tokens is not None else max(most * 3 // 4, MIN_BUDGET_TOKENS))
    return {"type": "enabled", "budget_tokens": max(budget, MIN_BUDGET_TOKENS)}, None


def render_sampling(
    conversation: Conversation, model: str, thinking: Json | None, body: Json, dropped: Dropped
) -> None:
    """temperature, top_p and top_k, as far as the model takes them beside `thinking`."""
    limits = limits_of(model)
    thinks = thinking is not None and thinking["type"] in ("enabled", "adaptive")
    temperature, top_p, top_k = conversation.temperature, conversation.top_p, conversation.top_k
    if temperature is not None:
        if not limits.sampling or thinks:
            if temperature != 1:
                dropped.add("temperature")
            temperature = None
        elif temperature > 1:
            # OpenAI's scale ends at 2, this one at 1.
            dropped.add("temperature")
            temperature = 1.0
    if top_p is not None and (
        not limits.sampling or (thinks and top_p < _THINKING_TOP_P) or (temperature is not None and not limits.both)
    ):
        if top_p != 1:
            dropped.add("top_p")
        top_p = None
    if top_k is not None and (not limits.sampling or thinks):
        dropped.add("top_k")
        top_k = None
    if temperature is not None:
        body["temperature"] = temperature
    if top_p is not None:
        body["top_p"] = top_p
    if top_k is not None:
        body["top_k"] = top_k


def _render_adaptive(reasoning: Reasoning, limits: ModelLimits, dropped: Dropped) -> tuple[Json, str | None]:
    thinking: Json = {"type": "adaptive"}
    if reasoning.summary is not None:
        thinking["display"] = "summarized"
    effort = None
    if reasoning.effort is not None:
        effort = _EFFORTS.get(reasoning.effort)
        if effort is None:
            dropped.add("reasoning")
        elif effort == "xhigh" and not limits.xhigh:
            effort = "high"
    elif reasoning.budget_tokens is not None:
        effort = "max"
        for most, name in _BUDGET_EFFORTS:
            if reasoning.budget_tokens <= most:
                effort = name
                break
    return thinking, effort


def _budget(reasoning: Reasoning, dropped: Dropped) -> int | None:
    """Tokens to think with; None when nobody asked for thinking in terms that this model knows."""
    if reasoning.budget_tokens is not None:
        return reasoning.budget_tokens
    if reasoning.effort is not None:
        budget = _BUDGETS.get(reasoning.effort)
        if budget is None:
            dropped.add("reasoning")
        return budget
    return _DEFAULT_BUDGET if reasoning.enabled else None


def _may_begin_with_thinking(messages: list[Json]) -> bool:
    """With a budget, the answer under way must begin with thinking: the last assistant turn, when it is the last of all
    (a prefill) or followed by the results of its calls."""
    last = messages[-1]
    if last["role"] == "user":
        if len(messages) < 2 or type(last["content"]) is str or last["content"][0]["type"] != "tool_result":
            return True
        last = messages[-2]
    return type(last["content"]) is not str and last["content"][0]["type"] in _THINKING


# -- output -----------------------------------------------------------------------------------------------------------


def render_output_config(conversation: Conversation, effort: str | None, dropped: Dropped) -> Json:
    """`output_config`, {} when there is nothing to say."""
    config: Json = {}
    if effort is not None:
        config["effort"] = effort
    output = conversation.output
    if output is not None and output.kind != "text":
        if output.schema is None:
            # Any JSON object: the API has only schemas, and a schema of any object allows none with fields.
            dropped.add("response_format")
        else:
            schema = close_schema(output.schema, "response_format")
            if schema is None:
                raise Untranslatable(
                    "The messages API takes no schema with an object whose fields are not listed.", "response_format"
                )
            config["format"] = {"type": "json_schema", "schema": schema}
    return config


def render_tier(tier: str | None, dropped: Dropped) -> str | None:
    if tier is None:
        return None
    rendered = _TIERS.get(tier)
    if rendered is None:
        dropped.add("service_tier")
    return rendered
