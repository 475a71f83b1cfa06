"""What single providers and models want otherwise than their dialect says: a request's body in, the body to send out.

Quirks come last, after a translation as well as where client and upstream speak the same dialect. None of them changes
the body it is given: a body that needs no change is returned as the identical object, so that the client's bytes can be
sent as they came.

Sources: the providers' API references; for the ChatGPT backend, which has none, the requests of the Codex CLI
(github.com/openai/codex) and the refusals that its users report (`Unsupported parameter: ...`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from plano.dialects.conversation import BadRequest, Dropped

Json = dict[str, Any]

# The ChatGPT backend serves Codex only, and wants to be told so by the beginning of the instructions.
CODEX_INSTRUCTIONS: Final = (
    "You are Codex, based on GPT-5. You are running as a coding agent in the Codex CLI on a user's computer."
)
_CODEX_REFUSES: Final = frozenset(
    {
        "frequency_penalty",
        "max_output_tokens",
        "metadata",
        "presence_penalty",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "temperature",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)

_REASONING: Final = frozenset({"reasoning_content", "reasoning_details"})

_KIMI_CODING_MODEL: Final = "kimi-for-coding"
_KIMI_CODING_REFUSES: Final = {
    "chat": frozenset(
        {"reasoning", "reasoning_effort", "service_tier", "store", "stream_options", "thinking", "web_search_options"}
    ),
    "messages": frozenset({"thinking"}),
}

_KIMI_K3_MODEL: Final = "kimi-k3"
_KIMI_K3_REFUSES: Final = frozenset({"frequency_penalty", "n", "presence_penalty", "temperature", "top_p"})
_KIMI_K3_EFFORTS: Final = {
    "none": "low",
    "minimal": "low",
    "low": "low",
    "medium": "high",
    "high": "high",
    "max": "max",
}

# OpenAI's reasoning models refuse `max_tokens` (API reference, chat completions: deprecated, not for o-series models).
_COMPLETION_TOKENS_MODELS: Final = ("gpt-5", "o1", "o3", "o4")
_FIXED_TEMPERATURE_MODELS: Final = ("gpt-5",)


@dataclass(frozen=True, slots=True)
class Call:
    """What a quirk may depend on besides the body: the dialects of the two sides."""

    client: str
    upstream: str


@dataclass(frozen=True, slots=True)
class Quirk:
    """`apply` gives the body to send: the one it got, or a changed copy. It may raise BadRequest. `always_streams`: the
    upstream answers with a stream even where the client wants a document. `usage_in_streams`: it may be asked for the
    usage of a chat stream."""

    name: str
    apply: Callable[[Json, Call], Json]
    always_streams: bool = False
    usage_in_streams: bool = True


def quirks_for(names: tuple[str, ...], model: str) -> tuple[Quirk, ...]:
    """The quirks of one model of one provider, mostly none. `names` are the provider's (`ProviderPlan.quirks`), `model`
    is the upstream's name of the model.

    Raises KeyError for a name that is not in `PROVIDER_QUIRKS`.
    """
    bare = model.rpartition("/")[2]  # providers of others' models put the maker in front: openai/o3
    found = [PROVIDER_QUIRKS[name] for name in names if name != _KIMI_K3.name or model == _KIMI_K3_MODEL]
    if bare == _KIMI_CODING_MODEL:
        found.append(_KIMI_CODING)
    if bare.startswith(_COMPLETION_TOKENS_MODELS):
        found.append(_COMPLETION_TOKENS)
    if bare.startswith(_FIXED_TEMPERATURE_MODELS):
        found.append(_FIXED_TEMPERATURE)
    return tuple(found)


def apply_quirks(quirks: Sequence[Quirk], body: Json, call: Call, dropped: Dropped) -> Json:
    """The body to send, `body` itself where nothing changes. Fields that are left out are named in `dropped`, except
    `stream_options`: it is the gateway's own wish more often than the client's.

    Raises BadRequest for what the upstream cannot do.
    """
    sent = body
    for quirk in quirks:
        sent = quirk.apply(sent, call)
    if sent is not body:
        for name in body:
            if name not in sent and name not in _RENAMED and name != "stream_options":
                dropped.add(name)
    return sent


def _leave_out(body: Json, names: frozenset[str]) -> Json:
    if names.isdisjoint(body):
        return body
    return {name: value for name, value in body.items() if name not in names}


def _drop_web_search_options(body: Json, call: Call) -> Json:
    return _leave_out(body, _WEB_SEARCH_OPTIONS) if call.upstream == "chat" else body


def _drop_stream_options(body: Json, call: Call) -> Json:
    return _leave_out(body, _STREAM_OPTIONS) if call.upstream == "chat" else body


def _fit_kimi_coding(body: Json, call: Call) -> Json:
    refused = _KIMI_CODING_REFUSES.get(call.upstream)
    return body if refused is None else _leave_out(body, refused)


def _fit_kimi_k3(body: Json, call: Call) -> Json:
    if call.upstream != "chat":
        return body
    sent = _leave_out(body, _KIMI_K3_REFUSES)
    if "reasoning_effort" not in sent:
        return sent
    effort = sent["reasoning_effort"]
    known = _KIMI_K3_EFFORTS.get(effort) if isinstance(effort, str) else None
    if known is None:
        return _leave_out(sent, _REASONING_EFFORT)
    return sent if known == effort else {**sent, "reasoning_effort": known}


def _fit_codex(body: Json, call: Call) -> Json:
    if call.upstream != "responses":
        return body
    if body.get("stream") is False:
        message = "The ChatGPT backend answers with streams only: set 'stream' to true, or leave it out."
        raise BadRequest(message, "stream")
    changes: Json = {}
    instructions = body.get("instructions")
    if instructions is None or instructions == "":
        changes["instructions"] = CODEX_INSTRUCTIONS
    elif isinstance(instructions, str) and CODEX_INSTRUCTIONS not in instructions:
        changes["instructions"] = f"{CODEX_INSTRUCTIONS}\n\n{instructions}"
    if body.get("store") is not False:
        changes["store"] = False
    if body.get("stream") is not True:
        changes["stream"] = True
    given = body.get("input")
    if isinstance(given, str):
        text = {"type": "input_text", "text": given}
        changes["input"] = [{"type": "message", "role": "user", "content": [text]}]
    elif isinstance(given, dict):
        changes["input"] = [given]
    sent = _leave_out(body, _CODEX_REFUSES)
    return {**sent, **changes} if changes else sent


def _rename_max_tokens(body: Json, call: Call) -> Json:
    if call.upstream != "chat" or "max_tokens" not in body:
        return body
    sent = _leave_out(body, _RENAMED)
    if sent.get("max_completion_tokens") is None and body["max_tokens"] is not None:
        sent["max_completion_tokens"] = body["max_tokens"]
    return sent


def _fix_temperature(body: Json, call: Call) -> Json:
    """Clients of the messages dialect mean Anthropic's scale, and send it to every model: these know 1 only."""
    if call.client != "messages" or call.upstream not in ("chat", "responses") or body.get("temperature") in (None, 1):
        return body
    return {**body, "temperature": 1.0}


