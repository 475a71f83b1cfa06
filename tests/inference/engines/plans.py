"""Cluster plans for engines under test: providers on loopback, nothing listens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plano.config.plan import ClusterPlan, FunctionPlan, GuardPlan, InferencePlan, ProviderPlan, RolePlan
from plano.inference.calls import FunctionCall, GuardCall, OrchestratorCall, Route, Tool, Turn
from tests.frontends.plans import make_provider

ROUTES = (
    Route("code review", "looking for mistakes in source code"),
    Route("recipes", "cooking, ingredients, what to eat"),
    Route('it\'s "quoted"', "a name that needs escaping"),
)

WEATHER = Tool(
    "get_weather",
    "The weather at a place",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city"},
            "days": {"type": "integer", "description": "Days ahead"},
        },
        "required": ["city", "days"],
    },
)


def plan_for(*providers: ProviderPlan, **roles: Any) -> ClusterPlan:
    """A plan with these providers. `orchestrator`, `guard` and `function` are fields of their role plans."""
    inference = InferencePlan(
        orchestrator=replace(RolePlan(), **roles.get("orchestrator", {})),
        guard=replace(GuardPlan(), **roles.get("guard", {})),
        function=replace(FunctionPlan(), **roles.get("function", {})),
    )
    ids = tuple((provider.name, "test") for provider in providers if not provider.wildcard)
    return ClusterPlan(listeners=(), providers=providers, aliases={}, model_ids=ids, inference=inference)


def which_route(text: str, *, multiple: bool = False) -> dict[str, Any]:
    """The body of a call of the orchestrator."""
    return OrchestratorCall((Turn("user", text),), ROUTES, multiple).pack()


def is_attack(*texts: str) -> dict[str, Any]:
    """The body of a call of the guard."""
    return GuardCall(texts).pack()


def which_call(text: str, *tools: Tool) -> dict[str, Any]:
    """The body of a call of the function role."""
    return FunctionCall(({"role": "user", "content": text},), tools or (WEATHER,)).pack()


__all__ = ["ROUTES", "WEATHER", "is_attack", "make_provider", "plan_for", "which_call", "which_route"]
