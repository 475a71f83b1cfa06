"""The task-specific models in the file: what is refused, what is warned of, and what the processes are handed."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import zmq

from plano.config.addresses import is_on_this_machine
from plano.config.compiling import compile_inference_plan, compile_plan
from plano.config.compiling_inference import REFUSAL
from plano.config.curve import make_keys
from plano.config.plan import ClusterPlan, FunctionPlan, GuardPlan, PreferencePlan, RolePlan
from plano.config.problems import ConfigError
from plano.config.settings import load_settings
from tests.config.files import SMALL, load_data, plan, refuse, small

SERVER_PUBLIC, SERVER_SECRET = make_keys()
CLIENT_PUBLIC, CLIENT_SECRET = make_keys()
PAIR = [*SMALL["model_providers"], {"model": "groq/llama", "access_key": "k"}]
NO_DEFAULT = [{"model": "openai/gpt-4o", "access_key": "k"}, {"model": "groq/llama", "access_key": "k"}]
AGENTS: dict[str, Any] = {
    "agents": [{"id": "a", "url": "http://localhost:1"}],
    "listeners": [
        {"name": "llm", "type": "model", "port": 12000},
        {"name": "team", "type": "agent", "port": 8001, "agents": [{"id": "a", "description": "x"}]},
        {"name": "tools", "type": "prompt", "port": 10000},
    ],
}


def role(name: str, **keys: Any) -> dict[str, Any]:
    return small(inference={name: keys})


def guard_of(**keys: Any) -> dict[str, Any]:
    return {"input_guards": {"jailbreak": keys}}


def warnings(data: dict[str, Any]) -> dict[str, str]:
    return {warning.path: warning.message for warning in load_data(data).warnings}


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        (role("guard", engine="upstream", model="gpt-4"), "inference.guard.model", "not a configured model"),
        (
            small(model_providers=NO_DEFAULT, inference={"function": {"engine": "upstream"}}),
            "inference.function.model",
            "is required when `engine` is upstream",
        ),
        (role("orchestrator", engine="upstream", engine_args={"x": 1}), "inference.orchestrator.engine_args", "vLLM's"),
        (role("orchestrator", engine="embedded", model="m"), "inference.orchestrator.model", "does not go with"),
        (role("guard", engine="embedded", engine_args={"a": 1}), "inference.guard.engine_args", "does not go with"),
        (
            role("function", engine="embedded", prompt_template="x"),
            "inference.function.prompt_template",
            "does not go with",
        ),
        (role("guard", engine="vllm"), "inference.guard.model", "is required when `engine` of the guard is vllm"),
        (role("guard", threshold=1.5), "inference.guard.threshold", "at most 1"),
        (role("guard", scope="everything"), "inference.guard.scope", ""),
        (role("orchestrator", queue=0), "inference.orchestrator.queue", "at least 1"),
        (role("orchestrator", threshold=0.5), "inference.orchestrator.threshold", "unknown key"),
        (role("function", entropy=-1), "inference.function.entropy", "at least 0"),
        (small(inference={"address": "http://h:1"}), "inference.address", "tcp:// or ipc://"),
        (small(inference={"address": ["ipc:///tmp/x", "tcp://h"]}), "inference.address[1]", "a host and a port"),
        (small(inference={"address": "tcp://::1:5570"}), "inference.address", "brackets"),
        (small(inference={"address": []}), "inference.address", "at least 1"),
        (small(inference={"address": "tcp://gpu:0"}), "inference.address", "a port from 1 to 65535"),
        (small(inference={"address": "tcp://inference..svc:1"}), "inference.address", "parts have 1 to 63"),
        (small(inference={"address": f"tcp://{'a' * 64}.svc:1"}), "inference.address", "parts have 1 to 63"),
        (small(inference={"address": "tcp://me@gpu:1"}), "inference.address", "a host and a port"),
        (small(inference={"address": "tcp://*:1"}), "inference.address", "a host and a port"),
        (small(inference={"curve": {"secret_key": "short"}}), "inference.curve.secret_key", "40 characters of Z85"),
        (small(inference={"curve": {"secret_key": "#" * 40}}), "inference.curve.secret_key", "no 32 bytes"),
        (small(inference={"curve": {"server_public_key": "%" * 40}}), "inference.curve.server_public_key", "no 32"),
        (
            small(prompt_guards=guard_of(listeners=["lmm"])),
            "prompt_guards.input_guards.jailbreak.listeners[0]",
            "not a listener",
        ),
    ],
)
def test_what_cannot_work_is_refused_where_it_stands(data: dict[str, Any], path: str, message: str) -> None:
    problems = refuse(data)
    assert [problem.path for problem in problems] == [path]
    assert message in problems[0].message


def test_a_misspelt_listener_is_recognized() -> None:
    assert refuse(small(prompt_guards=guard_of(listeners=["promt"])))[0].hint == "did you mean `prompt`?"
    assert refuse(role("guard", engine="upstream", model="gpt-4x"))[0].hint == "did you mean `gpt-4o`?"


def test_a_guard_may_be_a_model_provider() -> None:
    guard = plan(role("guard", engine="upstream", model="gpt-4o")).inference.guard
    assert (guard.engine, guard.model, guard.timeout_s) == ("upstream", "gpt-4o", 5.0)


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o", "elsewhere/gpt-4o", "mistral/large", "quick"])
def test_a_role_that_a_provider_does_by_itself_has_the_time_of_a_provider(model: str) -> None:
    data = small(
        model_providers=[*SMALL["model_providers"], {"model": "mistral/*", "access_key": "k"}],
        model_aliases={"quick": {"target": "gpt-4o"}},
        inference={"orchestrator": {"model": model}, "guard": {"model": model}, "function": {"model": model}},
    )
    tier = plan(data).inference
    assert (tier.orchestrator.engine, tier.orchestrator.timeout_s) == ("auto", 5.0)
    assert (tier.guard.timeout_s, tier.function.timeout_s) == (5.0, 20.0)
    data["inference"]["guard"]["timeout"] = "50ms"
    assert plan(data).inference.guard.timeout_s == 0.05


@pytest.mark.parametrize(
    "keys", [{}, {"model": "katanemo/Plano-Orchestrator-4B"}, {"engine": "vllm", "model": "gpt-4o"}]
)
def test_a_role_of_our_own_machine_has_the_time_of_it(keys: dict[str, Any]) -> None:
    tier = plan(small(inference={"orchestrator": keys, "guard": keys})) if keys else plan(small())
    assert (tier.inference.orchestrator.timeout_s, tier.inference.guard.timeout_s) == (2.0, 0.25)


def test_roles_reach_the_plan_with_their_defaults() -> None:
    tier = plan(
        small(
            inference={
                "orchestrator": {"engine": "vllm", "model": "m", "engine_args": {"max_model_len": 4096}, "queue": 7},
                "guard": {"threshold": 0.7, "on_failure": "block", "scope": "all", "timeout": "50ms"},
                "function": {"entropy": 0.5, "context_length": 4096, "concurrency": 3},
            }
        )
    ).inference
    assert tier.orchestrator == RolePlan("vllm", "m", {"max_model_len": 4096}, queue=7)
    assert tier.guard == GuardPlan("auto", threshold=0.7, on_failure="block", scope="all", timeout_s=0.05)
    assert tier.function == FunctionPlan("auto", entropy=0.5, context_tokens=4096, concurrency=3)
    assert (tier.addresses, tier.curve) == ((), None)


def test_a_role_that_nothing_uses_loads_no_large_model() -> None:
    def engines(data: dict[str, Any]) -> tuple[str, str, str]:
        tier = plan(data).inference
        return tier.orchestrator.engine, tier.guard.engine, tier.function.engine

    assert engines(small()) == ("embedded", "embedded", "embedded")
    assert engines(small(**AGENTS, prompt_guards=guard_of())) == ("auto", "auto", "auto")
    preference = {"name": "code", "description": "d", "models": ["gpt-4o"]}
    assert engines(small(routing_preferences=[preference])) == ("auto", "embedded", "embedded")
    assert engines(small(inference={"guard": {}})) == ("embedded", "auto", "embedded")


def test_an_inference_process_by_itself_is_ready_for_everything() -> None:
    tier = compile_inference_plan(load_data(small()).config, load_settings()).inference
    assert {tier.orchestrator.engine, tier.guard.engine, tier.function.engine} == {"auto"}


@pytest.mark.parametrize(
    ("listeners", "guarded"),
    [
        (None, {"team", "tools"}),
        (["agent"], {"team"}),
        (["model", "tools"], {"llm", "tools"}),
        (["llm"], {"llm"}),
        ([], set()),
    ],
)
def test_guarded_listeners_have_the_words_of_the_refusal(listeners: list[str] | None, guarded: set[str]) -> None:
    keys = {} if listeners is None else {"listeners": listeners}
    compiled = plan(small(**AGENTS, prompt_guards=guard_of(**keys)))
    assert {one.name: one.jailbreak_message for one in compiled.listeners if one.jailbreak_message} == dict.fromkeys(
        guarded, REFUSAL
    )


def test_the_refusal_is_that_of_the_file_and_the_added_listener_can_be_guarded() -> None:
    data = small(listeners=[], prompt_guards=guard_of(on_exception={"message": "No."}, listeners=["egress_traffic"]))
    assert [one.jailbreak_message for one in plan(data).listeners] == ["No."]


def test_without_a_guard_no_listener_is_guarded() -> None:
    assert {one.jailbreak_message for one in plan(small(**AGENTS)).listeners} == {None}


@pytest.mark.parametrize(
    ("listeners", "warned"),
    [(None, True), ([], True), (["agent", "prompt"], True), (["model"], False), (["llm"], False)],
)
def test_a_guard_that_guards_nothing_is_a_warning(listeners: list[str] | None, warned: bool) -> None:
    keys = {} if listeners is None else {"listeners": listeners}
    path = "prompt_guards.input_guards.jailbreak" + ("" if listeners is None else ".listeners")
    told = [warning for warning in load_data(small(prompt_guards=guard_of(**keys))).warnings if warning.path == path]
    assert bool(told) is warned
    for warning in told:
        assert "guards no listener" in warning.message
        assert "listeners: [model]" in str(warning.hint)


def test_a_guard_of_agents_guards_something() -> None:
    assert not [path for path in warnings(small(**AGENTS, prompt_guards=guard_of())) if "jailbreak" in path]


def test_preferences_name_models_canonically_and_once() -> None:
    data = small(
        model_providers=[{**PAIR[0], "name": "main"}, PAIR[1], {"model": "mistral/*", "access_key": "k"}],
        model_aliases={"fast": {"target": "llama"}},
        model_metrics_sources=[{"type": "cost", "provider": "models.dev"}],
        routing_preferences=[
            {"name": "code", "description": "writes code", "models": ["gpt-4o", "openai/gpt-4o", "mistral/large"]},
            {
                "name": "chat",
                "description": "talks",
                "models": ["groq/llama"],
                "selection_policy": {"prefer": "cheapest"},
            },
        ],
    )
    assert plan(data).preferences == (
        PreferencePlan("code", "writes code", ("main", "mistral/large")),
        PreferencePlan("chat", "talks", ("groq/llama",), prefer="cheapest"),
    )
    (unserved,) = [text for text in warnings(data).values() if "without effect" in text]
    assert "`prefer: cheapest` of preference `chat`" in unserved
    assert "routing_preferences" not in unserved


def test_preferences_of_an_older_file_are_those_of_its_providers() -> None:
    inline = {"name": "code", "description": "writes code"}
    data = small(version="v0.3.0", model_providers=[{**PAIR[0], "routing_preferences": [inline]}, PAIR[1]])
    assert plan(data).preferences == (PreferencePlan("code", "writes code", ("openai/gpt-4o",)),)


def test_a_configured_routing_model_does_the_orchestrators_work() -> None:
    overrides = {"agent_orchestration_model": "openai/gpt-4o", "orchestrator_model_context_length": 2048}
    orchestrator = plan(small(overrides=overrides)).inference.orchestrator
    assert (orchestrator.engine, orchestrator.model, orchestrator.context_tokens) == ("upstream", "openai/gpt-4o", 2048)
    both = {**overrides, "llm_routing_model": "llama"}
    orchestrator = plan(small(model_providers=PAIR, overrides=both)).inference.orchestrator
    assert (orchestrator.engine, orchestrator.model) == ("upstream", "llama")


def test_a_routing_model_that_nobody_serves_is_a_warning() -> None:
    data = small(overrides={"llm_routing_model": "Plano-Orchestrator"})
    assert "no provider serves `Plano-Orchestrator`" in warnings(data)["overrides.llm_routing_model"]
    assert plan(data).inference.orchestrator.engine == "embedded"


def test_inference_wins_over_overrides_and_says_so() -> None:
    data = small(overrides={"llm_routing_model": "gpt-4o"}, inference={"orchestrator": {"engine": "embedded"}})
    assert "without effect" in warnings(data)["overrides.llm_routing_model"]
    assert plan(data).inference.orchestrator.engine == "embedded"
    data = small(overrides={"llm_routing_model": "gpt-4o"}, inference={"orchestrator": {"timeout": "9s"}})
    orchestrator = plan(data).inference.orchestrator
    assert (orchestrator.engine, orchestrator.model, orchestrator.timeout_s) == ("upstream", "gpt-4o", 9.0)


def test_arguments_of_an_engine_elsewhere_are_a_warning() -> None:
    arguments = {"engine": "vllm", "model": "m", "engine_args": {"max_model_len": 1}}
    data = small(inference={"address": "ipc:///tmp/x", "orchestrator": arguments})
    assert "plano-cluster inference" in str(load_data(data).warnings[0])
    assert set(warnings(data)) == {"inference.orchestrator.engine_args"}
    assert warnings(small(inference={"orchestrator": arguments})) == {}


def test_a_file_with_nothing_but_inference_is_good() -> None:
    data = small(listeners=[], model_providers=None, inference={"guard": {"engine": "embedded"}})
    assert plan(data).listeners == ()
    assert compile_inference_plan(load_data(data).config, load_settings()).inference.guard.engine == "embedded"


# -- addresses and keys


def addressed(*addresses: str, **curve: Any) -> dict[str, Any]:
    return small(inference={"address": list(addresses), **({"curve": curve} if curve else {})})


def alone(data: dict[str, Any], bind: str, **settings: Any) -> ClusterPlan:
    return compile_inference_plan(load_data(data).config, load_settings(inference_bind=bind, **settings))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://localhost:1", "tcp://[::1]:1", "ipc:///tmp/x"])
def test_what_stays_on_this_machine_needs_no_keys(address: str) -> None:
    assert is_on_this_machine(address)
    assert plan(addressed(address)).inference.addresses == (address,)
    assert plan(small(inference={"address": address})).inference.addresses == (address,)


@pytest.mark.parametrize(
    "address",
    ["tcp://10.0.0.1:1", "tcp://0.0.0.0:1", "tcp://localhost.evil:1", "tcp://127.0.0.1.evil:1", "tcp://[::]:1"],
)
def test_what_leaves_this_machine_needs_keys(address: str) -> None:
    with pytest.raises(ConfigError, match="plano-cluster keys") as caught:
        plan(addressed("ipc:///tmp/x", address))
    assert address in str(caught.value)
    with pytest.raises(ConfigError, match="plano-cluster keys"):
        alone(small(), address)


def test_frontends_need_the_public_key_of_the_other_side_and_make_up_their_own() -> None:
    data = addressed("tcp://gpu:1", server_public_key=SERVER_PUBLIC)
    curve = plan(data).inference.curve
    assert curve is not None
    assert curve.server_public_key == SERVER_PUBLIC
    assert zmq.curve_public(curve.secret_key.encode()).decode() == curve.public_key
    curve = plan(addressed("tcp://gpu:1", server_public_key=SERVER_PUBLIC, secret_key=CLIENT_SECRET)).inference.curve
    assert curve is not None
    assert (curve.public_key, curve.secret_key) == (CLIENT_PUBLIC, CLIENT_SECRET)


def test_an_inference_process_needs_its_secret_key() -> None:
    with pytest.raises(ConfigError, match=r"inference\.curve\.secret_key"):
        alone(addressed("tcp://gpu:1", server_public_key=SERVER_PUBLIC), "tcp://0.0.0.0:1")
    data = small(inference={"curve": {"secret_key": f"{SERVER_SECRET}\n", "client_public_keys": [CLIENT_PUBLIC]}})
    curve = alone(data, "tcp://0.0.0.0:1").inference.curve
    assert curve is not None
    assert (curve.public_key, curve.client_public_keys) == (SERVER_PUBLIC, (CLIENT_PUBLIC,))
    assert SERVER_SECRET not in repr(alone(data, "tcp://0.0.0.0:1"))


def test_keys_that_do_not_belong_together_are_refused() -> None:
    data = small(inference={"curve": {"secret_key": SERVER_SECRET, "public_key": CLIENT_PUBLIC}})
    with pytest.raises(ConfigError, match=r"inference\.curve\.public_key") as caught:
        alone(data, "tcp://127.0.0.1:1")
    assert SERVER_SECRET not in str(caught.value)


def test_settings_come_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANO_INFERENCE", "tcp://a:1, tcp://b:2")
    monkeypatch.setenv("PLANO_INFERENCE_SERVER_PUBLIC_KEY", f"{SERVER_PUBLIC}\n")
    monkeypatch.setenv("PLANO_INFERENCE_SECRET_KEY", CLIENT_SECRET)
    other_public, other_secret = make_keys()
    data = addressed("tcp://c:3", public_key=other_public, secret_key=other_secret, server_public_key=other_public)
    tier = compile_plan(load_data(data).config, load_settings()).inference
    assert tier.addresses == ("tcp://a:1", "tcp://b:2")
    assert tier.curve is not None
    assert (tier.curve.public_key, tier.curve.server_public_key) == (CLIENT_PUBLIC, SERVER_PUBLIC)
    assert compile_plan(load_data(data).config, load_settings(inference="tcp://d:4")).inference.addresses == (
        "tcp://d:4",
    )


def test_wrong_keys_and_addresses_in_settings_are_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANO_INFERENCE_SECRET_KEY", "very-secret")
    monkeypatch.setenv("PLANO_INFERENCE", "gpu:5570")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert {problem.path for problem in caught.value.problems} == {"PLANO_INFERENCE_SECRET_KEY", "PLANO_INFERENCE"}
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "bind", ["tcp://127.0.0.1:0", "tcp://*:5570", "tcp://[::]:5570", "tcp://0.0.0.0:0", "ipc:///x"]
)
def test_an_address_to_listen_on_may_be_everywhere_at_any_port(bind: str) -> None:
    assert load_settings(inference_bind=bind).inference_bind == bind


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:65536", "tcp://:1", "127.0.0.1:1", "tcp://a..b:1", "tcp://::1:1"])
def test_an_address_to_listen_on_is_one(bind: str) -> None:
    with pytest.raises(ConfigError, match="inference-bind"):
        load_settings(inference_bind=bind)


def test_made_keys_survive_shells_and_files() -> None:
    for _ in range(20):
        public, secret = make_keys()
        assert len(public) == len(secret) == 40
        assert not set("$'\"\\`, ") & set(public + secret)
        assert zmq.curve_public(secret.encode()).decode() == public


def test_the_plan_survives_the_control_pipe() -> None:
    compiled = plan(addressed("tcp://gpu:1", server_public_key=SERVER_PUBLIC))
    assert pickle.loads(pickle.dumps(compiled)) == compiled


def test_one_provider_alone_is_the_default_of_engine_upstream() -> None:
    only = small(model_providers=[NO_DEFAULT[0]], inference={"orchestrator": {"engine": "upstream"}})
    assert plan(only).inference.orchestrator.model is None
