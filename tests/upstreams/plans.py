"""Provider plans for tests: only what a test is about is spelled out."""

from __future__ import annotations

from typing import Any

from plano.config.plan import DialectName, EndpointPlan, ProviderPlan
from plano.upstreams.catalogue import DIALECTS


def speak(*dialects: DialectName, base_path: str = "/v1") -> tuple[EndpointPlan, ...]:
    """The endpoints of an upstream that speaks `dialects`, each where and as the catalogue has it."""
    return tuple(
        EndpointPlan(name, base_path + at.path, base_path + at.stream_path, at.auth, at.headers)
        for name, at in ((name, DIALECTS[name]) for name in dialects)
    )


def chat_at(path: str) -> tuple[EndpointPlan, ...]:
    """The endpoints of an upstream that speaks chat at `path`."""
    return (EndpointPlan("chat", path, path),)


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
        "endpoints": speak("chat"),
        "base_path": "/v1",
        "wildcard": wildcard,
    }
    return ProviderPlan(**{**fields, **changes})
