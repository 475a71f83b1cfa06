"""What is wrong with `engine_args` is said before anything is loaded."""

from __future__ import annotations

import pytest

from plano.config.plan import RolePlan
from plano.inference.engines.engine import EngineError
from plano.inference.engines.vllm import make_vllm_engine
from plano.inference.engines.vllm.arguments import build_arguments, key_of, prepare_environment
from tests.vllm.conftest import ENGINE_ARGS, TinyModels
from tests.vllm.lessons import CONTEXT_TOKENS

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


def test_an_unknown_argument_is_named_with_the_one_that_was_meant(tiny_models: TinyModels) -> None:
    plan = RolePlan(model=str(tiny_models.language), engine_args={"gpu_memory_utilisation": 0.4})
    with pytest.raises(EngineError, match=r"no argument 'gpu_memory_utilisation'.*'gpu_memory_utilization'"):
        build_arguments(key_of(plan, "generate"))


def test_a_folder_without_a_model_is_no_traceback(tiny_models: TinyModels) -> None:
    plan = RolePlan(model=str(tiny_models.language.parent))
    with pytest.raises(EngineError, match="cannot be read"):
        build_arguments(key_of(plan, "generate"))


def test_memory_is_reserved_for_no_more_context_than_there_is(tiny_models: TinyModels) -> None:
    prepare_environment()
    model = str(tiny_models.language)
    assert build_arguments(key_of(RolePlan(model=model), "generate")).engine.max_model_len == CONTEXT_TOKENS
    short = RolePlan(model=model, context_tokens=512)
    assert build_arguments(key_of(short, "generate")).engine.max_model_len == 512 + 1_024
    said = RolePlan(model=model, engine_args={"max_model_len": 300})
    assert build_arguments(key_of(said, "generate")).engine.max_model_len == 300


def test_an_adapter_turns_lora_on(tiny_models: TinyModels) -> None:
    plan = RolePlan(model=str(tiny_models.language), engine_args={"lora_path": "/adapters/ours"})
    arguments = build_arguments(key_of(plan, "generate"))
    assert arguments.lora_path == "/adapters/ours"
    assert arguments.engine.enable_lora


async def test_an_engine_core_that_does_not_start_says_why(
    tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "0")
    impossible = {**ENGINE_ARGS, "gpu_memory_utilization": 0.999}
    engine = make_vllm_engine("orchestrator", RolePlan(model=str(tiny_models.language), engine_args=impossible))
    with pytest.raises(EngineError, match=r"could not load .*: ValueError: .*memory"):
        await engine.start()
    assert engine.check() is None
    await engine.close()