_RENAMED: Final = frozenset({"max_tokens"})
_REASONING_EFFORT: Final = frozenset({"reasoning_effort"})
_STREAM_OPTIONS: Final = frozenset({"stream_options"})
_WEB_SEARCH_OPTIONS: Final = frozenset({"web_search_options"})

_KIMI_CODING: Final = Quirk("kimi_coding", _fit_kimi_coding, usage_in_streams=False)
_KIMI_K3: Final = Quirk("kimi_k3", _fit_kimi_k3)
_COMPLETION_TOKENS: Final = Quirk("completion_tokens", _rename_max_tokens)
_FIXED_TEMPERATURE: Final = Quirk("fixed_temperature", _fix_temperature)


# Those that a line of catalogue.yaml may name; the others are known by the model alone.
def _forget_reasoning(body: Json, call: Call) -> Json:
    """Groq and Mistral refuse messages with fields that OpenAI's reference does not have. The others read the reasoning
    of earlier turns, and some (DeepSeek, Moonshot) insist on it between a tool's call and its result."""
    messages = body.get("messages")
    if type(messages) is not list or all(_REASONING.isdisjoint(m) for m in messages if type(m) is dict):
        return body
    kept = [_leave_out(message, _REASONING) if type(message) is dict else message for message in messages]
    return {**body, "messages": kept}


PROVIDER_QUIRKS: Final = {
    quirk.name: quirk
    for quirk in (
        _KIMI_K3,
        Quirk("no_reasoning_history", _forget_reasoning),
        Quirk("no_stream_options", _drop_stream_options, usage_in_streams=False),
        Quirk("no_web_search_options", _drop_web_search_options),
        Quirk("codex", _fit_codex, always_streams=True),
    )
}
