"""vLLM as the engine of a role: `AsyncLLM` for models that write, its pooling runner for a classifier guard.

Nothing here imports torch or vllm before an engine starts. One model with the same arguments is loaded once, however
many roles it serves.
"""

from __future__ import annotations

from plano.config.plan import RolePlan
from plano.inference.calls import RoleName
from plano.inference.engines.engine import Engine
from plano.inference.engines.vllm.presence import require_vllm, vllm_usable

__all__ = ["make_vllm_engine", "vllm_usable"]


def make_vllm_engine(role: RoleName, plan: RolePlan) -> Engine:
    """The engine of a role, not started yet. `plan.model` is a folder or a name on the Hugging Face hub.

    Raises EngineError: vLLM is not installed, or the plan names no model.
    """
    require_vllm(role, plan)
    match role:
        case "orchestrator":
            from plano.inference.engines.vllm.orchestrator import OrchestratorEngine

            return OrchestratorEngine(plan)
        case "guard":
            from plano.inference.engines.vllm.guard import GuardEngine

            return GuardEngine(plan)
        case "function":
            from plano.inference.engines.vllm.function import FunctionEngine

            return FunctionEngine(plan)
