"""The configuration of a cluster that was given none: every well-known provider, with the keys of the environment."""

from __future__ import annotations

from collections.abc import Mapping

from plano.config.loading import LoadedConfig
from plano.config.migration import DEFAULT_PORTS
from plano.config.schema.file import NEWEST_VERSION, PlanoFile
from plano.config.schema.listeners import Listener
from plano.config.schema.providers import ModelProvider
from plano.config.wiring import wire
from plano.upstreams.catalogue import catalogue

LISTENER_NAME = "llm"


def key_variables() -> dict[str, str]:
    """The environment variable that holds the key of each provider, in the order they are wired."""
    return {entry.prefix: entry.key_env for entry in catalogue().values() if entry.key_env is not None}


def find_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of `key_variables` that are set and not empty: provider and name of its variable, never the key."""
    return {prefix: variable for prefix, variable in key_variables().items() if environ.get(variable, "").strip()}


def config_from_environment(
    environ: Mapping[str, str], port: int = DEFAULT_PORTS["model"], address: str = "127.0.0.1"
) -> LoadedConfig:
    """A model listener named `llm`, and a wildcard for every provider of `key_variables`.

    Providers with a key come first and use it; to the others the client's own credential is passed on.
    """
    keys = find_keys(environ)
    keyed = [
        ModelProvider(model=f"{prefix}/*", access_key=environ[variable].strip()) for prefix, variable in keys.items()
    ]
    unkeyed = [
        ModelProvider(model=f"{prefix}/*", passthrough_auth=True) for prefix in key_variables() if prefix not in keys
    ]
    config = PlanoFile(
        version=NEWEST_VERSION,
        listeners=[Listener(name=LISTENER_NAME, type="model", address=address, port=port)],
        model_providers=[*keyed, *unkeyed],
    )
    return LoadedConfig(wire(config, environ), (), None)
