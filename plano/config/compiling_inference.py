"""The task-specific models' part of the plan: roles, preferences, guarded listeners, where inference processes are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeVar

from plano.config.curve import compile_client_curve, compile_server_curve
from plano.config.migration import declared_listeners
from plano.config.names import ModelNames
from plano.config.plan import FunctionPlan, GuardPlan, InferencePlan, ListenerPlan, PreferencePlan, RolePlan
from plano.config.schema.file import PlanoFile
from plano.config.schema.inference import Inference, Role
from plano.config.schema.operations import Overrides
from plano.config.settings import Settings

REFUSAL = "I can't help with that: the request tries to change the rules I work by. Is there something else I can do?"
GUARDED_TYPES = ("agent", "prompt")
# A model provider is further away, and slower, than a model of our own.
UPSTREAM_TIMEOUT_S = 5.0

Plan = TypeVar("Plan", bound=RolePlan)


def compile_preferences(config: PlanoFile, names: ModelNames) -> tuple[PreferencePlan, ...]:
    """`routing_preferences` in the order of the file, their models by canonical names."""
    return tuple(
        PreferencePlan(
            name=preference.name,
            description=preference.description,
            models=tuple(dict.fromkeys(names.canonical(model) for model in preference.models)),
            prefer=preference.selection_policy.prefer if preference.selection_policy else "none",
        )
        for preference in config.routing_preferences or ()
    )


def guard_listener(config: PlanoFile, listener: ListenerPlan) -> ListenerPlan:
    """The listener with what an attack is answered there, if the guard is to look at its requests."""
    guards = config.prompt_guards.input_guards if config.prompt_guards else None
    jailbreak = guards.jailbreak if guards else None
    if jailbreak is None:
        return listener
    guarded = GUARDED_TYPES if jailbreak.listeners is None else jailbreak.listeners
    if listener.type not in guarded and listener.name not in guarded:
        return listener
    return replace(listener, jailbreak_message=jailbreak.on_exception.message if jailbreak.on_exception else REFUSAL)


def compile_inference(config: PlanoFile, settings: Settings, names: ModelNames) -> InferencePlan:
    """The tier as a cluster of frontends uses it. Raises ConfigError when keys are missing."""
    addresses = settings.inference or tuple((config.inference and config.inference.address) or ())
    curve = compile_client_curve(config.inference.curve if config.inference else None, settings, addresses)
    return replace(_compile_roles(config, names, idle="embedded"), addresses=addresses, curve=curve)


def compile_inference_alone(config: PlanoFile, settings: Settings, names: ModelNames) -> InferencePlan:
    """The tier as an inference process by itself runs it (its frontends are elsewhere, their wishes unknown). Raises
    ConfigError when keys are missing."""
    section = config.inference.curve if config.inference else None
    curve = compile_server_curve(section, settings, settings.inference_bind)
    return replace(_compile_roles(config, names, idle="auto"), curve=curve)


def find_routing_model(config: PlanoFile) -> str | None:
    """The model that `overrides` name for the orchestrator, where `inference` does not say what runs it (spec A1)."""
    overrides = config.overrides or Overrides()
    role = config.inference.orchestrator if config.inference else None
    if role is not None and (role.engine != "auto" or role.model is not None):
        return None
    return overrides.llm_routing_model or overrides.agent_orchestration_model


def _compile_roles(config: PlanoFile, names: ModelNames, idle: Literal["auto", "embedded"]) -> InferencePlan:
    """`idle` is the engine of a role that the file neither mentions nor needs. Beside frontends that is the embedded
    one, for what clients may still ask for: nobody should wait for the download of a model that nothing uses."""
    section = config.inference or Inference()
    listeners = [listener for _, listener in declared_listeners(config)]
    types = {listener.type for listener in listeners}
    needs_orchestrator = bool(config.routing_preferences) or any(listener.agents for listener in listeners)
    orchestrator = _compile_role(section.orchestrator, RolePlan(engine="auto" if needs_orchestrator else idle), names)
    routing_model = find_routing_model(config)
    if routing_model is not None and names.find(routing_model) is not None:
        orchestrator = replace(
            orchestrator,
            engine="upstream",
            model=routing_model,
            timeout_s=(section.orchestrator and section.orchestrator.timeout) or UPSTREAM_TIMEOUT_S,
        )
    if section.orchestrator is None or section.orchestrator.context_length is None:
        context_tokens = (config.overrides or Overrides()).orchestrator_model_context_length
        orchestrator = replace(orchestrator, context_tokens=context_tokens)
    guard = _compile_role(section.guard, GuardPlan(engine="auto" if config.prompt_guards else idle), names)
    if section.guard is not None:
        given = section.guard
        guard = replace(guard, threshold=given.threshold, on_failure=given.on_failure, scope=given.scope)
    needs_function = "prompt" in types or bool(config.prompt_targets)
    function = _compile_role(section.function, FunctionPlan(engine="auto" if needs_function else idle), names)
    if section.function is not None:
        function = replace(function, entropy=section.function.entropy, varentropy=section.function.varentropy)
    return InferencePlan(orchestrator=orchestrator, guard=guard, function=function)


def _compile_role(role: Role | None, default: Plan, names: ModelNames) -> Plan:
    if role is None:
        return default
    timeout_s = role.timeout or default.timeout_s
    if role.timeout is None and _is_done_by_a_provider(role, names):
        timeout_s = max(timeout_s, UPSTREAM_TIMEOUT_S)
    changes: dict[str, Any] = {
        "engine": role.engine,
        "model": role.model,
        "engine_args": dict(role.engine_args or {}),
        "timeout_s": timeout_s,
        "prompt_template": role.prompt_template,
        "concurrency": role.concurrency,
        "queue": role.queue,
        "context_tokens": role.context_length or default.context_tokens,
    }
    return replace(default, **changes)


def _is_done_by_a_provider(role: Role, names: ModelNames) -> bool:
    """What `engine: auto` comes to where the model is a provider's (`plano.inference.engines.choosing`), which takes a
    configured id behind any prefix."""
    if role.engine != "auto" or role.model is None:
        return role.engine == "upstream"
    return names.find(role.model) is not None or names.find_explicit(role.model.partition("/")[2]) is not None
