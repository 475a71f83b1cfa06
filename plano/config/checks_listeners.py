"""Checks of listeners, and of the agents and filters they refer to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plano.config.migration import DEFAULT_PORTS, Finding, declared_listeners
from plano.config.problems import Path, suggest
from plano.config.schema.file import PlanoFile
from plano.config.schema.listeners import LegacyListeners, Listener, ListenerAgent

_EVERY_INTERFACE = ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


def check_listeners(file: PlanoFile) -> Iterator[Finding]:
    """Every check of `listeners`, `agents` and `filters`."""
    yield from _check_ids(file)
    yield from _check_presence(file)
    yield from _check_sockets(file)
    for index, agent in enumerate(file.agents or ()):
        if agent.retry_policy is not None and agent.retry_policy.fallback_models:
            place: Path = ("agents", index, "retry_policy", "fallback_models")
            yield Finding(place, "nobody takes an agent's place; `on_failure: skip` goes on without it")
    agents = {agent.id for agent in file.agents or ()}
    steps = agents | {step.id for step in file.filters or ()}
    for path, listener in declared_listeners(file):
        yield from _check_chain(
            path, "filter_chain" if listener.filter_chain else "input_filters", listener.filters, steps
        )
        yield from _check_chain(path, "output_filters", listener.output_filters or (), steps)
        yield from _check_names_of_chain(path, listener)
        if listener.type == "agent" or (listener.type == "prompt" and listener.agents):
            yield from _check_agents(path, listener, agents, steps)


def _check_ids(file: PlanoFile) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    ids = {"agents": [agent.id for agent in file.agents or ()], "filters": [step.id for step in file.filters or ()]}
    for section in ids:
        for index, name in enumerate(ids[section]):
            if name in seen:
                yield Finding((section, index, "id"), f"id `{name}` is already used in `{seen[name]}`")
            seen.setdefault(name, section)


def _check_presence(file: PlanoFile) -> Iterator[Finding]:
    if isinstance(file.listeners, LegacyListeners) and not file.providers:
        message = "the object form of listeners needs at least one entry in `model_providers`"
        yield Finding(("listeners",), message)
        return
    declared = list(declared_listeners(file))
    models = [path for path, listener in declared if listener.type == "model"]
    for path in models[1:]:
        yield Finding((*path, "type"), "only one listener can serve the model providers")
    # A file with nothing but `inference` is for inference processes, which need neither.
    needs_providers = [listener for _, listener in declared if listener.type != "agent"] or not (
        declared or file.inference
    )
    if needs_providers and not file.providers:
        hint = "add an entry such as {model: openai/gpt-4o, access_key: $OPENAI_API_KEY}"
        yield Finding(("model_providers",), "at least one model provider is needed", hint)


def _check_sockets(file: PlanoFile) -> Iterator[Finding]:
    names: set[str] = set()
    taken: list[tuple[str, int, str]] = []
    declared = list(declared_listeners(file))
    if file.providers and not any(listener.type == "model" for _, listener in declared):
        # The listener that is added by itself.
        taken.append(("127.0.0.1", DEFAULT_PORTS["model"], "the model listener that is added by itself"))
    for path, listener in declared:
        if listener.name in names:
            yield Finding((*path, "name"), f"listener name `{listener.name}` is used twice")
        names.add(listener.name)
        port = listener.port or DEFAULT_PORTS.get(listener.type)
        if port is None:
            yield Finding((*path, "port"), "is required on an agent listener")
            continue
        address = listener.address or _EVERY_INTERFACE[0]
        for other_address, other_port, other in taken:
            if port == other_port and (
                address == other_address or address in _EVERY_INTERFACE or other_address in _EVERY_INTERFACE
            ):
                yield Finding((*path, "port"), f"port {port} is already that of {other}")
                break
        taken.append((address, port, f"listener `{listener.name}`"))


def _check_names_of_chain(path: Path, item: Listener | ListenerAgent) -> Iterator[Finding]:
    if item.filter_chain is not None and item.input_filters is not None:
        message = "stands beside `input_filters`, which is the same"
        yield Finding((*path, "filter_chain"), message, "keep input_filters")


def _check_chain(path: Path, key: str, ids: Sequence[str], known: set[str]) -> Iterator[Finding]:
    for index, step in enumerate(ids):
        if step not in known:
            hint = suggest(step, known) or "add it to `filters`"
            yield Finding((*path, key, index), f"`{step}` is neither a filter nor an agent", hint)


def _check_agents(path: Path, listener: Listener, agents: set[str], steps: set[str]) -> Iterator[Finding]:
    if not listener.agents:
        yield Finding((*path, "agents"), "an agent listener needs at least one agent")
    defaults = 0
    seen: set[str] = set()
    for index, agent in enumerate(listener.agents or ()):
        where = (*path, "agents", index)
        if agent.id not in agents:
            hint = suggest(agent.id, agents) or "add it to `agents`"
            yield Finding((*where, "id"), f"`{agent.id}` is not an agent", hint)
        if agent.id in seen:
            yield Finding((*where, "id"), f"agent `{agent.id}` is listed twice")
        seen.add(agent.id)
        defaults += agent.default
        if agent.default and defaults > 1:
            yield Finding((*where, "default"), "only one agent of a listener can be the default")
        yield from _check_chain(where, "filter_chain" if agent.filter_chain else "input_filters", agent.filters, steps)
        yield from _check_names_of_chain(where, agent)
