"""Token counts and finish reasons of the chat dialect, of answers and of streams.

Source: OpenAI API reference, CompletionUsage; DeepSeek (`prompt_cache_hit_tokens`); Moonshot (`cached_tokens`); xAI and
Gemini's compatible endpoint (reasoning outside of `completion_tokens`); gateways that front Anthropic
(`cache_read_input_tokens`, `cache_creation_input_tokens`); Groq (`x_groq.usage`); gateways
that front Gemini (`cached_content_token_count`, `thoughts_token_count`).
"""

from __future__ import annotations

from typing import Any, Final

from plano.dialects.conversation import Json, StopReason, Usage
from plano.dialects.tokens import read_count

# ServiceTier: the reference knows no others, and typed clients none but these.
SERVICE_TIERS: Final = frozenset(("auto", "default", "flex", "scale", "priority", "fast"))

_REASONS: Final = {
    "stop": StopReason.END,
    "eos": StopReason.END,
    "eos_token": StopReason.END,
    "end_turn": StopReason.END,
    "end": StopReason.END,
    "complete": StopReason.END,
    "completed": StopReason.END,
    "": StopReason.END,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "length": StopReason.MAX_TOKENS,
    "max_tokens": StopReason.MAX_TOKENS,
    "max_length": StopReason.MAX_TOKENS,
    "max_output_tokens": StopReason.MAX_TOKENS,
    "model_length": StopReason.CONTEXT,
    "model_context_window_exceeded": StopReason.CONTEXT,
    "tool_calls": StopReason.TOOL_USE,
    "tool_call": StopReason.TOOL_USE,
    "tool_use": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "content_filter": StopReason.FILTERED,
    "content_filtered": StopReason.FILTERED,
    "safety": StopReason.FILTERED,
    "recitation": StopReason.FILTERED,
    "guardrail_intervened": StopReason.FILTERED,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
}

_FINISHES: Final = {
    StopReason.END: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.MAX_TOKENS: "length",
    StopReason.CONTEXT: "length",
    StopReason.TOOL_USE: "tool_calls",
    StopReason.REFUSAL: "content_filter",
    StopReason.FILTERED: "content_filter",
    StopReason.PAUSE: "stop",
    StopReason.OTHER: "stop",
}


def stop_of(reason: Any, called: bool, refused: bool) -> StopReason:
    """Why the model stopped: by the finish reason, by whether it `called` a tool and whether it `refused`.

    Many servers finish with `stop` after a tool call, OpenAI too when the call was forced.
    """
    stop = _REASONS.get(reason.lower(), StopReason.OTHER) if type(reason) is str else StopReason.END
    if stop is StopReason.END or stop is StopReason.OTHER:
        if called:
            return StopReason.TOOL_USE
        if refused:
            return StopReason.REFUSAL
    return stop


def stop_sequence_of(choice: Json, stop: StopReason) -> str | None:
    """The stop sequence that was met, where the server names it (vLLM's `stop_reason`)."""
    found = choice.get("stop_reason")
    if type(found) is str and found and stop in (StopReason.END, StopReason.STOP_SEQUENCE):
        return found
    return None


def finish_reason(stop: StopReason, refused: bool, legacy: bool) -> str:
    """The finish reason for a client. `refused`: it gets the model's words in `refusal`, and then OpenAI says `stop`;
    `legacy`: it speaks of functions instead of tools."""
    if stop is StopReason.TOOL_USE and legacy:
        return "function_call"
    return "stop" if stop is StopReason.REFUSAL and refused else _FINISHES[stop]


def parse_usage(value: Any) -> Usage:
    """The token counts; unknown when `value` holds none."""
    if type(value) is not dict or not ("prompt_tokens" in value or "completion_tokens" in value):
        return Usage()
    prompt, completion = _count(value, "prompt_tokens"), _count(value, "completion_tokens")
    inputs, outputs = _details(value, "prompt_tokens_details"), _details(value, "completion_tokens_details")
    cache_read = (
        _count(inputs, "cached_tokens")
        or _count(value, "prompt_cache_hit_tokens")
        or _count(value, "cache_read_input_tokens")
        or _count(value, "cached_tokens")
        or _count(value, "cached_content_token_count")
    )
    cache_write = _count(inputs, "cache_write_tokens") or _count(value, "cache_creation_input_tokens")
    reasoning = (
        _count(outputs, "reasoning_tokens")
        or _count(value, "reasoning_tokens")
        or _count(value, "thoughts_token_count")
    )
    # Who forwards Anthropic's counters as they are leaves what was cached out of the prompt.
    if cache_read + cache_write > prompt:
        prompt += cache_read + cache_write
    # What the total has on top of prompt and completion is reasoning that was not counted as completion.
    hidden = _count(value, "total_tokens") - prompt - completion
    if hidden > 0 and (reasoning == 0 or hidden == reasoning):
        completion += hidden
        reasoning = hidden
    return Usage(prompt, completion, cache_read, cache_write, min(reasoning, completion), known=True)


def usage_of_chunk(chunk: Json) -> Usage:
    """The token counts in a chunk of a stream; unknown when it has none."""
    value = chunk.get("usage")
    if value is None:
        groq = chunk.get("x_groq")
        value = groq.get("usage") if type(groq) is dict else None
    return parse_usage(value)


def render_usage(usage: Usage) -> Json:
    inputs: Json = {"cached_tokens": usage.cache_read}
    if usage.cache_write:
        inputs["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _count(value: Json, key: str) -> int:
    found = value.get(key)
    if type(found) is float and found.is_integer():
        found = int(found)
    return read_count(found)


def _details(value: Json, key: str) -> Json:
    found = value.get(key)
    return found if type(found) is dict else {}
