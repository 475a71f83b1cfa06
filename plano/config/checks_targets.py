"""Checks of prompt targets, and of what they need of other sections."""

from __future__ import annotations

from collections.abc import Iterator

from plano.config.compiling_edge import describes_type, serves_targets
from plano.config.migration import Finding, declared_listeners
from plano.config.problems import Path, suggest
from plano.config.schema.file import PlanoFile
from plano.config.schema.functions import PromptTarget
from plano.functions.placement import find_placeholders
from plano.inference.calls import MAX_TOOLS, BadCall, Tool
from plano.inference.roles.arguments import check_schema

TARGETS: Path = ("prompt_targets",)


def check_targets(file: PlanoFile) -> Iterator[Finding]:
    """Every check of `prompt_targets`."""
    targets = file.prompt_targets or []
    if len(targets) > MAX_TOOLS:
        yield Finding(TARGETS, f"there are {len(targets)}, and the function model is shown at most {MAX_TOOLS}")
    endpoints = set(file.endpoints or ()) | {agent.id for agent in file.agents or ()}
    names: set[str] = set()
    defaults = 0
    for index, target in enumerate(targets):
        path = (*TARGETS, index)
        if target.name in names:
            yield Finding((*path, "name"), f"prompt target `{target.name}` is used twice")
        names.add(target.name)
        defaults += target.default
        if target.default and defaults > 1:
            yield Finding((*path, "default"), "only one prompt target can be the default")
        if target.endpoint is not None and target.endpoint.name not in endpoints:
            message = f"`{target.endpoint.name}` is neither an endpoint nor an agent"
            hint = suggest(target.endpoint.name, endpoints) or "add it to `endpoints`"
            yield Finding((*path, "endpoint", "name"), message, hint)
        yield from _check_parameters(path, target)
        yield from _check_path(path, target)
    yield from _check_listeners(file)
    if file.overrides and file.overrides.use_agent_orchestrator and len(file.endpoints or ()) != 1:
        message = f"needs exactly one entry in `endpoints`, there are {len(file.endpoints or ())}"
        yield Finding(("overrides", "use_agent_orchestrator"), message)


def _check_parameters(path: Path, target: PromptTarget) -> Iterator[Finding]:
    names: set[str] = set()
    for index, parameter in enumerate(target.parameters or ()):
        where = (*path, "parameters", index)
        if parameter.name in names:
            yield Finding((*where, "name"), f"parameter `{parameter.name}` is declared twice")
        names.add(parameter.name)
        if not describes_type(parameter.type):
            message = f"`{parameter.type}` is no type, the parameter is read as a text"
            yield Finding((*where, "type"), message, "write int, float, bool, str, list or dict", fatal=False)
        if parameter.items is not None:
            try:
                check_schema(Tool(target.name, "", {"properties": {parameter.name: {"items": parameter.items}}}))
            except BadCall:
                yield Finding((*where, "items"), "is no JSON Schema")


def _check_path(path: Path, target: PromptTarget) -> Iterator[Finding]:
    if target.endpoint is None:
        return
    where = (*path, "endpoint", "path")
    used = find_placeholders(target.endpoint.path)
    declared = {parameter.name for parameter in target.parameters or ()}
    for name in used:
        if name not in declared:
            message = f"`{{{name}}}` is not a parameter: no call of this target can be made"
            yield Finding(where, message, suggest(name, declared) or "add it to `parameters`", fatal=False)
    for index, parameter in enumerate(target.parameters or ()):
        if parameter.in_path and parameter.name not in used:
            message = f"`{{{parameter.name}}}` does not stand in the path, the parameter is sent beside it"
            yield Finding((*path, "parameters", index, "in_path"), message, fatal=False)


def _check_listeners(file: PlanoFile) -> Iterator[Finding]:
    """What of a listener could never be reached, or never be answered."""
    default = any(target.default and target.endpoint is not None for target in file.prompt_targets or ())
    for path, listener in declared_listeners(file):
        if not serves_targets(file, listener):
            continue
        if listener.agents and default:
            message = "the default prompt target takes what no target fits, so these agents are never asked"
            yield Finding((*path, "agents"), message, "leave out `default` of the target", fatal=False)
        worded = [target.name for target in file.prompt_targets or () if target.auto_llm_dispatch_on_response]
        if worded and not file.providers:
            message = f"without model providers nobody words the answers of prompt target `{worded[0]}`"
            hint = "add a provider, or set auto_llm_dispatch_on_response: false"
            yield Finding((*path, "type"), message, hint, fatal=False)
