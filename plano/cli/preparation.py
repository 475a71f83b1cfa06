"""From the command line to something a supervisor can run: the config file or the environment, settings, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plano.config.compiling import compile_plan
from plano.config.loading import LoadedConfig, find_config_file, load
from plano.config.plan import ClusterPlan
from plano.config.settings import Settings
from plano.config.zero import config_from_environment, find_keys, key_variables
from plano.workers.failures import StartError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A compiled configuration and where it came from. `keys` are the providers whose key the environment holds; they
    only matter without a config file."""

    loaded: LoadedConfig
    plan: ClusterPlan
    keys: Mapping[str, str]

    @property
    def is_zero_config(self) -> bool:
        """Whether there is no config file."""
        return self.loaded.path is None


def prepare(
    config: Path | None,
    settings: Settings,
    environ: Mapping[str, str],
    host: str | None = None,
    port: int | None = None,
) -> Prepared:
    """Loads and compiles the config: the file given, else one in the current folder, else providers from `environ`.

    `host` and `port` are the listener's without a config file. Raises ConfigError and StartError.
    """
    found = find_config_file(config)
    if config is None and found is None:
        chosen = {name: value for name, value in (("address", host), ("port", port)) if value is not None}
        loaded = config_from_environment(environ, **chosen)  # type: ignore[arg-type]
    elif host is not None or port is not None:
        raise StartError(
            f"--host and --port only apply without a config file; {found or config} says where its listeners are"
        )
    else:
        loaded = load(config, environ)
    plan = compile_plan(loaded.config, settings)
    if not plan.listeners:
        raise StartError(f"{loaded.path}: nothing to serve: it has neither listeners nor model_providers")
    return Prepared(loaded, plan, find_keys(environ))


def summarize_models(plan: ClusterPlan, most: int = 6) -> str:
    """The models on one line: `openai/gpt-4o (default), anthropic/*, ...`."""
    shown = [
        provider.name + (" (default)" if provider.default else "")
        for provider in plan.providers
        if not provider.internal
    ]
    more = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {more} more" if more > 0 else "") if shown else "none"


def explain_keys(keys: Mapping[str, str]) -> list[str]:
    """What a user without a config file should know about keys, as lines."""
    if keys:
        return [f"keys found for {', '.join(keys)}; for the other providers the client's own key is passed on"]
    variables = ", ".join(list(key_variables().values())[:3])
    return [
        f"no provider key in the environment ({variables}, ...): the client's own key is passed on",
        "set one, for example `export OPENAI_API_KEY=...`, and start again to use it for all clients",
    ]
