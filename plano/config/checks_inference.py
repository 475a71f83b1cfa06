"""Checks of the task-specific models: their engines, the listeners they guard, the model that routes."""

from __future__ import annotations

from collections.abc import Iterator

from plano.config.compiling_inference import GUARDED_TYPES, find_routing_model
from plano.config.migration import Finding, declared_listeners
from plano.config.names import ModelNames
from plano.config.problems import Path, suggest
from plano.config.schema.file import PlanoFile
from plano.config.schema.inference import Role

ROLES = ("orchestrator", "guard", "function")
LISTENER_TYPES = ("agent", "prompt", "model")
ADDED_NAME = "egress_traffic"  # of the model listener that is added by itself


def check_inference(file: PlanoFile) -> Iterator[Finding]:
    """Every check of `inference`, and of what elsewhere in the file concerns its models."""
    names = ModelNames(file.providers, file.model_aliases)
    for name in ROLES:
        role = getattr(file.inference, name, None)
        if role is not None:
            yield from _check_role(file, ("inference", name), role, names)
    yield from _check_routing_model(file, names)
    yield from _check_guarded(file)


def _check_role(file: PlanoFile, path: Path, role: Role, names: ModelNames) -> Iterator[Finding]:
    match role.engine:
        case "upstream":
            yield from _check_upstream(file, path, role, names)
        case "embedded":
            for key in ("model", "engine_args", "prompt_template"):
                if getattr(role, key):
                    message = "does not go with `engine: embedded`, which has weights and a prompt of its own"
                    yield Finding((*path, key), message, "remove it, or choose `vllm` or `upstream`")
        case "vllm" if path[-1] == "guard" and role.model is None:
            hint = "name a classifier that vLLM serves, such as one of ModernBERT, or choose `engine: embedded`"
            yield Finding((*path, "model"), "is required when `engine` of the guard is vllm", hint)
    if path[-1] == "guard" and role.prompt_template and role.engine != "upstream":
        message = "is without effect: a guard is a classifier, which has no prompt"
        yield Finding((*path, "prompt_template"), message, "remove it", fatal=False)
    if role.engine_args and role.engine != "embedded" and file.inference is not None and file.inference.address:
        message = "are for the inference process at `address`, which does not read them from here"
        yield Finding((*path, "engine_args"), message, "give it this file: plano-cluster inference FILE", fatal=False)


def _check_upstream(file: PlanoFile, path: Path, role: Role, names: ModelNames) -> Iterator[Finding]:
    if role.engine_args:
        yield Finding((*path, "engine_args"), "are vLLM's, and do not go with `engine: upstream`", "remove them")
    if role.model is not None:
        if names.find(role.model) is None:
            hint = suggest(role.model, names.suggestions) or "name a model of `model_providers`"
            yield Finding((*path, "model"), f"`{role.model}` is not a configured model", hint)
    elif not (_has_default(file) or len([one for one in file.providers if not one.wildcard]) == 1):
        hint = "name a configured model, or make one provider the default"
        yield Finding((*path, "model"), "is required when `engine` is upstream and no provider is the default", hint)


def _has_default(file: PlanoFile) -> bool:
    return any(provider.default for provider in file.providers)


def _check_routing_model(file: PlanoFile, names: ModelNames) -> Iterator[Finding]:
    """The original has models of its maker behind these names; here they are models of the file, or nothing."""
    overrides = file.overrides
    if overrides is None:
        return
    model = find_routing_model(file)
    key = "llm_routing_model" if overrides.llm_routing_model else "agent_orchestration_model"
    if model is None:
        if overrides.llm_routing_model or overrides.agent_orchestration_model:
            message = "is without effect, because `inference.orchestrator` says what runs it"
            yield Finding(("overrides", key), message, "remove one of the two", fatal=False)
    elif names.find(model) is None:
        hint = suggest(model, names.suggestions) or "add it to `model_providers`, or use `inference.orchestrator`"
        message = f"no provider serves `{model}`: the orchestrator's engine is chosen as if it were not named"
        yield Finding(("overrides", key), message, hint, fatal=False)


def _check_guarded(file: PlanoFile) -> Iterator[Finding]:
    guards = file.prompt_guards.input_guards if file.prompt_guards else None
    jailbreak = guards.jailbreak if guards else None
    if jailbreak is None:
        return
    place: Path = ("prompt_guards", "input_guards", "jailbreak")
    there = {listener.name: listener.type for _, listener in declared_listeners(file)}
    if file.providers and "model" not in there.values():
        there[ADDED_NAME] = "model"
    given = jailbreak.listeners
    known = {*there, *LISTENER_TYPES}
    for index, name in enumerate(given or ()):
        if name not in known:
            hint = suggest(name, known) or f"name a listener, or its type: {', '.join(LISTENER_TYPES)}"
            yield Finding((*place, "listeners", index), f"`{name}` is not a listener", hint)
    guarded = {*GUARDED_TYPES} if given is None else {*given}
    if not guarded & {*there, *there.values()} and guarded <= known:
        where = place if given is None else (*place, "listeners")
        types = ", ".join(sorted({*there.values()})) or "model"
        yield Finding(where, "guards no listener of this file", f"add `listeners: [{types}]`", fatal=False)
