"""Agents and filters of a file, as the frontends are handed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from plano.config.compiling import compile_plan
from plano.config.loading import load
from plano.config.plan import AgentPlan, ClusterPlan, FilterPlan
from plano.config.problems import ConfigError
from plano.config.settings import Settings

AGENTS = [
    {"id": "flights", "url": "http://agents.test:10510/fly/"},
    {
        "id": "hotels",
        "url": "https://hotels.test",
        "forward_headers": ["Authorization"],
        "retry_policy": {"attempts": 4, "per_try_timeout": "2s", "circuit_breaker": {"failures": 3}},
    },
]
FILTERS = [
    {"id": "pii", "url": "http://filters.test/pii", "type": "http", "on_failure": "allow", "mode": "buffered"},
    {"id": "rag", "url": "http://filters.test/mcp", "tool": "search", "forward_headers": ["X-User"], "timeout": "3s"},
]
LISTENER = {
    "name": "travel",
    "type": "agent",
    "port": 8001,
    "execution": "parallel",
    "writer": "default_model",
    "input_filters": ["pii"],
    "output_filters": ["rag"],
    "agents": [
        {"id": "hotels", "description": "books hotels", "on_failure": "skip", "filter_chain": ["rag", "flights"]},
        {"id": "flights", "description": "books flights", "default": True},
    ],
}


def compiled(folder: Path, **changes: Any) -> ClusterPlan:
    path = folder / "plano.yaml"
    file = {"version": "v0.4.0", "agents": AGENTS, "filters": FILTERS, "listeners": [LISTENER], **changes}
    path.write_text(yaml.safe_dump(file), encoding="utf-8")
    return compile_plan(load(path, {}).config, Settings())


def agent(plan: ClusterPlan, name: str) -> AgentPlan:
    return next(one for one in plan.listeners[0].agents if one.id == name)


def test_agents_keep_the_order_of_the_listener(tmp_path: Path) -> None:
    (listener,) = compiled(tmp_path).listeners
    assert [(one.id, one.description, one.default, one.on_failure) for one in listener.agents] == [
        ("hotels", "books hotels", False, "skip"),
        ("flights", "books flights", True, "abort"),
    ]
    assert (listener.execution, listener.writer) == ("parallel", "default_model")
    assert (listener.input_filters, listener.output_filters) == (("pii",), ("rag",))
    assert listener.agents[0].filters == ("rag", "flights")


def test_an_agent_is_called_at_its_url_plus_the_clients_path(tmp_path: Path) -> None:
    provider = agent(compiled(tmp_path), "flights").provider
    assert (provider.scheme, provider.host, provider.port, provider.authority) == (
        "http",
        "agents.test",
        10510,
        "agents.test:10510",
    )
    paths = {endpoint.dialect: endpoint.path for endpoint in provider.endpoints}
    assert paths == {
        "chat": "/fly/v1/chat/completions",
        "messages": "/fly/v1/messages",
        "responses": "/fly/v1/responses",
    }
    assert provider.verbatim
    assert not provider.passthrough_auth


def test_an_agent_gets_credentials_only_where_they_are_named(tmp_path: Path) -> None:
    assert agent(compiled(tmp_path), "hotels").provider.passthrough_auth


def test_agents_are_tried_again_as_providers_are(tmp_path: Path) -> None:
    plan = compiled(tmp_path)
    told, usual = agent(plan, "hotels").provider.retry, agent(plan, "flights").provider.retry
    assert (told.attempts, told.per_try_timeout_s, told.breaker_failures) == (4, 2.0, 3)
    assert (usual.attempts, usual.per_try_timeout_s) == (2, None)


def test_nobody_takes_an_agents_place(tmp_path: Path) -> None:
    agents = [AGENTS[0], {**AGENTS[1], "retry_policy": {"fallback_models": ["openai/gpt-4o"]}}]
    with pytest.raises(ConfigError, match="nobody takes an agent's place"):
        compiled(tmp_path, agents=agents)


def test_filters_and_agents_that_filter(tmp_path: Path) -> None:
    plans = {one.id: one for one in compiled(tmp_path).filters}
    assert plans == {
        "flights": FilterPlan("flights", "mcp", "http://agents.test:10510/fly/", "flights"),
        "pii": FilterPlan("pii", "http", "http://filters.test/pii", "pii", "allow", "buffered"),
        "rag": FilterPlan(
            "rag", "mcp", "http://filters.test/mcp", "search", forward_headers=("x-user",), timeout_s=3.0
        ),
    }
