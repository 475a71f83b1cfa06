"""Which engine a role gets, and what is refused at start, with the way out."""

from __future__ import annotations

from typing import Any

import pytest

from plano.config.plan import ClusterPlan
from plano.inference.calls import ROLES, RoleName
from plano.inference.engines.choosing import choose_engine
from plano.inference.engines.engine import EngineError
from tests.inference.engines.plans import make_provider, plan_for


def choice(role: RoleName, plan: ClusterPlan, *, gpu: bool = False) -> str:
    """The choice in a line: `guard: embedded`, `orchestrator: vllm katanemo/Plano-Orchestrator-4B`."""
    chosen = choose_engine(role, plan, lambda: gpu)
    return f"{chosen.role}: {chosen.engine} {chosen.model}".rstrip()


def refusal(role: RoleName, plan: ClusterPlan, *, gpu: bool = False) -> str:
    with pytest.raises(EngineError) as caught:
        choose_engine(role, plan, lambda: gpu)
    return str(caught.value)


@pytest.mark.parametrize("role", ROLES)
def test_without_gpu_and_provider_every_role_is_embedded(role: RoleName) -> None:
    assert choice(role, plan_for()) == f"{role}: embedded"


def test_a_gpu_gets_vllm_for_the_models_that_generate() -> None:
    plan = plan_for(make_provider(1))
    assert choice("orchestrator", plan, gpu=True) == "orchestrator: vllm katanemo/Plano-Orchestrator-4B"
    assert choice("function", plan, gpu=True) == "function: vllm katanemo/Arch-Function-Chat-3B"


def test_the_guard_is_embedded_unless_a_model_is_named() -> None:
    named = plan_for(guard={"model": "meta-llama/Llama-Prompt-Guard-2-86M"})
    assert choice("guard", plan_for(), gpu=True) == "guard: embedded"
    assert choice("guard", named, gpu=True) == "guard: vllm meta-llama/Llama-Prompt-Guard-2-86M"


def test_without_gpu_the_function_role_goes_to_the_provider_at_hand() -> None:
    one = make_provider(1, "one")
    plan = plan_for(one, make_provider(1, "two"))
    default = plan_for(one, make_provider(1, "two", default=True))
    assert choice("function", plan_for(one)) == "function: upstream test/one"
    assert choice("function", default) == "function: upstream test/two"
    assert choice("function", plan) == "function: embedded"  # nobody says which of the two
    assert choice("orchestrator", default) == "orchestrator: embedded"


def test_a_provider_that_clients_bring_their_keys_for_is_not_at_hand() -> None:
    borrowed = make_provider(1, passthrough_auth=True, access_key=None)
    own = make_provider(1, passthrough_auth=True, access_key=None, headers=(("Authorization", "Bearer k"),))
    assert choice("function", plan_for(borrowed)) == "function: embedded"
    assert choice("function", plan_for(own)) == "function: upstream test/one"


@pytest.mark.parametrize("role", ROLES)
def test_auto_with_a_model_of_a_provider_asks_that_provider(role: RoleName) -> None:
    roles: dict[str, Any] = {role: {"model": "test/two"}}
    plan = plan_for(make_provider(1), make_provider(1, "two"), **roles)
    assert choice(role, plan, gpu=True) == f"{role}: upstream test/two"


def test_a_model_of_a_wildcard_is_shown_with_its_own_name() -> None:
    wild = make_provider(1, name="wild/*", model="wild/*", upstream_model="", wildcard=True)
    plan = plan_for(wild, orchestrator={"engine": "upstream", "model": "wild/small"})
    assert choice("orchestrator", plan) == "orchestrator: upstream wild/small"


def test_named_engines_are_taken_wherever_we_are() -> None:
    assert choice("orchestrator", plan_for(orchestrator={"engine": "embedded"}), gpu=True) == "orchestrator: embedded"
    vllm = plan_for(function={"engine": "vllm", "model": "Qwen/Qwen3-4B", "engine_args": {"max_model_len": 64}})
    assert choice("function", vllm) == "function: vllm Qwen/Qwen3-4B"


@pytest.mark.parametrize("setting", [{"model": "org/model"}, {"engine_args": {"seed": 1}}, {"prompt_template": "x"}])
@pytest.mark.parametrize("engine", ["embedded", "auto"])
def test_settings_the_embedded_engine_has_no_use_for_are_refused(setting: dict[str, Any], engine: str) -> None:
    message = refusal("orchestrator", plan_for(orchestrator={"engine": engine, **setting}))
    assert message.startswith(f"inference.orchestrator.{next(iter(setting))}")
    assert "Leave it out, or choose inference.orchestrator.engine: 'vllm'" in message


def test_a_template_for_a_guard_that_has_no_prompt_is_only_warned_of() -> None:
    assert choice("guard", plan_for(guard={"prompt_template": "x"})) == "guard: embedded"


def test_vllm_for_the_guard_needs_a_model() -> None:
    message = refusal("guard", plan_for(guard={"engine": "vllm"}))
    assert "inference.guard.model" in message
    assert "'embedded'" in message


def test_an_upstream_that_is_not_configured_is_refused_with_those_that_are() -> None:
    plan = plan_for(make_provider(1), make_provider(1, "two"), guard={"engine": "upstream", "model": "openai/gpt-4o"})
    assert refusal("guard", plan) == (
        "inference.guard.model: no provider serves 'openai/gpt-4o'. Configured are: test/one, test/two."
    )


def test_an_upstream_needs_a_provider_that_can_be_meant() -> None:
    wanted = {"engine": "upstream"}
    several = refusal("function", plan_for(make_provider(1), make_provider(1, "two"), function=wanted))
    assert "inference.function.model (test/one, test/two)" in several
    assert "engine 'embedded', which needs none" in refusal("function", plan_for(function=wanted))


def test_an_upstream_called_with_clients_keys_is_refused() -> None:
    borrowed = make_provider(1, passthrough_auth=True, access_key=None)
    assert "passthrough_auth" in refusal("function", plan_for(borrowed, function={"engine": "upstream"}))
