"""Which engine does the work of a role: what the config names, or what this machine is fit for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal, NamedTuple

from plano.config.plan import ClusterPlan, RolePlan
from plano.inference.calls import RoleName
from plano.inference.engines.engine import Engine, EngineError
from plano.routing.models import ModelTable, Target

EngineName = Literal["vllm", "embedded", "upstream"]

# What vLLM serves where the config names no model. No guard: its weights (Prompt-Guard) are behind a licence.
DEFAULT_MODELS: Final[dict[RoleName, str]] = {
    "orchestrator": "katanemo/Plano-Orchestrator-4B",
    "function": "katanemo/Arch-Function-Chat-3B",
}


class Choice(NamedTuple):
    """The engine of a role, and the model it serves: what vLLM loads or an upstream is asked for, "" for embedded."""

    role: RoleName
    engine: EngineName
    model: str


def choose_engine(role: RoleName, plan: ClusterPlan, vllm_fits: Callable[[], bool] | None = None) -> Choice:
    """The engine for a role. `vllm_fits` says whether this machine has both a GPU and vLLM (default: it is looked for).

    `auto` without a model is vLLM where it fits, else embedded; the guard is embedded anyway, because vLLM has no model
    for it that everybody may use, and the function role is done by a model provider where one is at hand, because that
    is far better than what fits into a package. `auto` with a model is the provider that serves it, else vLLM.

    Raises EngineError for what cannot work, saying what to choose instead.
    """
    wanted = _role_plan(role, plan)
    match wanted.engine:
        case "vllm":
            return Choice(role, "vllm", _model_for_vllm(role, wanted))
        case "upstream":
            return Choice(role, "upstream", require_target(role, wanted, plan).name)
        case "embedded":
            return _choose_embedded(role, wanted, "it has weights and a prompt of its own")
    served = find_target(wanted, plan)
    if wanted.model is not None and served is not None and served.usable:
        return Choice(role, "upstream", served.name)
    if (role in DEFAULT_MODELS or wanted.model is not None) and (vllm_fits or _vllm_fits)():
        return Choice(role, "vllm", _model_for_vllm(role, wanted))
    if role == "function" and wanted.model is None and not wanted.engine_args and served is not None and served.usable:
        return Choice(role, "upstream", served.name)
    return _choose_embedded(role, wanted, "this machine has no GPU with vLLM, and no provider serves that")


def make_engine(role: RoleName, plan: ClusterPlan) -> Engine:
    """The engine of a role, not started yet. What it needs is imported here and nowhere earlier: no process carries
    the libraries of an engine it does not run. Raises EngineError, saying what to choose instead."""
    choice = choose_engine(role, plan)
    wanted = _role_plan(role, plan)
    if choice.engine == "vllm":
        from plano.inference.engines.vllm import make_vllm_engine

        return make_vllm_engine(role, replace(wanted, model=choice.model))
    if choice.engine == "upstream":
        from plano.inference.engines.upstream import make_upstream_engine

        return make_upstream_engine(role, wanted, plan)
    from plano.inference.engines.embedded import make_embedded_engine

    return make_embedded_engine(role, wanted)


# -- model providers --------------------------------------------------------------------------------------------------


_KEY_HEADERS: Final = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})


class Served(NamedTuple):
    """The provider behind a model's name. Not `usable`: its clients bring their own keys, and a role has none."""

    target: Target
    usable: bool

    @property
    def name(self) -> str:
        """The model as a client would name it."""
        provider = self.target.provider
        return (
            f"{provider.model.partition('/')[0]}/{self.target.upstream_model}" if provider.wildcard else provider.name
        )


def find_target(wanted: RolePlan, plan: ClusterPlan) -> Served | None:
    """The configured provider that serves the role's model, or the default one where the role names none."""
    table = ModelTable(plan.providers, plan.aliases, (name for name, _ in plan.model_ids))
    target = table.resolve(wanted.model)
    if target is None:
        return None
    provider = target.provider
    own_key = any(name.lower() in _KEY_HEADERS for name, _ in provider.headers)
    return Served(target, own_key or not provider.passthrough_auth)


def require_target(role: RoleName, wanted: RolePlan, plan: ClusterPlan) -> Served:
    """Like `find_target` for engine `upstream`. Raises EngineError where no provider can do the role's work."""
    where = f"inference.{role}"
    served = find_target(wanted, plan)
    names = ", ".join(provider.name for provider in plan.providers if not provider.internal)
    if served is None and wanted.model is not None:
        known = f"Configured are: {names}." if names else "None is configured."
        raise EngineError(f"{where}.model: no provider serves {wanted.model!r}. {known}")
    if served is None:
        message = f"{where}: engine 'upstream' needs a model provider. Name one of them in {where}.model"
        advice = f" ({names})." if names else ", or take engine 'embedded', which needs none."
        raise EngineError(message + advice)
    if not served.usable:
        raise EngineError(
            f"{where}: {served.name!r} is called with the keys of its clients (passthrough_auth), and a role has none. "
            f"Name another model in {where}.model, or take engine 'embedded'."
        )
    return served


# -- what does not fit together ---------------------------------------------------------------------------------------


def _role_plan(role: RoleName, plan: ClusterPlan) -> RolePlan:
    inference = plan.inference
    match role:
        case "orchestrator":
            return inference.orchestrator
        case "guard":
            return inference.guard
        case "function":
            return inference.function


def _model_for_vllm(role: RoleName, wanted: RolePlan) -> str:
    model = wanted.model or DEFAULT_MODELS.get(role)
    if model is None:
        raise EngineError(
            f"inference.{role}: engine 'vllm' needs a model, a classifier that vLLM serves, such as one of ModernBERT. "
            f"Name it in inference.{role}.model, or take engine 'embedded', which has weights of its own."
        )
    return model


def _choose_embedded(role: RoleName, wanted: RolePlan, why: str) -> Choice:
    settings: dict[str, object] = {
        "model": wanted.model,
        "engine_args": wanted.engine_args,
        "prompt_template": wanted.prompt_template,
    }
    if role == "guard" and wanted.engine == "auto":
        settings["prompt_template"] = None  # without effect for classifiers too: the config check has said so
    for name, value in settings.items():
        if value:
            shown = f" {value!r}" if name == "model" else ""
            raise EngineError(
                f"inference.{role}.{name}{shown} does not go with the embedded engine: {why}. Leave it out, or choose "
                f"inference.{role}.engine: 'vllm' (which also runs on a CPU), or 'upstream' for a configured provider."
            )
    return Choice(role, "embedded", "")


def _vllm_fits() -> bool:
    from plano.inference.engines.vllm import vllm_usable

    return vllm_usable()
