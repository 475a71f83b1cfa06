"""What the schema alone cannot check: references, uniqueness, and settings that need each other."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from plano.config.checks_inference import check_inference
from plano.config.checks_listeners import check_listeners
from plano.config.checks_providers import check_providers
from plano.config.checks_routing import check_routing
from plano.config.checks_targets import check_targets
from plano.config.migration import Finding
from plano.config.schema.file import PlanoFile

# Sections that are read and checked, but that nothing acts on yet. A feature that lands takes its section out.
UNSERVED = (
    "model_metrics_sources",
    "routing",
    "prompt_caching",
    "ratelimits",
    "tracing",
    "state_storage",
)


def check(file: PlanoFile) -> list[Finding]:
    """Everything that is wrong with a file as it was written (before migration), warnings included."""
    return [
        *check_providers(file),
        *check_listeners(file),
        *check_routing(file),
        *check_inference(file),
        *check_targets(file),
        *_check_tracing(file),
        *_check_unserved(file),
    ]


def _check_tracing(file: PlanoFile) -> Iterator[Finding]:
    endpoint = file.tracing.opentracing_grpc_endpoint if file.tracing else None
    if endpoint is None:
        return
    path = ("tracing", "opentracing_grpc_endpoint")
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname if parts.port is None or parts.port > 0 else None
    except ValueError:
        yield Finding(path, "is not a valid URL", "write http://host:4317")
        return
    if parts.scheme != "http":
        yield Finding(path, "must start with http://", "OTLP goes over gRPC without TLS: http://host:4317")
    elif not host:
        yield Finding(path, "names no host", "write http://host:4317")
    elif parts.path not in ("", "/"):
        yield Finding(path, "must not carry a path", "write http://host:4317")


def _check_unserved(file: PlanoFile) -> Iterator[Finding]:
    """One warning for all that is validated ahead of the feature that will serve it."""
    unserved = [section for section in UNSERVED if getattr(file, section)]
    if file.overrides is not None and file.overrides.use_agent_orchestrator:
        unserved.append("use_agent_orchestrator")
    for name, endpoint in (file.endpoints or {}).items():
        if endpoint.prefix_affinity:
            unserved.append(f"prefix_affinity of endpoint `{name}`")
    for preference in file.routing_preferences or ():
        policy = preference.selection_policy
        if policy is not None and policy.prefer != "none":
            unserved.append(f"`prefer: {policy.prefer}` of preference `{preference.name}`")
    if unserved:
        message = f"read and checked, but without effect in this version: {', '.join(unserved)}"
        yield Finding((), message, fatal=False)
