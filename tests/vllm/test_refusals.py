"""What the engine says when it cannot be had. Nothing here needs vLLM."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from plano.config.plan import RolePlan
from plano.inference.engines.engine import EngineError
from plano.inference.engines.vllm import make_vllm_engine, presence, vllm_usable
from plano.inference.engines.vllm.arguments import key_of
from plano.inference.engines.vllm.lifeline import LastWords


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "vllm_installed", lambda: True)
    monkeypatch.setattr(presence, "is_cpu_build", lambda: False)
    for name in presence._HIDING_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_without_vllm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "vllm_installed", lambda: False)
    with pytest.raises(EngineError, match=r"pip install 'plano-cluster\[vllm\]'"):
        make_vllm_engine("orchestrator", RolePlan(model="some/model"))
    assert not vllm_usable()


@pytest.mark.usefixtures("installed")
def test_a_model_is_needed_and_its_folder_must_be_there() -> None:
    with pytest.raises(EngineError, match="needs a model"):
        make_vllm_engine("function", RolePlan())
    with pytest.raises(EngineError, match="there is no folder /no/such/model"):
        make_vllm_engine("guard", RolePlan(model="/no/such/model"))


@pytest.mark.usefixtures("installed")
def test_a_gpu_is_seen_by_its_device_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not vllm_usable(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    assert vllm_usable(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not vllm_usable(tmp_path)


@pytest.mark.usefixtures("installed")
def test_a_cpu_build_is_not_chosen_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "kfd").touch()
    monkeypatch.setattr(presence, "is_cpu_build", lambda: True)
    assert not vllm_usable(tmp_path)


def test_roles_with_the_same_model_and_arguments_share_it() -> None:
    first = RolePlan(model="a/model", engine_args={"dtype": "bfloat16", "seed": 1})
    assert key_of(first, "generate") == key_of(
        RolePlan(model="a/model", engine_args={"seed": 1, "dtype": "bfloat16"}, timeout_s=9), "generate"
    )
    assert key_of(first, "generate") != key_of(first, "pooling")
    assert key_of(first, "generate") != key_of(RolePlan(model="a/model"), "generate")


def test_the_first_exception_that_an_engine_core_logs_is_its_cause(tmp_path: Path) -> None:
    logger = logging.Logger("vllm")
    logger.addHandler(LastWords(tmp_path / "last-words"))
    logger.error("no exception")
    for error in (MemoryError("no room for the model"), RuntimeError("see above")):
        try:
            raise error
        except Exception:
            logger.exception("failed")
    assert (tmp_path / "last-words").read_text() == "MemoryError: no room for the model"
