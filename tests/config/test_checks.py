"""Every row of the tables of spec 1.15, and the checks that are ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.files import SMALL, load_data, refuse, small, with_provider

PROVIDERS = SMALL["model_providers"]
OTHER = {"model": "groq/llama", "access_key": "k"}
AGENTS = [{"id": "a", "url": "http://localhost:1"}, {"id": "b", "url": "http://localhost:2"}]
FILTERS = [{"id": "f", "url": "http://localhost:3"}]


def _agent_listener(**keys: Any) -> dict[str, Any]:
    listener = {"name": "agents", "type": "agent", "port": 8001, "agents": [{"id": "a", "description": "x"}], **keys}
    return {key: value for key, value in listener.items() if value is not None}


def _with_agents(*listeners: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return small(agents=AGENTS, filters=FILTERS, listeners=[*SMALL["listeners"], *listeners], **keys)


def _model_listener(**keys: Any) -> list[dict[str, Any]]:
    return [{"name": "llm", "type": "model", "port": 12000, **keys}]


def _preference(**keys: Any) -> dict[str, Any]:
    return {"name": "code", "description": "writes code", "models": ["openai/gpt-4o"], **keys}


def _target(**keys: Any) -> dict[str, Any]:
    return {"name": "t", "description": "x", **keys}


COST = {"type": "cost", "provider": "models.dev"}
LATENCY = {"type": "latency", "provider": "prometheus", "url": "http://p:9090", "query": "q"}

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    # The generator's table, by its numbers.
    "1 both names of providers": (small(llm_providers=PROVIDERS), "llm_providers", "model_providers"),
    "2 legacy object without providers": (
        small(listeners={"egress_traffic": {}}, model_providers=None),
        "listeners",
        "needs at least one entry",
    ),
    "2 legacy object with an empty list": (
        small(listeners={"egress_traffic": {}}, model_providers=None, llm_providers=[]),
        "listeners",
        "needs at least one entry",
    ),
    "3 two model listeners": (
        small(listeners=[*_model_listener(), {"name": "two", "type": "model", "port": 12002}]),
        "listeners[1].type",
        "only one listener",
    ),
    "4 duplicate agent": (small(agents=[AGENTS[0], AGENTS[0]]), "agents[1].id", "already used in `agents`"),
    "4 duplicate filter": (small(filters=[FILTERS[0], FILTERS[0]]), "filters[1].id", "already used in `filters`"),
    "4 filter named as an agent": (
        small(agents=AGENTS, filters=[{"id": "a", "url": "http://x"}]),
        "filters[0].id",
        "already used in `agents`",
    ),
    "5 target without an endpoint": (
        small(prompt_targets=[_target(endpoint={"name": "nope", "path": "/"})], endpoints={"yes": {"endpoint": "h"}}),
        "prompt_targets[0].endpoint.name",
        "neither an endpoint nor an agent",
    ),
    "6 collector over https": (
        small(tracing={"opentracing_grpc_endpoint": "https://c:4317"}),
        "tracing.opentracing_grpc_endpoint",
        "must start with http://",
    ),
    "6 collector with a path": (
        small(tracing={"opentracing_grpc_endpoint": "http://c:4317/v1/traces"}),
        "tracing.opentracing_grpc_endpoint",
        "must not carry a path",
    ),
    "7 model without a provider": (with_provider(model="gpt-4"), "model_providers[1].model", "provider/model-id"),
    "8 wildcard as default": (
        small(model_providers=[{"model": "groq/*", "access_key": "k", "default": True}]),
        "model_providers[0].default",
        "wildcard cannot be the default",
    ),
    "9 wildcard with preferences": (
        small(
            version="v0.3.0",
            model_providers=[{"model": "groq/*", "routing_preferences": [{"name": "n", "description": "d"}]}],
        ),
        "model_providers[0].routing_preferences",
        "wildcard cannot have",
    ),
    **{
        f"10 {provider} without base_url": (
            with_provider(model=f"{provider}/m"),
            "model_providers[1].model",
            "needs a base_url",
        )
        for provider in ("azure_openai", "ollama", "qwen", "amazon_bedrock", "amazon", "plano")
    },
    "11 unknown provider": (
        with_provider(model="custom/m"),
        "model_providers[1].model",
        "needs base_url and provider_interface",
    ),
    "11 unknown provider without interface": (
        with_provider(model="custom/m", base_url="http://x"),
        "model_providers[1].model",
        "needs provider_interface",
    ),
    "11 unknown provider without base_url": (
        with_provider(model="custom/m", provider_interface="openai"),
        "model_providers[1].model",
        "needs base_url",
    ),
    "11 unknown wildcard": (with_provider(model="custom/*"), "model_providers[1].model", "needs base_url"),
    "12 interface of a known provider": (
        with_provider(model="groq/m", provider_interface="openai"),
        "model_providers[1].provider_interface",
        "unknown providers only",
    ),
    "13 provider beside its interface": (
        with_provider(model="custom/m", base_url="http://x", provider_interface="openai", provider="openai"),
        "model_providers[1].provider",
        "unknown key",
    ),
    "14 base_url of another scheme": (
        with_provider(model="groq/m", base_url="ftp://x"),
        "model_providers[1].base_url",
        "must start with http:// or https://",
    ),
    "15 duplicate name": (
        with_provider(model="groq/m", name="openai/gpt-4o"),
        "model_providers[1].name",
        "is used twice",
    ),
    "15 duplicate wildcard": (
        small(model_providers=[{"model": "groq/*"}, {"model": "groq/*"}]),
        "model_providers[1].model",
        "is used twice",
    ),
    "16 duplicate model": (
        with_provider(model="openai/gpt-4o", name="two"),
        "model_providers[1].model",
        "configured twice",
    ),
    "16 duplicate model id": (
        with_provider(model="groq/gpt-4o"),
        "model_providers[1].model",
        "already that of `openai/gpt-4o`",
    ),
    "17 duplicate preference": (
        small(routing_preferences=[_preference(), _preference()]),
        "routing_preferences[1].name",
        "used twice",
    ),
    "18 unknown input filter": (
        small(listeners=_model_listener(input_filters=["nope"])),
        "listeners[0].input_filters[0]",
        "neither a filter nor an agent",
    ),
    "18 unknown output filter": (
        small(filters=FILTERS, listeners=_model_listener(output_filters=["f", "nope"])),
        "listeners[0].output_filters[1]",
        "neither a filter nor an agent",
    ),
    "18 unknown filter under its other name": (
        small(listeners=_model_listener(filter_chain=["nope"])),
        "listeners[0].filter_chain[0]",
        "neither a filter nor an agent",
    ),
    "19 alias of an unknown model": (
        small(model_aliases={"fast": {"target": "gpt-4"}}),
        "model_aliases.fast.target",
        "not a configured model",
    ),
    "19 alias of a wildcard's model": (
        small(model_providers=[{"model": "openai/*"}], model_aliases={"fast": {"target": "openai/gpt-4o"}}),
        "model_aliases.fast.target",
        "only covered by a wildcard",
    ),
    "20 agent orchestrator without an endpoint": (
        small(overrides={"use_agent_orchestrator": True}),
        "overrides.use_agent_orchestrator",
        "exactly one",
    ),
    "20 agent orchestrator with two endpoints": (
        small(
            overrides={"use_agent_orchestrator": True},
            endpoints={"a": {"endpoint": "h"}, "b": {"endpoint": "h:1"}},
        ),
        "overrides.use_agent_orchestrator",
        "exactly one",
    ),
    # The control service's checks.
    "no provider": (small(model_providers=[]), "model_providers", "at least one model provider"),
    "no provider at all": (small(model_providers=None), "model_providers", "at least one model provider"),
    "nothing at all": (small(listeners=[], model_providers=None), "model_providers", "at least one model provider"),
    "two defaults": (
        with_provider(**OTHER, default=True),
        "model_providers[1].default",
        "only one provider can be the default",
    ),
    "preference of an unknown model": (
        small(routing_preferences=[_preference(models=["openai/gpt-4o", "groq/nope"])]),
        "routing_preferences[0].models[1]",
        "not a configured model",
    ),
    "two cost sources": (
        small(model_metrics_sources=[COST, COST]),
        "model_metrics_sources[1].type",
        "only one cost source",
    ),
    "two latency sources": (
        small(model_metrics_sources=[LATENCY, LATENCY]),
        "model_metrics_sources[1].type",
        "only one latency source",
    ),
    "cheapest without prices": (
        small(
            routing_preferences=[_preference(selection_policy={"prefer": "cheapest"})], model_metrics_sources=[LATENCY]
        ),
        "routing_preferences[0].selection_policy.prefer",
        "needs a cost source",
    ),
    "fastest without latencies": (
        small(routing_preferences=[_preference(selection_policy={"prefer": "fastest"})], model_metrics_sources=[COST]),
        "routing_preferences[0].selection_policy.prefer",
        "needs a latency source",
    ),
    "budget without prices": (
        small(routing={"routing_budget": {"max_switch_spend_pct": 10}}),
        "routing.routing_budget",
        "needs a cost source",
    ),
    "budget above 100 percent": (
        small(routing={"routing_budget": {"max_switch_spend_pct": 101}}, model_metrics_sources=[COST]),
        "routing.routing_budget.max_switch_spend_pct",
        "at most 100",
    ),
    "discount above one": (
        small(
            routing={"routing_budget": {"max_switch_spend_pct": 1, "cache_read_discount": 1.5}},
            model_metrics_sources=[COST],
        ),
        "routing.routing_budget.cache_read_discount",
        "at most 1",
    ),
    "redis without an address": (
        small(routing={"session_cache": {"type": "redis"}}),
        "routing.session_cache.url",
        "is required",
    ),
    "redis at a web address": (
        small(routing={"session_cache": {"type": "redis", "url": "http://x"}}),
        "routing.session_cache.url",
        "redis://",
    ),
    "postgres without an address": (
        small(state_storage={"type": "postgres"}),
        "state_storage.connection_string",
        "is required",
    ),
    "unknown filter of an agent": (
        _with_agents(_agent_listener(agents=[{"id": "a", "description": "x", "input_filters": ["nope"]}])),
        "listeners[1].agents[0].input_filters[0]",
        "neither a filter nor an agent",
    ),
    # Ours.
    "agent that is not there": (
        _with_agents(_agent_listener(agents=[{"id": "c", "description": "x"}])),
        "listeners[1].agents[0].id",
        "is not an agent",
    ),
    "agent listener without agents": (
        _with_agents(_agent_listener(agents=[])),
        "listeners[1].agents",
        "at least one agent",
    ),
    "agent listener without a port": (_with_agents(_agent_listener(port=None)), "listeners[1].port", "is required"),
    "two default agents": (
        _with_agents(_agent_listener(agents=[{"id": i, "description": "x", "default": True} for i in "ab"])),
        "listeners[1].agents[1].default",
        "only one agent",
    ),
    "agent listed twice": (
        _with_agents(_agent_listener(agents=[{"id": "a", "description": "x"}] * 2)),
        "listeners[1].agents[1].id",
        "listed twice",
    ),
    "both names of a filter chain": (
        small(filters=FILTERS, listeners=_model_listener(filter_chain=["f"], input_filters=["f"])),
        "listeners[0].filter_chain",
        "stands beside",
    ),
    "two listeners of one name": (
        _with_agents(_agent_listener(name="llm")),
        "listeners[1].name",
        "used twice",
    ),
    "two listeners on one port": (
        _with_agents(_agent_listener(port=12000, address="127.0.0.1")),
        "listeners[1].port",
        "already that of listener `llm`",
    ),
    "listener on the port of the added one": (
        small(agents=AGENTS, listeners=[_agent_listener(port=12000)]),
        "listeners[0].port",
        "added by itself",
    ),
    "fallback that is not there": (
        small(model_providers=[{**PROVIDERS[0], "retry_policy": {"fallback_models": ["nope"]}}]),
        "model_providers[0].retry_policy.fallback_models[0]",
        "not a configured model",
    ),
    "fallback to itself": (
        small(
            model_providers=[{**PROVIDERS[0], "retry_policy": {"fallback_models": ["fast"]}}],
            model_aliases={"fast": {"target": "gpt-4o"}},
        ),
        "model_providers[0].retry_policy.fallback_models[0]",
        "this provider itself",
    ),
    "backoff upside down": (
        with_provider(**OTHER, retry_policy={"backoff": {"base": "5s", "max": "1s"}}),
        "model_providers[1].retry_policy.backoff",
        "longer than",
    ),
    "key with a line break": (
        with_provider(model="groq/m", access_key="a\nb"),
        "model_providers[1].access_key",
        "line break",
    ),
    "header with a line break": (
        with_provider(**OTHER, headers={"X-A": "a\r\nX-B: c"}),
        "model_providers[1].headers.X-A",
        "line break",
    ),
    "header with an impossible name": (
        with_provider(**OTHER, headers={"X A": "a"}),
        'model_providers[1].headers["X A"]',
        "not a valid header name",
    ),
    "base_url with a password": (
        with_provider(**OTHER, base_url="https://user:pass@host"),
        "model_providers[1].base_url",
        "user or password",
    ),
    "base_url without a host": (
        with_provider(**OTHER, base_url="https:///v1"),
        "model_providers[1].base_url",
        "valid URL",
    ),
    "base_url with a bad port": (
        with_provider(**OTHER, base_url="http://h:99999"),
        "model_providers[1].base_url",
        "valid URL",
    ),
    "two default targets": (
        small(prompt_targets=[_target(default=True), _target(name="u", default=True)]),
        "prompt_targets[1].default",
        "only one prompt target",
    ),
    "two targets of one name": (small(prompt_targets=[_target(), _target()]), "prompt_targets[1].name", "used twice"),
    "rate limit of nothing": (
        small(ratelimits=[{"model": "m", "selector": {"key": "k"}, "limit": {"tokens": 0, "unit": "day"}}]),
        "ratelimits[0].limit.tokens",
        "at least 1",
    ),
    "sampling above 100": (small(tracing={"random_sampling": 101}), "tracing.random_sampling", "at most 100"),
    "endpoint with an odd name": (small(endpoints={"9a": {"endpoint": "h"}}), 'endpoints["9a"]', "must match"),
    "endpoint with a path": (small(endpoints={"a": {"endpoint": "h:80/x"}}), "endpoints.a.endpoint", "host:port"),
    "preference without models": (
        small(routing_preferences=[_preference(models=[])]),
        "routing_preferences[0].models",
        "at least 1",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, path, message = REFUSED[case]
    problems = refuse(data)
    assert [problem.path for problem in problems] == [path]
    assert message in problems[0].message
    assert problems[0].line is not None


@pytest.mark.parametrize(
    "data",
    [
        _with_agents(_agent_listener()),
        small(agents=AGENTS, listeners=[_agent_listener()], model_providers=None),
        small(agents=AGENTS, listeners=_model_listener(input_filters=["a"])),
        small(agents=AGENTS, prompt_targets=[_target(endpoint={"name": "a", "path": "/"})]),
        small(tracing={"opentracing_grpc_endpoint": "http://c:4317/"}),
        small(model_aliases={"fast": {"target": "gpt-4o"}, "slow": {"target": "openai/gpt-4o"}}),
        small(overrides={"use_agent_orchestrator": True}, endpoints={"a": {"endpoint": "h"}}),
        small(routing_preferences=[_preference(models=["gpt-4o"])]),
        small(
            model_providers=[{"model": "openai/*", "retry_policy": {"fallback_models": ["groq/llama"]}}, OTHER],
            routing_preferences=[_preference()],
        ),
        with_provider(model="google/gemini-2.5-pro", access_key="k"),
        with_provider(model="custom/m", base_url="https://x/api", provider_interface="groq"),
    ],
)
def test_accepted(data: dict[str, Any]) -> None:
    assert load_data(data).config


def test_all_findings_are_told_at_once() -> None:
    data = with_provider(model="opena/x")
    data["model_aliases"] = {"fast": {"target": "gpt-4"}}
    problems = {problem.path: problem.hint for problem in refuse(data)}
    assert problems == {
        "model_providers[1].model": "did you mean `openai`?",
        "model_aliases.fast.target": "did you mean `gpt-4o`?",
    }


def test_problem_of_the_old_name_is_told_under_the_old_name() -> None:
    data = small(model_providers=None, llm_providers=[{"model": "qwen/m"}])
    assert refuse(data)[0].path == "llm_providers[0].model"


def test_key_beside_passthrough_is_only_a_warning() -> None:
    loaded = load_data(with_provider(model="groq/m", access_key="sk-x", passthrough_auth=True))
    assert [warning.path for warning in loaded.warnings] == ["model_providers[1].access_key"]


def test_session_cache_without_a_tenant_is_a_warning() -> None:
    loaded = load_data(small(routing={"session_cache": {"type": "memory"}}))
    assert any("tenant_header" in warning.message for warning in loaded.warnings)


def test_public_provider_without_a_credential_is_a_warning() -> None:
    told = [warning.path for warning in load_data(with_provider(model="groq/m")).warnings]
    assert told == ["model_providers[1]"]
    for keys in ({"access_key": "k"}, {"passthrough_auth": True}, {"headers": {"authorization": "x"}}):
        assert load_data(with_provider(model="groq/m", **keys)).warnings == ()
    assert load_data(with_provider(model="ollama/m", base_url="http://h")).warnings == ()
    assert load_data(with_provider(model="chatgpt/m")).warnings == ()
