"""The real vLLM on tiny models: each is loaded once for the whole suite."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from plano.config.plan import FunctionPlan, GuardPlan, RolePlan
from plano.inference.engines.engine import Engine
from plano.inference.engines.vllm import make_vllm_engine
from tests.vllm.lessons import CONTEXT_TOKENS

ENGINE_ARGS: dict[str, Any] = {"enforce_eager": True, "max_num_seqs": 32, "dtype": "float32"}
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}

# Made anew when what they learn from changes.
_SOURCES = (
    "tests/vllm/models.py",
    "tests/vllm/lessons.py",
    "tests/vllm/tokenizer.py",
    "plano/inference/roles",
    "plano/inference/engines/vllm/prompts.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What cannot run is reported as skipped, with the reason. The suite is one process's: every other one would load
    the models again."""
    if importlib.util.find_spec("vllm") is None:
        reason = "vLLM is not installed: make vllm"
    elif int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        reason = "not beside other workers: make test-vllm"
    else:
        return
    for item in items:
        if item.get_closest_marker("vllm") is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


class TinyModels(NamedTuple):
    language: Path
    classifier: Path


@pytest.fixture(scope="session")
def tiny_models(pytestconfig: pytest.Config) -> TinyModels:
    """Folders of the tiny models, kept between runs in pytest's cache."""
    os.environ.update(ENVIRONMENT)
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("tiny-models") / _fingerprint(pytestconfig.rootpath)
    models = TinyModels(kept / "language", kept / "classifier")
    if not kept.is_dir():
        from tests.vllm.models import build_classifier, build_language_model

        making = kept.with_suffix(f".{os.getpid()}")
        for name in models._fields:
            (making / name).mkdir(parents=True)
        build_language_model(making / "language")
        build_classifier(making / "classifier")
        for old in kept.parent.iterdir():
            if old != making:
                shutil.rmtree(old)
        making.rename(kept)
    return models


class Fleet(NamedTuple):
    """Engines of all roles, started. The first two and `wary`, which asks at the slightest doubt, share one model."""

    orchestrator: Engine
    function: Engine
    wary: Engine
    guard: Engine


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet(tiny_models: TinyModels) -> AsyncIterator[Fleet]:
    language = {"model": str(tiny_models.language), "engine_args": ENGINE_ARGS, "context_tokens": CONTEXT_TOKENS}
    fleet = Fleet(
        make_vllm_engine("orchestrator", RolePlan(**language)),
        make_vllm_engine("function", FunctionPlan(**language)),
        make_vllm_engine("function", FunctionPlan(**language, entropy=0.35, varentropy=0.1)),
        make_vllm_engine("guard", GuardPlan(model=str(tiny_models.classifier), engine_args=ENGINE_ARGS)),
    )
    started: list[Engine] = []
    try:
        for engine in fleet:
            await engine.start()
            started.append(engine)
        yield fleet
    finally:
        for engine in started:
            await engine.close()


def _fingerprint(root: Path) -> str:
    digest = hashlib.sha256()
    for source in _SOURCES:
        path = root / source
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
