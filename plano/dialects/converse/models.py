"""What the model families behind Bedrock's one API differ in: reasoning, caching, structured output, top_k. No I/O.

Sources: Bedrock user guide, "Inference request parameters and response fields" (per model family), "Prompt caching",
"Structured outputs", "Adaptive thinking"; model ids from "Supported foundation models". A model is known by its id, an
inference profile's id (`us.anthropic.claude-...`) or an ARN that holds one; an application inference profile's ARN says
nothing about its model and is treated as a family of its own kind, to which nothing but the common fields is sent.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final

from plano.dialects.conversation import Reasoning
from plano.dialects.messages.models import ModelLimits, limits_of

_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:-(\d{1,2}))?(?!\d)")
_NEWEST: Final = (99, 0)

# Reasoning tokens for models that are told a budget and not an effort. 1024 is Anthropic's minimum.
MIN_BUDGET_TOKENS: Final = 1024
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32768}
_DEFAULT_EFFORT: Final = "medium"
_THREE_LEVELS: Final = {"minimal": "low", "xhigh": "high", "max": "high"}


class Family(StrEnum):
    CLAUDE = "claude"
    NOVA = "nova"
    GPT_OSS = "gpt-oss"
    MISTRAL = "mistral"
    COHERE = "cohere"
    OTHER = "other"


class Traits:
    """What is known of the model `model` from its id."""

    __slots__ = ("family", "limits", "model", "version")

    def __init__(self, model: str) -> None:
        self.model = model.lower()
        self.family = _family(self.model)
        self.limits = limits_of(self.model) if self.family is Family.CLAUDE else ModelLimits()
        self.version = _claude_version(self.model) if self.family is Family.CLAUDE else (0, 0)

    def caches(self) -> bool:
        """Does it take cache points in prompts?"""
        if self.family is Family.CLAUDE:
            return self.version >= (3, 5) and "claude-3-5-sonnet-20240620" not in self.model
        return self.family is Family.NOVA

    def caches_tools(self) -> bool:
        """Does it take cache points among tools, and a time to live?"""
        return self.family is Family.CLAUDE and self.caches()

    def refuses_schemas(self) -> bool:
        """Is it known to have no structured output?"""
        return self.family is Family.CLAUDE and self.version < (4, 5)

    def takes_strict_tools(self) -> bool:
        return self.family is Family.CLAUDE and self.version >= (4, 5)

    def takes_search_results(self) -> bool:
        """Does it take search results as such, and cite them (Anthropic documentation, "Search results")?"""
        return self.family is Family.CLAUDE and self.version >= (3, 7)

    def takes_result_status(self) -> bool:
        """Does it take the status of a tool result?"""
        return self.family in (Family.CLAUDE, Family.NOVA)

    def takes_reasoning_back(self) -> bool:
        """Does it take signed reasoning in the history? Others refuse a request for it, and conversations do move
        between models. A profile's ARN that names no model may stand for one that does.
        """
        return self.family is Family.CLAUDE or "application-inference-profile" in self.model

    def top_k(self, value: int) -> dict[str, Any] | None:
        """The additional request fields for `top_k`, None when the model has none."""
        if self.family in (Family.CLAUDE, Family.MISTRAL):
            return {"top_k": value} if self.limits.sampling else None
        if self.family is Family.NOVA:
            return {"inferenceConfig": {"topK": value}}
        if self.family is Family.COHERE:
            return {"k": value}
        return None

    def needs_thinking_before_calls(self) -> bool:
        """Must a tool call in the history follow its signed thinking while thinking is on?"""
        return self.family is Family.CLAUDE and not self.limits.adaptive

    def reasoning(self, wish: Reasoning, max_tokens: int | None) -> tuple[dict[str, Any], str | None] | None:
        """The additional request fields and the effort of `outputConfig`; None when the wish cannot be told."""
        off = wish.enabled is False or wish.effort == "none"
        if self.family is Family.CLAUDE:
            return self._claude_reasoning(wish, max_tokens, off)
        effort = wish.effort or _DEFAULT_EFFORT
        level = _THREE_LEVELS.get(effort, effort)
        if self.family is Family.GPT_OSS and not off:
            return {"reasoning_effort": level}, None
        if self.family is Family.NOVA and "nova-2" in self.model:
            if off:
                return {"reasoningConfig": {"type": "disabled"}}, None
            return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": level}}, None
        return None

    def _claude_reasoning(
        self, wish: Reasoning, max_tokens: int | None, off: bool
    ) -> tuple[dict[str, Any], str | None] | None:
        if off:
            if self.limits.off is None:
                return None
            # Models that are not adaptive do not think unless told to.
            return ({"thinking": {"type": self.limits.off}} if self.limits.adaptive else {}), None
        if self.version < (3, 7):
            return None
        if wish.budget_tokens is not None:
            return {"thinking": {"type": "enabled", "budget_tokens": wish.budget_tokens}}, None
        if self.limits.adaptive:
            thinking = {"type": "adaptive"}
            if wish.summary is not None:
                thinking["display"] = "summarized"
            return {"thinking": thinking}, self._effort(wish.effort)
        budget = _BUDGETS.get(wish.effort or _DEFAULT_EFFORT, _BUDGETS[_DEFAULT_EFFORT])
        if max_tokens is not None:
            # The limit includes the reasoning: half of it is kept for the answer.
            budget = min(budget, max_tokens // 2)
        if budget < MIN_BUDGET_TOKENS:
            return None
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}, None

    def _effort(self, effort: str | None) -> str | None:
        if effort == "minimal":
            return "low"
        return "high" if effort == "xhigh" and not self.limits.xhigh else effort


def _family(model: str) -> Family:
    if "claude" in model or "anthropic." in model:
        return Family.CLAUDE
    if "amazon.nova" in model:
        return Family.NOVA
    if "openai.gpt-oss" in model:
        return Family.GPT_OSS
    if "mistral." in model:
        return Family.MISTRAL
    if "cohere." in model:
        return Family.COHERE
    return Family.OTHER


def _claude_version(model: str) -> tuple[int, int]:
    match = _VERSION.search(model)
    if match is not None:
        return int(match[1]), int(match[2] or 0)
    # Names without a number are either very old or newer than this code.
    return (2, 0) if "claude-v" in model or "claude-instant" in model else _NEWEST
