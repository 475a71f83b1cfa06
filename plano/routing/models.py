"""From the model a client names to the provider entry that serves it. Pure: names in, names out.

Order of look-up: alias (one hop); exact provider name; full model string, wildcards' known models included; bare id
after the first `/` (so any prefix with a configured bare id resolves); wildcard of the same prefix, for models nobody
has heard of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plano.config.plan import ProviderPlan

# How clients say "you choose": agents' frameworks insist on a model name.
UNSPECIFIED = frozenset({"", "none", "--"})

# A name a client makes up for a wildcard goes into a path and a header: nothing but visible ASCII.
_FIT = re.compile(r"[\x21-\x7e]{1,256}")


class Target(NamedTuple):
    """A provider entry and the id to send upstream."""

    provider: ProviderPlan
    upstream_model: str


class ModelTable:
    """All names that resolve. `known_models` are full ids of wildcards' models (`openai/gpt-4o` of `openai/*`)."""

    def __init__(
        self, providers: Sequence[ProviderPlan], aliases: Mapping[str, str], known_models: Iterable[str] = ()
    ) -> None:
        self._aliases = dict(aliases)
        self._exact: dict[str, Target] = {}
        self._bare: dict[str, Target] = {}
        self._wildcards: dict[str, ProviderPlan] = {}
        concrete = [Target(p, p.upstream_model) for p in providers if not p.wildcard]
        for target in concrete:  # an entry's name wins over another entry's model string
            self._exact[target.provider.name] = target
        for target in concrete:
            self._exact.setdefault(target.provider.model, target)
            self._bare.setdefault(target.upstream_model, target)
        for provider in providers:
            if provider.wildcard:
                self._wildcards.setdefault(provider.model.partition("/")[0], provider)
        for model in known_models:  # after the explicit entries, which keep their names
            prefix, _, bare = model.partition("/")
            if prefix in self._wildcards and model not in self._exact:
                target = Target(self._wildcards[prefix], bare)
                self._exact[model] = target
                self._bare.setdefault(bare, target)
        public = [target for target in concrete if not target.provider.internal]
        only = public[0] if len(public) == 1 else None
        self._default = next((target for target in public if target.provider.default), only)

    @property
    def default(self) -> Target | None:
        """The provider marked `default`, or the only one there is."""
        return self._default

    def resolve(self, name: str | None) -> Target | None:
        """The target for a name, the default for no name, None for an unknown name."""
        if name is None or name in UNSPECIFIED:
            return self._default
        name = self._aliases.get(name, name)
        target = self._exact.get(name)
        if target is not None:
            return target
        prefix, slash, bare = name.partition("/")
        target = self._bare.get(bare if slash else name)
        if target is None and prefix in self._wildcards and _FIT.fullmatch(bare):
            return Target(self._wildcards[prefix], bare)
        return target
