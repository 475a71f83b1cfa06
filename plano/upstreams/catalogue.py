"""What is known of each model provider: where it is, what it speaks, which models it has.

The data stands in `catalogue.yaml` (providers) and `provider_models.yaml` (a snapshot of their models).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

Dialect = Literal["chat", "messages", "responses", "converse"]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One known provider. `host` is empty where only its operator knows the address."""

    prefix: str
    owned_by: str
    host: str
    base_path: str
    chat_path: str
    fixed_path: bool
    needs_base_url: bool
    dialect: Dialect
    key_env: str | None
    registry: str
    aliases: tuple[str, ...]

    def upstream_path(self, base_path: str | None = None) -> str:
        """The path of a chat call; may hold `{model}`.

        `base_path` takes the place of this provider's own, unless its path is fixed.
        """
        prefix = self.base_path if base_path is None or self.fixed_path else base_path
        return prefix.rstrip("/") + self.chat_path


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Every known provider by its prefix, in the order of the data file."""
    rows: dict[str, dict[str, Any]] = _read("catalogue.yaml")["providers"]
    return {prefix: _build(prefix, row) for prefix, row in rows.items()}


def find_provider(prefix: str) -> CatalogueEntry | None:
    """The provider meant by the first part of a model name, whatever its case; None when it is not known."""
    return _by_any_name().get(prefix.lower())


def list_models(prefix: str) -> tuple[str, ...]:
    """The upstream's names of the models of a provider, as far as the snapshot knows them; it may know none."""
    entry = find_provider(prefix)
    return _registry().get(entry.registry if entry else prefix.lower(), ())


@cache
def _by_any_name() -> Mapping[str, CatalogueEntry]:
    return {name: entry for entry in catalogue().values() for name in (entry.prefix, *entry.aliases)}


@cache
def _registry() -> Mapping[str, tuple[str, ...]]:
    groups: dict[str, list[str]] = _read("provider_models.yaml")["providers"]
    # The snapshot holds some models twice.
    return {
        provider: tuple(dict.fromkeys(model.partition("/")[2] for model in models))
        for provider, models in groups.items()
    }


def _build(prefix: str, row: Mapping[str, Any]) -> CatalogueEntry:
    host = row.get("host", "")
    return CatalogueEntry(
        prefix=prefix,
        owned_by=row.get("owned_by", prefix),
        host=host,
        base_path=row.get("base_path", "/v1"),
        chat_path=row.get("chat_path", "/chat/completions"),
        fixed_path=row.get("fixed_path", False),
        needs_base_url=row.get("needs_base_url", not host),
        dialect=row.get("dialect", "chat"),
        key_env=row.get("key_env"),
        registry=row.get("registry", prefix),
        aliases=tuple(row.get("aliases", ())),
    )


def _read(name: str) -> Any:
    text = resources.files("plano.upstreams").joinpath(name).read_text(encoding="utf-8")
    # The C loader is far faster, but not in every build of PyYAML; both are the safe loader.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
