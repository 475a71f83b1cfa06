"""Requests in Google's Gemini dialect: a conversation as the body of generateContent. No I/O.

Source: Gemini API reference, "models.generateContent" and "GenerationConfig" (ai.google.dev/api/generate-content), the
guides "Thinking", "Function calling" and "Structured outputs", and for the size of an effort the table of "OpenAI
compatibility" (ai.google.dev/gemini-api/docs/openai#thinking), v1beta. The key goes into the header `AUTH_HEADER`.

What Gemini knows otherwise: the model and whether to stream stand in the path (`gemini_path`); a system text in the
middle of a conversation joins the system instruction.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from plano.dialects.conversation import Conversation, Dropped, Json, Reasoning, Text, Tool, ToolChoice, Untranslatable
from plano.dialects.custom_tools import schema_of
from plano.dialects.gemini.content import LATEST_GENERATION, ContentRenderer, read_generation

AUTH_HEADER: Final = "x-goog-api-key"

_PATH: Final = "/v1beta/"
_SEED_RANGE: Final = 1 << 31
_EFFORT_BUDGETS: Final = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 32_768,
    "max": 32_768,
}
_EFFORT_LEVELS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_PRO_BUDGETS: Final = (128, 32_768)
_BUDGETS: Final = (0, 24_576)
_AUTOMATIC_BUDGET: Final = -1
_SERVICE_TIERS: Final = {
    "default": "standard",
    "standard": "standard",
    "standard_only": "standard",
    "flex": "flex",
    "priority": "priority",
}
# Fields a client may give in Gemini's own words, in both of the spellings that Google's JSON allows.
_OWN_FIELDS: Final = {
    "safetySettings": "safetySettings",
    "safety_settings": "safetySettings",
    "cachedContent": "cachedContent",
    "cached_content": "cachedContent",
}
_OWN_TOOLS: Final = frozenset(
    ("googleSearch", "googleSearchRetrieval", "googleMaps", "codeExecution", "urlContext", "fileSearch", "computerUse")
)


def gemini_path(model: str, stream: bool) -> str:
    """The path, with query, of a request to `model` (`gemini-2.5-pro`, `models/gemini-2.5-pro`, `tunedModels/x`)."""
    resource = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    kind, _, name = resource.partition("/")
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"{_PATH}{kind}/{quote(name, safe='')}:{method}"


def render_request(conversation: Conversation, model: str, dropped: Dropped) -> dict[str, Any]:
    """The body of a request to `model`. What has no place in it is named in `dropped`.

    Raises Untranslatable where leaving something out would change what was asked.
    """
    renderer = ContentRenderer(model, dropped)
    contents = renderer.render_turns(conversation.turns)
    system = renderer.render_texts(_collect_system(conversation))
    body: dict[str, Any] = {}
    if contents:
        body["contents"] = contents
        if system:
            body["systemInstruction"] = {"parts": system}
    elif system:
        # Gemini answers contents only: instructions that stand alone are said as the user.
        body["contents"] = [{"role": "user", "parts": system}]
    else:
        raise Untranslatable("Gemini needs at least one message with content.", "messages")
    tools = _render_tools(conversation, dropped)
    if tools:
        body["tools"] = tools
        choice = _render_tool_choice(conversation.tool_choice)
        if choice is not None:
            body["toolConfig"] = {"functionCallingConfig": choice}
    generation = _render_generation(conversation, model, dropped)
    if generation:
        body["generationConfig"] = generation
    _render_tier(conversation, body, dropped)
    for name, value in conversation.extra.items():
        own = _OWN_FIELDS.get(name)
        if own is not None:
            body[own] = value
        elif value is not None:
            dropped.add(name)
    return body


def _collect_system(conversation: Conversation) -> list[Text]:
    texts = list(conversation.system)
    for turn in conversation.turns:
        if turn.role == "system":
            texts.extend(block for block in turn.blocks if isinstance(block, Text))
    return texts


def _render_tools(conversation: Conversation, dropped: Dropped) -> list[Json]:
    choice = conversation.tool_choice
    # Which tools are allowed can be said only where one must be called; otherwise the others are not offered.
    offered: frozenset[str] | None = None
    if choice is not None and choice.mode == "auto" and choice.allowed is not None:
        offered = frozenset(choice.allowed)
    declarations: list[Json] = []
    own: list[Json] = []
    for index, tool in enumerate(conversation.tools):
        where = f"tools[{index}]"
        if tool.opaque is not None:
            if not tool.opaque or not _OWN_TOOLS.issuperset(tool.opaque):
                kind = tool.opaque.get("type") or tool.name
                raise Untranslatable(f"Gemini has no tool of the type '{kind}'.", where)
            own.append(tool.opaque)
        elif offered is None or tool.name in offered:
            declarations.append(_declare(tool, where, dropped))
    if declarations:
        own.insert(0, {"functionDeclarations": declarations})
    if own and conversation.parallel_tools is False:
        dropped.add("parallel_tool_calls")
    return own


def _declare(tool: Tool, where: str, dropped: Dropped) -> Json:
    declaration: Json = {"name": tool.name}
    if tool.description:
        declaration["description"] = tool.description
    if tool.custom:
        declaration["parametersJsonSchema"] = schema_of(tool)
        if tool.grammar is not None and tool.grammar.get("type") != "text":
            dropped.add(f"{where}.format")
    elif tool.schema:
        declaration["parametersJsonSchema"] = tool.schema
    if tool.strict:
        dropped.add(f"{where}.strict")
    if tool.cache is not None:
        dropped.add("cache_control")
    return declaration


def _render_tool_choice(choice: ToolChoice | None) -> Json | None:
    if choice is None:
        return None
    if choice.mode == "none":
        return {"mode": "NONE"}
    if choice.mode == "tool":
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    if choice.mode == "any":
        return {"mode": "ANY"} if choice.allowed is None else {"mode": "ANY", "allowedFunctionNames": choice.allowed}
    return {"mode": "AUTO"}


def _render_generation(conversation: Conversation, model: str, dropped: Dropped) -> Json:
    config: Json = {}
    for name, value in (
        ("maxOutputTokens", conversation.max_tokens),
        ("temperature", conversation.temperature),
        ("topP", conversation.top_p),
        ("topK", conversation.top_k),
        ("presencePenalty", conversation.presence_penalty),
        ("frequencyPenalty", conversation.frequency_penalty),
    ):
        if value is not None:
            config[name] = value
    if conversation.stop:
        config["stopSequences"] = conversation.stop
    if conversation.seed is not None:
        config["seed"] = conversation.seed % _SEED_RANGE  # an int32 here; folded, it is as repeatable as before
    if conversation.n is not None and conversation.n > 1:
        config["candidateCount"] = conversation.n
    output = conversation.output
    if output is not None and output.kind != "text":
        config["responseMimeType"] = "application/json"
        if output.kind == "schema" and output.schema is not None:
            config["responseJsonSchema"] = output.schema
    if conversation.reasoning is not None:
        thinking = _render_thinking(conversation.reasoning, model, dropped)
        if thinking:
            config["thinkingConfig"] = thinking
    # Gemini knows log probabilities, but what comes back has no place in an answer of the hub.
    for unknown, given in (
        ("logprobs", bool(conversation.logprobs)),
        ("top_logprobs", bool(conversation.top_logprobs)),
        ("verbosity", conversation.verbosity is not None),
        ("user", conversation.user is not None),
        ("metadata", bool(conversation.metadata)),
        ("store", conversation.store is True),
    ):
        if given:
            dropped.add(unknown)
    return config


def _render_thinking(reasoning: Reasoning, model: str, dropped: Dropped) -> Json:
    generation = read_generation(model)
    if generation < LATEST_GENERATION and "gemini-2.5" not in model:
        dropped.add("reasoning")
        return {}
    effort = "none" if reasoning.enabled is False else reasoning.effort
    config: Json = {}
    low, high = _PRO_BUDGETS if "pro" in model else _BUDGETS
    if effort is not None and generation >= LATEST_GENERATION:
        config["thinkingLevel"] = _read_level(effort, model)
    elif effort is not None:
        config["thinkingBudget"] = min(max(_EFFORT_BUDGETS.get(effort, _EFFORT_BUDGETS["medium"]), low), high)
    elif reasoning.budget_tokens is not None:
        config["thinkingBudget"] = min(max(reasoning.budget_tokens, low), high)
    elif reasoning.enabled and generation < LATEST_GENERATION:
        config["thinkingBudget"] = _AUTOMATIC_BUDGET
    if effort != "none" and (config or reasoning.enabled or reasoning.summary is not None):
        config["includeThoughts"] = True
    return config


def _read_level(effort: str, model: str) -> str:
    if effort in ("none", "minimal"):
        # The newest models always think; the least they can be told differs.
        return "minimal" if "flash" in model else "low"
    if effort == "medium" and "gemini-3-pro" in model:
        return "high"  # it has no level between
    return _EFFORT_LEVELS.get(effort, "medium")


def _render_tier(conversation: Conversation, body: dict[str, Any], dropped: Dropped) -> None:
    tier = conversation.service_tier
    if tier is None or tier == "auto":
        return
    known = _SERVICE_TIERS.get(tier)
    if known is None:
        dropped.add("service_tier")
    else:
        body["serviceTier"] = known
