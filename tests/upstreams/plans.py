"""Provider plans for tests: only what a test is about is spelled out."""

from __future__ import annotations

from typing import Any

from plano.config.plan import ProviderPlan


def provider(model: str, **changes: Any) -> ProviderPlan:
    """The plan of `model` (`openai/gpt-4o`, or with `/*` a wildcard), as the config compiler would make it."""
    prefix, _, bare = model.partition("/")
    wildcard = bare == "*"
    fields: dict[str, Any] = {
        "name": model,
        "model": model,
        "provider": prefix,
        "owned_by": prefix,
        "upstream_model": "" if wildcard else bare,
        "scheme": "http",
        "host": f"{prefix}.test",
        "port": 80,
        "authority": f"{prefix}.test",
        "path": "/v1/chat/completions",
        "wildcard": wildcard,
    }
    return ProviderPlan(**{**fields, **changes})
