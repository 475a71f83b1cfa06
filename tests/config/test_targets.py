"""Prompt targets of a file: what is found wrong with them, what they become, which listeners serve them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.files import load_data, plan, refuse, small

Json = dict[str, Any]

ENDPOINTS = {"weather_api": {"endpoint": "weather.example:8443", "protocol": "https", "connect_timeout": "1s"}}
PROMPT = {"name": "edge", "type": "prompt"}
AGENT = {"name": "team", "type": "agent", "port": 8001, "agents": [{"id": "a", "description": "x"}]}
AGENTS = [{"id": "a", "url": "http://localhost:1/base/"}]


def file(*parameters: Json, listeners: list[Json] | None = None, path: str = "/w/{city}", **target: Any) -> Json:
    """A file with one target, of one parameter `city` unless others are given."""
    given = list(parameters) or [{"name": "city", "description": "c", "type": "str", "required": True}]
    described = {
        "name": "weather",
        "description": "The weather",
        "parameters": given,
        "endpoint": {"name": "weather_api", "path": path},
        **target,
    }
    return small(listeners=listeners or [PROMPT], endpoints=ENDPOINTS, prompt_targets=[described], agents=AGENTS)


def warn(data: Json) -> dict[str, str]:
    """The warnings of a file that loads, by their place."""
    return {warning.path or "": warning.message for warning in load_data(data).warnings}


def serving(data: Json) -> list[str]:
    return [listener.name for listener in plan(data).listeners if listener.serves_targets]


def test_a_target_is_compiled_with_its_call() -> None:
    parameters = [
        {"name": "city", "description": "c", "type": "str", "required": True, "in_path": True},
        {"name": "tags", "description": "t", "type": "SET", "items": {"type": "string"}},
        {"name": "unit", "description": "u", "type": "odd", "enum": ["c", "f"], "default": "c", "format": "x"},
    ]
    endpoint = {
        "name": "weather_api",
        "path": "/w/{city}",
        "http_method": "POST",
        "http_headers": {"Authorization": "$KEY"},
    }
    data = file(*parameters, endpoint=endpoint, system_prompt="Be dry.", auto_llm_dispatch_on_response=False)
    (target,) = plan(data | {"system_prompt": "Be brief."}, {"KEY": "Bearer k"}).targets
    assert target.call is not None
    assert (target.call.url, target.call.path, target.call.method) == (
        "https://weather.example:8443",
        "/w/{city}",
        "POST",
    )
    assert target.call.headers == (("Authorization", "Bearer k"),)
    assert target.call.connect_timeout_s == 1.0
    assert "Bearer" not in repr(target)
    assert (target.dispatch, target.system_prompt) == (False, "Be dry.")
    assert [one.schema for one in target.parameters] == [
        {"type": "string", "description": "c"},
        {"type": "array", "uniqueItems": True, "description": "t", "items": {"type": "string"}},
        {"type": "string", "description": "u", "enum": ["c", "f"], "format": "x", "default": "c"},
    ]


def test_an_agent_may_be_the_endpoint() -> None:
    (target,) = plan(file(endpoint={"name": "a", "path": "/w/{city}"})).targets
    assert target.call is not None
    assert target.call.url + target.call.path == "http://localhost:1/base/w/{city}"


def test_prompt_listeners_serve_targets_and_agent_listeners_where_there_are_none() -> None:
    assert serving(file(listeners=[PROMPT, AGENT])) == ["edge"]
    assert serving(file(listeners=[AGENT])) == ["team"]
    assert serving(small(listeners=[AGENT], agents=AGENTS)) == []
    assert serving(file(listeners=[{**PROMPT, "agents": AGENT["agents"]}])) == ["edge"]


def test_a_good_target_is_no_cause_for_warnings() -> None:
    assert warn(file()) == {}


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (file(path="/w/{town}"), "prompt_targets[0].endpoint.path", "`{town}` is not a parameter"),
        (
            file({"name": "city", "description": "c", "type": "str", "in_path": True}, path="/w"),
            "prompt_targets[0].parameters[0].in_path",
            "does not stand in the path",
        ),
        (
            file({"name": "city", "description": "c", "type": "text"}),
            "prompt_targets[0].parameters[0].type",
            "is no type",
        ),
        (
            file(listeners=[{**PROMPT, "agents": AGENT["agents"]}], default=True),
            "listeners[0].agents",
            "never asked",
        ),
        (
            file(listeners=[AGENT]) | {"model_providers": []},
            "listeners[0].type",
            "nobody words the answers",
        ),
    ],
)
def test_what_cannot_work_is_a_warning(data: Json, place: str, message: str) -> None:
    assert message in warn(data)[place]


def test_what_nothing_acts_on_is_told() -> None:
    data = file() | {"overrides": {"use_agent_orchestrator": True}}
    data["endpoints"] = {"weather_api": {**ENDPOINTS["weather_api"], "prefix_affinity": True}}
    (unserved,) = [message for message in warn(data).values() if "without effect" in message]
    assert "use_agent_orchestrator" in unserved
    assert "prefix_affinity of endpoint `weather_api`" in unserved


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (
            file(*[{"name": "city", "description": "c", "type": "str"}] * 2),
            "prompt_targets[0].parameters[1].name",
            "declared twice",
        ),
        (
            file({"name": "city", "description": "c", "type": "list", "items": {"type": 7}}),
            "prompt_targets[0].parameters[0].items",
            "is no JSON Schema",
        ),
        (
            small(prompt_targets=[{"name": f"t{number}", "description": "x"} for number in range(257)]),
            "prompt_targets",
            "at most 256",
        ),
        (
            file(listeners=[{**PROMPT, "agents": [{"id": "b", "description": "x"}]}]),
            "listeners[0].agents[0].id",
            "is not an agent",
        ),
    ],
)
def test_what_is_wrong_is_refused(data: Json, place: str, message: str) -> None:
    assert any(problem.path == place and message in problem.message for problem in refuse(data))
