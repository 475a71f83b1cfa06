"""Which provider a model name means: the lookup of model names, aliases and wildcards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plano.config.schema.providers import ModelAlias, ModelProvider


class ModelNames:
    """The model names of a file.

    Lookup order: exact provider name, full model, bare model id, then the wildcard of the prefix. This is stricter than
    what clients are granted (`plano.routing.models`), where any prefix in front of a configured id will do: in a file
    that is a mistake.
    """

    def __init__(self, providers: Iterable[ModelProvider], aliases: Mapping[str, ModelAlias] | None) -> None:
        self.aliases = {alias: entry.target for alias, entry in (aliases or {}).items()}
        self._by_name: dict[str, ModelProvider] = {}
        self._by_model: dict[str, ModelProvider] = {}
        self._by_id: dict[str, ModelProvider] = {}
        self._wildcards: dict[str, ModelProvider] = {}
        for provider in providers:
            if provider.wildcard:
                self._wildcards.setdefault(provider.prefix, provider)
                continue
            self._by_name.setdefault(provider.canonical_name, provider)
            self._by_model.setdefault(provider.model, provider)
            self._by_id.setdefault(provider.model_id, provider)

    def find(self, name: str) -> ModelProvider | None:
        """The provider that a model name means, aliases and wildcards included."""
        name = self.aliases.get(name, name)
        found = self.find_explicit(name)
        return found if found is not None else self.find_wildcard(name)

    def find_explicit(self, name: str) -> ModelProvider | None:
        """The provider of a configured model, by its name, model or bare id; aliases and wildcards do not count."""
        for names in (self._by_name, self._by_model, self._by_id):
            if name in names:
                return names[name]
        return None

    def find_wildcard(self, name: str) -> ModelProvider | None:
        """The wildcard provider that serves a full model name."""
        prefix, slash, model_id = name.partition("/")
        return self._wildcards.get(prefix) if slash and model_id and model_id != "*" else None

    def canonical(self, name: str) -> str:
        """The unique provider name that a name or alias means; a name served by a wildcard, or unknown, as it is."""
        name = self.aliases.get(name, name)
        provider = self.find_explicit(name)
        return provider.canonical_name if provider is not None else name

    @property
    def suggestions(self) -> tuple[str, ...]:
        """Names worth offering when one is not known."""
        return (*self._by_model, *self._by_id, *self._by_name, *self.aliases)
