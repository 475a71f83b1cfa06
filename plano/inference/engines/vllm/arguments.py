"""From `engine_args` of the config to vLLM's own arguments, and the environment that vLLM reads."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from plano.config.plan import RolePlan
from plano.inference.engines.engine import EngineError
from plano.inference.engines.vllm.lifeline import announce_parent
from plano.inference.engines.vllm.presence import is_cpu_build

Runner = Literal["generate", "pooling"]
Json = dict[str, Any]

ANSWER_ROOM_TOKENS: Final = 1_024  # what the longest answer of any role may take
LORA_ARGUMENT: Final = "lora_path"

_ENVIRONMENT: Final = {
    # A fork of a process with threads, a running loop and ZeroMQ sockets is none that works.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # A data plane does not call home.
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class ModelKey(NamedTuple):
    """What makes two roles' models the same one. `arguments` are JSON; `length` is the context in tokens to reserve
    memory for, None where the arguments say, or the runner needs none."""

    model: str
    runner: Runner
    arguments: str
    length: int | None = None


def key_of(plan: RolePlan, runner: Runner) -> ModelKey:
    """The key of the model that a role's plan asks for. Raises EngineError when there is none."""
    if not plan.model:
        raise EngineError("engine 'vllm' needs a model")
    length: int | None = None
    if runner == "generate" and "max_model_len" not in plan.engine_args:
        length = plan.context_tokens + ANSWER_ROOM_TOKENS
    model = str(Path(plan.model).expanduser()) if plan.model.startswith("~") else plan.model
    return ModelKey(model, runner, json.dumps(plan.engine_args, sort_keys=True, default=str), length)


def prepare_environment() -> None:
    """Sets what vLLM reads from the environment, as far as the operator has not. Before vLLM is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if is_cpu_build():  # else it takes nearly all of the machine's memory, or refuses to start
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
    announce_parent()


class ModelArguments(NamedTuple):
    """vLLM's `AsyncEngineArgs`, and the folder or name of a LoRA adapter that every request goes through."""

    engine: Any
    lora_path: str | None


def build_arguments(key: ModelKey) -> ModelArguments:
    """vLLM's arguments for a model. Imports vLLM, which takes seconds. Raises EngineError for an unknown name."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    arguments: Json = json.loads(key.arguments)
    lora_path: str | None = arguments.pop(LORA_ARGUMENT, None)
    known = {field.name for field in fields(AsyncEngineArgs)}
    unknown = [name for name in arguments if name not in known]
    if unknown:
        raise EngineError("; ".join(_explain_unknown(unknown, {*known, LORA_ARGUMENT})))
    if key.length is not None:
        arguments["max_model_len"] = _bounded_length(key.model, key.length, arguments)
    defaults: Json = {"runner": key.runner, "disable_log_stats": True, "use_tqdm_on_load": False}
    if lora_path is not None:
        defaults["enable_lora"] = True
    try:
        return ModelArguments(AsyncEngineArgs(**{**defaults, **arguments, "model": key.model}), lora_path)
    except (TypeError, ValueError) as error:
        raise EngineError(f"vLLM does not accept these engine_args: {_first_line(error)}") from error


def _bounded_length(model: str, wanted: int, arguments: Json) -> int:
    """The context to reserve memory for: what the role needs, but no more than the model has. vLLM's own default, all
    of the model's context, does not fit beside another model on one GPU."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            model,
            revision=arguments.get("revision"),
            trust_remote_code=bool(arguments.get("trust_remote_code", False)),
        )
    except (OSError, ValueError) as error:
        raise EngineError(f"the model {model} cannot be read: {_first_line(error)}") from error
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    return min(wanted, longest) if isinstance(longest, int) and longest > 0 else wanted


def _explain_unknown(unknown: list[str], known: set[str]) -> Iterator[str]:
    for name in unknown:
        close = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        yield f"engine_args: this vLLM has no argument {name!r}{hint}"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
