"""From a configuration to the plan that the processes are handed."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from plano.config.compiling import compile_plan
from plano.config.plan import RETRYABLE_STATUSES, RetryPlan, TlsPlan
from plano.config.settings import load_settings
from tests.config.files import load_data, plan, plan_provider, refuse, small, with_provider

OPENAI = {"model": "openai/gpt-4o", "access_key": "k"}


def test_declared_listeners_default_to_all_interfaces() -> None:
    data = small(
        agents=[{"id": "a", "url": "http://x"}],
        listeners=[
            {"name": "my llm", "type": "model"},
            {"name": "p", "type": "prompt"},
            {"name": "a", "type": "agent", "port": 8001, "agents": [{"id": "a", "description": "x"}]},
        ],
    )
    assert [(x.name, x.type, x.address, x.port, x.timeout_s) for x in plan(data).listeners] == [
        ("my llm", "model", "0.0.0.0", 12000, 300.0),
        ("p", "prompt", "0.0.0.0", 10000, 300.0),
        ("a", "agent", "0.0.0.0", 8001, 30.0),
    ]


def test_model_listener_added_by_itself_is_local() -> None:
    for listeners in ([{"name": "p", "type": "prompt"}], {"ingress_traffic": {}}, []):
        added = plan(small(listeners=listeners)).listeners[-1]
        assert (added.name, added.type, added.address, added.port) == ("egress_traffic", "model", "127.0.0.1", 12000)


def test_no_model_listener_is_added_without_providers() -> None:
    agent = {"name": "a", "type": "agent", "port": 8001, "agents": [{"id": "a", "description": "x"}]}
    data = small(agents=[{"id": "a", "url": "http://x"}], listeners=[agent], model_providers=None)
    assert [listener.name for listener in plan(data).listeners] == ["a"]


@pytest.mark.parametrize(
    ("section", "compiled"),
    [
        ({}, TlsPlan("c", "k", None, "1.2")),
        ({"min_version": 1.3}, TlsPlan("c", "k", None, "1.3")),
        ({"client_ca_file": "a"}, TlsPlan("c", "k", "a", "1.2")),
    ],
)
def test_a_listener_with_tls_is_never_opened_in_the_clear(section: dict[str, Any], compiled: TlsPlan) -> None:
    tls = {"cert_file": "c", "key_file": "k", **section}
    data = small(listeners=[{"name": "llm", "type": "model", "tls": tls}, {"name": "p", "type": "prompt"}])
    assert [listener.tls for listener in plan(data).listeners] == [compiled, None]
    assert not any("tls" in str(warning) for warning in load_data(data).warnings)


@pytest.mark.parametrize(
    ("keys", "authority"),
    [
        ({}, "api.openai.com"),
        ({"base_url": "http://h:8000/v1"}, "h:8000"),
        ({"base_url": "http://h:80/v1"}, "h"),
        ({"base_url": "https://[::1]:8443"}, "[::1]:8443"),
        ({"base_url": "http://h:8000", "http_host": "models.internal"}, "models.internal"),
    ],
)
def test_host_header(keys: dict[str, Any], authority: str) -> None:
    assert plan_provider(model="openai/m", **keys).authority == authority


def test_credentials() -> None:
    assert plan_provider(model="groq/m", access_key="k").access_key == "k"
    assert plan_provider(model="groq/m", access_key="").access_key is None
    passing = plan_provider(model="groq/m", access_key="k", passthrough_auth=True)
    assert (passing.access_key, passing.passthrough_auth) == (None, True)


def test_identity_of_known_and_unknown_providers() -> None:
    google = plan_provider(model="google/gemini-2.5-pro", name="g")
    assert (google.name, google.model, google.provider, google.owned_by) == (
        "g",
        "google/gemini-2.5-pro",
        "gemini",
        "Gemini",
    )
    custom = plan_provider(model="custom/org/m", base_url="http://h", provider_interface="openai")
    assert (custom.provider, custom.owned_by, custom.upstream_model) == ("custom", "custom", "org/m")


def test_one_attempt_without_any_policy() -> None:
    assert plan_provider(**OPENAI).retry == RetryPlan()
    assert RetryPlan().attempts == 1


def test_max_retries_of_the_listener_is_the_default_of_every_provider() -> None:
    data = small(listeners=[{"name": "llm", "type": "model", "max_retries": 2}])
    data["model_providers"].append(
        {"model": "groq/m", "retry_policy": {"attempts": 5, "on_statuses": [503], "backoff": {"max": "100ms"}}}
    )
    openai, groq = (provider.retry for provider in plan(data).providers)
    assert (openai.attempts, openai.per_try_timeout_s, openai.backoff_base_s, openai.backoff_max_s) == (
        3,
        30.0,
        0.5,
        5.0,
    )
    assert openai.statuses >= RETRYABLE_STATUSES | set(range(500, 600))
    assert (groq.attempts, groq.statuses, groq.per_try_timeout_s) == (5, {503}, 30.0)
    assert (groq.backoff_base_s, groq.backoff_max_s) == (0.1, 0.1)


def test_retry_policy_is_compiled_to_seconds() -> None:
    policy = {
        "attempts": 4,
        "backoff": {"base": "50ms", "max": "1m"},
        "retry_after_max": 0,
        "per_try_timeout": "1m30s",
        "first_token_timeout": 2.5,
        "idle_timeout": "0.005s",
        "fallback_models": ["gpt-4o", "fast", "openai/gpt-4o"],
    }
    data = with_provider(model="groq/m", retry_policy=policy)
    data["model_aliases"] = {"fast": {"target": "gpt-4o"}}
    assert plan(data).providers[1].retry == RetryPlan(
        attempts=4,
        backoff_base_s=0.05,
        backoff_max_s=60.0,
        retry_after_max_s=0.0,
        per_try_timeout_s=90.0,
        first_token_timeout_s=2.5,
        idle_timeout_s=0.005,
        fallback_models=("openai/gpt-4o",),
    )


def test_aliases_point_at_provider_names() -> None:
    data = small(model_providers=[{**OPENAI, "name": "main"}])
    data["model_aliases"] = {"a": {"target": "gpt-4o"}, "b": {"target": "openai/gpt-4o"}}
    assert plan(data).aliases == {"a": "main", "b": "main"}


def test_model_ids_are_in_file_order_and_explicit_entries_win() -> None:
    data = small(
        model_providers=[
            {"model": "xiaomi/*"},
            {"model": "xiaomi/mimo-v2-pro"},
            {"model": "google/*"},
            {**OPENAI, "name": "main"},
            {"model": "unknown/*", "base_url": "http://h", "provider_interface": "openai"},
        ]
    )
    ids = plan(data).model_ids
    names = [name for name, _ in ids]
    assert names[:6] == [
        "xiaomi/mimo-v2-flash",
        "xiaomi/mimo-v2-omni",
        "xiaomi/mimo-v2.5",
        "xiaomi/mimo-v2.5-asr",
        "xiaomi/mimo-v2.5-pro",
        "xiaomi/mimo-v2-pro",
    ]
    assert ("google/gemini-2.5-pro", "Gemini") in ids
    assert ids[-1] == ("main", "OpenAI")
    assert len(set(names)) == len(names)
    assert plan(data).model_ids == ids


def test_wildcard_sends_no_fixed_model() -> None:
    provider = plan_provider(model="mistral/*")
    assert (provider.wildcard, provider.upstream_model) == (True, "")


def test_overrides_and_settings_reach_the_plan() -> None:
    compiled = plan(small(overrides={"upstream_connect_timeout": "250ms", "upstream_tls_ca_path": "/ca.pem"}))
    assert (compiled.connect_timeout_s, compiled.tls_ca_path) == (0.25, "/ca.pem")
    assert plan(small()).connect_timeout_s == 5.0
    assert compile_plan(load_data(small()).config, load_settings(max_in_flight=7)).limits.max_in_flight == 7


def test_plan_survives_the_control_pipe() -> None:
    compiled = plan(small())
    assert pickle.loads(pickle.dumps(compiled)) == compiled


def test_chatgpt_is_wired() -> None:
    data = small(model_providers=[{"model": "chatgpt/gpt-5.4", "headers": {"Originator": "mine"}}])
    provider = plan(data, {"CHATGPT_ACCOUNT_ID": "acc"}).providers[0]
    headers = dict(provider.headers)
    assert provider.passthrough_auth
    assert headers["ChatGPT-Account-Id"] == "acc"
    assert headers["Originator"] == "mine"
    assert "originator" not in headers
    assert headers["user-agent"].startswith("codex_cli_rs/0.0.0")
    assert len(headers["session_id"]) == 36
    keyed = plan_provider(model="chatgpt/gpt-5.4", access_key="k")
    assert (keyed.passthrough_auth, keyed.access_key) == (False, "k")
    assert "ChatGPT-Account-Id" not in dict(keyed.headers)


@pytest.mark.parametrize(
    ("keys", "path", "agent"),
    [
        (
            {"model": "moonshotai/kimi-for-coding", "base_url": "https://api.kimi.com/coding"},
            "/coding/v1/chat/completions",
            "KimiCLI/1.3",
        ),
        (
            {"model": "moonshotai/k", "base_url": "https://api.kimi.com/coding/", "headers": {"user-agent": "me"}},
            "/coding/v1/chat/completions",
            "me",
        ),
        (
            {"model": "moonshotai/kimi-for-coding", "base_url": "https://proxy/coding/v1"},
            "/coding/v1/chat/completions",
            "KimiCLI/1.3",
        ),
        ({"model": "moonshotai/k", "base_url": "https://proxy/coding"}, "/coding/chat/completions", None),
    ],
)
def test_kimi_coding_is_wired(keys: dict[str, Any], path: str, agent: str | None) -> None:
    provider = plan_provider(**keys)
    assert provider.endpoint_for("chat").path == path
    assert {name.lower(): value for name, value in provider.headers}.get("user-agent") == agent


def test_the_same_model_at_a_second_provider_is_told_apart_by_its_name() -> None:
    azure = with_provider(model="azure_openai/gpt-4o", name="gpt-4o-azure", base_url="https://x.openai.azure.com")
    assert [provider.name for provider in plan(azure).providers] == ["openai/gpt-4o", "gpt-4o-azure"]


@pytest.mark.parametrize(
    ("section", "compiled"),
    [
        ({}, (10, 5.0, 120.0)),
        ({"failures": 3, "open_for": "10s", "max_open_for": "1m"}, (3, 10.0, 60.0)),
        ({"failures": 0}, (0, 5.0, 120.0)),
        ({"open_for": "10m"}, (10, 600.0, 600.0)),  # the one that is not given makes room
        ({"max_open_for": "2s"}, (10, 2.0, 2.0)),
    ],
)
def test_the_circuit_breaker(section: dict[str, Any], compiled: tuple[int, float, float]) -> None:
    retry = plan_provider(**OPENAI, retry_policy={"circuit_breaker": section}).retry
    assert (retry.breaker_failures, retry.breaker_open_s, retry.breaker_max_open_s) == compiled
    assert (retry.attempts, retry.statuses) == (1, RETRYABLE_STATUSES)


@pytest.mark.parametrize(
    "section", [{"failures": -1}, {"failures": True}, {"open_for": "0s"}, {"open_for": "2m", "max_open_for": "1m"}]
)
def test_a_circuit_breaker_that_makes_no_sense_is_refused(section: dict[str, Any]) -> None:
    (problem,) = refuse(small(model_providers=[{**OPENAI, "retry_policy": {"circuit_breaker": section}}]))
    assert problem.path.startswith("model_providers[0].retry_policy.circuit_breaker")
