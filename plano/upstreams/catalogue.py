"""What is known of each model provider: where it is, what it speaks, which models it has.

The data stands in `catalogue.yaml` (providers) and `provider_models.yaml` (a snapshot of their models). What all
providers of one dialect have in common, the end of the path and how the key is sent, stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import yaml

from plano.config.plan import AuthScheme, DialectName, EndpointPlan

ANTHROPIC_VERSION: Final = "2023-06-01"


@dataclass(frozen=True, slots=True)
class DialectEndpoint:
    """The endpoint of a dialect wherever it is spoken: what follows the base path, and how its key is sent.

    Sources: the API references of OpenAI (chat, responses), Anthropic (messages, "Versioning"), Amazon Bedrock
    (Converse, ConverseStream) and Gemini (generateContent, streamGenerateContent).
    """

    path: str
    stream_path: str
    auth: AuthScheme = "bearer"
    headers: tuple[tuple[str, str], ...] = ()


DIALECTS: Final[Mapping[DialectName, DialectEndpoint]] = {
    "chat": DialectEndpoint("/chat/completions", "/chat/completions"),
    "messages": DialectEndpoint("/messages", "/messages", "x-api-key", (("anthropic-version", ANTHROPIC_VERSION),)),
    "responses": DialectEndpoint("/responses", "/responses"),
    "converse": DialectEndpoint("/model/{model}/converse", "/model/{model}/converse-stream"),
    "gemini": DialectEndpoint(
        "/models/{model}:generateContent", "/models/{model}:streamGenerateContent?alt=sse", "x-goog-api-key"
    ),
}


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One known provider; the fields are those of `catalogue.yaml`. `host` is empty where only its operator knows the
    address."""

    prefix: str
    owned_by: str
    host: str
    base_path: str
    fixed_path: bool
    model_path: str
    query: str
    needs_base_url: bool
    dialects: tuple[DialectName, ...]
    auth: AuthScheme | None
    quirks: tuple[str, ...]
    key_env: str | None
    registry: str
    aliases: tuple[str, ...]

    def locate(self, base_path: str | None = None) -> str:
        """The path in front of every endpoint; may hold `{model}`.

        `base_path` takes the place of this provider's own, unless its path is fixed.
        """
        prefix = self.base_path if base_path is None or self.fixed_path else base_path
        return prefix.rstrip("/") + self.model_path

    def list_endpoints(self, base_path: str | None = None, query: str | None = None) -> tuple[EndpointPlan, ...]:
        """The endpoint of each dialect it speaks. `query` takes the place of this provider's own."""
        base = self.locate(base_path)
        query = self.query if query is None else query
        return tuple(
            EndpointPlan(
                name,
                _join_query(base + known.path, query),
                _join_query(base + known.stream_path, query),
                self.auth or known.auth,
                known.headers,
            )
            for name, known in ((name, DIALECTS[name]) for name in self.dialects)
        )


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Every known provider by its prefix, in the order of the data file."""
    rows: dict[str, dict[str, Any]] = _read("catalogue.yaml")["providers"]
    return {prefix: _build(prefix, row) for prefix, row in rows.items()}


def find_provider(prefix: str) -> CatalogueEntry | None:
    """The provider meant by the first part of a model name, whatever its case; None when it is not known."""
    return _by_any_name().get(prefix.lower())


def resolve_provider(prefix: str, interface: str | None) -> CatalogueEntry | None:
    """The provider that one with this prefix is called like: itself where it is known, else its `interface`."""
    return find_provider(prefix) or (find_provider(interface) if interface else None)


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
        fixed_path=row.get("fixed_path", False),
        model_path=row.get("model_path", ""),
        query=row.get("query", ""),
        needs_base_url=row.get("needs_base_url", not host),
        dialects=tuple(row.get("dialects", ("chat",))),
        auth=row.get("auth"),
        quirks=tuple(row.get("quirks", ())),
        key_env=row.get("key_env"),
        registry=row.get("registry", prefix),
        aliases=tuple(row.get("aliases", ())),
    )


def _join_query(path: str, query: str) -> str:
    if not query:
        return path
    return f"{path}{'&' if '?' in path else '?'}{query}"


def _read(name: str) -> Any:
    text = resources.files("plano.upstreams").joinpath(name).read_text(encoding="utf-8")
    # The C loader is far faster, but not in every build of PyYAML; both are the safe loader.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
