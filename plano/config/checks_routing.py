"""Checks of aliases, preferences, their metrics, and the stores that sessions and conversations live in."""

from __future__ import annotations

from collections.abc import Iterator

from plano.config.migration import Finding
from plano.config.names import ModelNames
from plano.config.problems import suggest
from plano.config.schema.file import NEWEST_VERSION, PlanoFile


def check_routing(file: PlanoFile) -> Iterator[Finding]:
    """Every check of what chooses a model, and of the stores."""
    names = ModelNames(file.providers, file.model_aliases)
    yield from _check_aliases(file, names)
    yield from _check_preferences(file, names)
    yield from _check_sources(file)
    yield from _check_stores(file)


def _check_aliases(file: PlanoFile, names: ModelNames) -> Iterator[Finding]:
    for alias, entry in (file.model_aliases or {}).items():
        if names.find_explicit(entry.target) is not None:
            continue
        path = ("model_aliases", alias, "target")
        if names.find_wildcard(entry.target) is not None:
            hint = f"add a provider entry with `model: {entry.target}`"
            yield Finding(path, f"`{entry.target}` is only covered by a wildcard", hint)
        else:
            close = suggest(entry.target, names.suggestions)
            yield Finding(path, f"`{entry.target}` is not a configured model", close)


def _check_preferences(file: PlanoFile, names: ModelNames) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, preference in enumerate(file.routing_preferences or ()):
        if preference.name in seen:
            yield Finding(("routing_preferences", index, "name"), f"preference `{preference.name}` is used twice")
        seen.add(preference.name)
        for position, model in enumerate(preference.models):
            if names.find_explicit(model) is None and names.find_wildcard(model) is None:
                where = ("routing_preferences", index, "models", position)
                yield Finding(where, f"`{model}` is not a configured model", suggest(model, names.suggestions))
    if file.version != NEWEST_VERSION:
        return
    for index, provider in enumerate(file.providers):
        if provider.routing_preferences:
            message = f"is not read in version {NEWEST_VERSION}"
            path = (file.providers_key, index, "routing_preferences")
            yield Finding(path, message, "move it to the top-level routing_preferences", fatal=False)


def _check_sources(file: PlanoFile) -> Iterator[Finding]:
    kinds: set[str] = set()
    for index, source in enumerate(file.model_metrics_sources or ()):
        if source.type in kinds:
            yield Finding(("model_metrics_sources", index, "type"), f"only one {source.type} source is possible")
        kinds.add(source.type)
    needed = {"cheapest": "cost", "fastest": "latency"}
    for index, preference in enumerate(file.routing_preferences or ()):
        policy = preference.selection_policy
        kind = needed.get(policy.prefer) if policy else None
        if policy and kind and kind not in kinds:
            where = ("routing_preferences", index, "selection_policy", "prefer")
            yield Finding(where, f"`{policy.prefer}` needs a {kind} source in `model_metrics_sources`")
    if file.routing and file.routing.routing_budget and "cost" not in kinds:
        message = "needs a cost source in `model_metrics_sources`"
        yield Finding(("routing", "routing_budget"), message, "add {type: cost, provider: models.dev}")


def _check_stores(file: PlanoFile) -> Iterator[Finding]:
    cache = file.routing.session_cache if file.routing else None
    if cache is not None and cache.type == "redis":
        if cache.url is None:
            yield Finding(("routing", "session_cache", "url"), "is required when `type` is redis")
        elif not cache.url.startswith(("redis://", "rediss://")):
            yield Finding(("routing", "session_cache", "url"), "must start with redis:// or rediss://")
    if cache is not None and cache.tenant_header is None:
        message = "no tenant_header is set: clients that send the same session id share a session"
        yield Finding(("routing", "session_cache"), message, fatal=False)
    storage = file.state_storage
    if storage is not None and storage.type == "postgres" and storage.connection_string is None:
        yield Finding(("state_storage", "connection_string"), "is required when `type` is postgres")
