"""Plans for frontends under test: one listener, providers on loopback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plano.config.plan import ClusterPlan, LimitsPlan, ListenerPlan, ProviderPlan, RetryPlan
from tests.upstreams.plans import speak

NO_RETRY = RetryPlan(attempts=1)
# Three tries with next to no pause between them.
QUICK_RETRY = RetryPlan(attempts=3, backoff_base_s=0.002, backoff_max_s=0.01)


def make_provider(port: int, model: str = "one", /, **changes: Any) -> ProviderPlan:
    """A provider entry `test/<model>` at 127.0.0.1:`port`; `changes` are fields of `ProviderPlan`."""
    plan = ProviderPlan(
        name=f"test/{model}",
        model=f"test/{model}",
        provider="test",
        owned_by="test",
        upstream_model=model,
        scheme="http",
        host="127.0.0.1",
        port=port,
        authority=f"127.0.0.1:{port}",
        endpoints=speak("chat"),
        base_path="/v1",
        access_key="sk-gateway",
    )
    return replace(plan, **changes)


def make_wildcard(port: int, **changes: Any) -> ProviderPlan:
    """The entry `wild/*` at 127.0.0.1:`port`."""
    return make_provider(
        port, **{"name": "wild/*", "model": "wild/*", "upstream_model": "", "wildcard": True, **changes}
    )


def make_plan(
    *providers: ProviderPlan,
    limits: LimitsPlan | None = None,
    timeout_s: float = 20.0,
    connect_timeout_s: float = 2.0,
    aliases: dict[str, str] | None = None,
) -> ClusterPlan:
    """A cluster plan with one model listener named `llm`."""
    return ClusterPlan(
        listeners=(ListenerPlan("llm", "model", "127.0.0.1", 0, timeout_s=timeout_s),),
        providers=providers,
        aliases=aliases or {},
        model_ids=tuple((provider.name, provider.owned_by) for provider in providers if not provider.wildcard),
        connect_timeout_s=connect_timeout_s,
        limits=limits or LimitsPlan(),
    )
