"""Older forms of the Plano file brought into the newest: listeners as an array, preferences at the top, v0.4.0."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from plano.config.problems import Path
from plano.config.schema.file import NEWEST_VERSION, PlanoFile
from plano.config.schema.listeners import LegacyListener, LegacyListeners, Listener
from plano.config.schema.routing import RoutingPreference

DEFAULT_PORTS = {"model": 12000, "prompt": 10000}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a look at the whole file found. `fatal` keeps the cluster from starting; the rest are warnings."""

    path: Path
    message: str
    hint: str | None = None
    fatal: bool = True


def migrate(file: PlanoFile) -> tuple[PlanoFile, list[Finding]]:
    """The same configuration in the newest form, and warnings about what was rewritten.

    A file of the newest version keeps everything as it is, except that its listeners become an array and its providers
    stand under `model_providers`.
    """
    changes: dict[str, object] = {
        "listeners": [listener for _, listener in declared_listeners(file)],
        "model_providers": file.providers,
        "llm_providers": None,
    }
    warnings: list[Finding] = []
    if _order(file.version) < _order(NEWEST_VERSION):
        preferences, warnings = _lift_preferences(file)
        changes["version"] = NEWEST_VERSION
        changes["routing_preferences"] = preferences or None
        changes["model_providers"] = [
            provider.model_copy(update={"routing_preferences": None}) for provider in file.providers
        ]
    return file.model_copy(update=changes), warnings


def declared_listeners(file: PlanoFile) -> Iterator[tuple[Path, Listener]]:
    """Every listener that the file declares, in either form, with its path in the file."""
    if not isinstance(file.listeners, LegacyListeners):
        for index, listener in enumerate(file.listeners):
            yield ("listeners", index), listener
        return
    # The order is the original's: the model listener first.
    if file.listeners.egress_traffic is not None:
        yield ("listeners", "egress_traffic"), _convert("egress_traffic", file.listeners.egress_traffic)
    if file.listeners.ingress_traffic is not None:
        yield ("listeners", "ingress_traffic"), _convert("ingress_traffic", file.listeners.ingress_traffic)


def _convert(name: str, legacy: LegacyListener) -> Listener:
    return Listener(
        name=name,
        type="model" if name == "egress_traffic" else "prompt",
        address=legacy.address,
        port=legacy.port,
        timeout=legacy.timeout,
    )


def _lift_preferences(file: PlanoFile) -> tuple[list[RoutingPreference], list[Finding]]:
    """Preferences of the top level, then the inline ones, equal names merged in the order of the providers."""
    kept = {preference.name for preference in file.routing_preferences or ()}
    lifted: dict[str, RoutingPreference] = {}
    warnings: list[Finding] = []
    holders = 0
    for index, provider in enumerate(file.providers):
        holders += bool(provider.routing_preferences)
        for position, inline in enumerate(provider.routing_preferences or ()):
            first = lifted.get(inline.name)
            if inline.name in kept:
                continue
            if first is None:
                lifted[inline.name] = RoutingPreference(
                    name=inline.name, description=inline.description, models=[provider.model]
                )
                continue
            if first.description != inline.description:
                path = (file.providers_key, index, "routing_preferences", position, "description")
                message = f"differs from the first description of `{inline.name}`, which is used"
                warnings.append(Finding(path, message, fatal=False))
            if provider.model not in first.models:
                models = [*first.models, provider.model]
                lifted[inline.name] = first.model_copy(update={"models": models})
    moved = f"; the routing_preferences of {holders} provider(s) are read as top-level ones" if holders else ""
    message = f"{file.version} is deprecated and read as {NEWEST_VERSION}{moved}"
    hint = f"write `version: {NEWEST_VERSION}`" + (" and top-level `routing_preferences`" if holders else "")
    warnings.insert(0, Finding(("version",), message, hint, fatal=False))
    return [*(file.routing_preferences or ()), *lifted.values()], warnings


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("-")[0]))
