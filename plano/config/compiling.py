"""A validated configuration and settings, made into the plan that the processes are handed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast
from urllib.parse import quote, urlsplit

from plano.config.checks_files import plan_tls
from plano.config.compiling_edge import compile_agents, compile_filters, compile_targets, serves_targets
from plano.config.compiling_inference import (
    compile_inference,
    compile_inference_alone,
    compile_preferences,
    guard_listener,
)
from plano.config.compiling_retry import compile_retry
from plano.config.migration import DEFAULT_PORTS, declared_listeners
from plano.config.names import ModelNames
from plano.config.plan import (
    RETRYABLE_STATUSES,
    AuthScheme,
    ClusterPlan,
    EndpointPlan,
    ListenerPlan,
    ProviderPlan,
    RetryPlan,
)
from plano.config.schema.file import PlanoFile
from plano.config.schema.listeners import Listener
from plano.config.schema.operations import Overrides
from plano.config.schema.providers import ModelProvider
from plano.config.settings import Settings
from plano.upstreams.catalogue import CatalogueEntry, find_provider, list_models, resolve_provider
from plano.upstreams.quirks import PROVIDER_QUIRKS

DEFAULT_TIMEOUTS_S = {"model": 300.0, "prompt": 300.0, "agent": 30.0}
DECLARED_ADDRESS = "0.0.0.0"  # noqa: S104 - what the file's format has always meant
ADDED_LISTENER = ListenerPlan(
    "egress_traffic", "model", "127.0.0.1", DEFAULT_PORTS["model"], DEFAULT_TIMEOUTS_S["model"]
)
# Azure's endpoints take keys of the resource in a header of their own, and tokens of Entra ID (JWTs) as bearers.
_ENTRA_TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")


def compile_plan(config: PlanoFile, settings: Settings) -> ClusterPlan:
    """The plan of a cluster.

    `config` comes from `loading.load` or `zero.config_from_environment`, so it has passed every check. Raises
    ConfigError for what is valid but cannot be served safely.
    """
    names = ModelNames(config.providers, config.model_aliases)
    overrides = config.overrides or Overrides()
    retry = _compile_listener_retry(config)
    return ClusterPlan(
        listeners=_compile_listeners(config),
        providers=tuple(_compile_provider(provider, retry, names) for provider in config.providers),
        aliases={alias: names.canonical(alias) for alias in config.model_aliases or {}},
        model_ids=_list_model_ids(config.providers),
        connect_timeout_s=overrides.upstream_connect_timeout,
        tls_ca_path=overrides.upstream_tls_ca_path,
        limits=settings.limits,
        preferences=compile_preferences(config, names),
        filters=compile_filters(config),
        targets=compile_targets(config),
        system_prompt=config.system_prompt,
        inference=compile_inference(config, settings, names),
    )


def compile_inference_plan(config: PlanoFile, settings: Settings) -> ClusterPlan:
    """The plan of an inference process by itself: no listeners, and the model providers only for engine `upstream`.

    Raises ConfigError as `compile_plan` does, and when it is to listen to other machines without keys.
    """
    names = ModelNames(config.providers, config.model_aliases)
    overrides = config.overrides or Overrides()
    return ClusterPlan(
        listeners=(),
        providers=tuple(_compile_provider(provider, RetryPlan(), names) for provider in config.providers),
        aliases={alias: names.canonical(alias) for alias in config.model_aliases or {}},
        model_ids=_list_model_ids(config.providers),
        connect_timeout_s=overrides.upstream_connect_timeout,
        tls_ca_path=overrides.upstream_tls_ca_path,
        limits=settings.limits,
        inference=compile_inference_alone(config, settings, names),
    )


def _compile_listeners(config: PlanoFile) -> tuple[ListenerPlan, ...]:
    listeners = [_compile_listener(config, listener) for _, listener in declared_listeners(config)]
    if config.providers and not any(listener.type == "model" for listener in listeners):
        listeners.append(ADDED_LISTENER)
    return tuple(guard_listener(config, listener) for listener in listeners)


def _compile_listener(config: PlanoFile, listener: Listener) -> ListenerPlan:
    return ListenerPlan(
        name=listener.name,
        type=listener.type,
        address=listener.address or DECLARED_ADDRESS,
        port=listener.port or DEFAULT_PORTS[listener.type],
        timeout_s=listener.timeout or DEFAULT_TIMEOUTS_S[listener.type],
        agents=compile_agents(config, listener),
        execution=listener.execution,
        writer=listener.writer,
        input_filters=tuple(listener.filters),
        output_filters=tuple(listener.output_filters or ()),
        serves_targets=serves_targets(config, listener),
        tls=plan_tls(listener.tls) if listener.tls is not None else None,
    )


def _compile_listener_retry(config: PlanoFile) -> RetryPlan:
    """What providers without a policy of their own get: `max_retries` of the model listener (spec 4.6), or one try."""
    for _, listener in declared_listeners(config):
        if listener.type == "model" and listener.max_retries is not None:
            return RetryPlan(
                attempts=listener.max_retries + 1,
                statuses=RETRYABLE_STATUSES | frozenset(range(500, 600)),
                backoff_base_s=0.5,
                backoff_max_s=5.0,
                per_try_timeout_s=30.0,
            )
    return RetryPlan()


def _compile_provider(provider: ModelProvider, retry: RetryPlan, names: ModelNames) -> ProviderPlan:
    known = find_provider(provider.prefix)
    # The schema's interfaces are all in the catalogue, and the checks ask for one where the prefix is not known.
    entry = known or cast(CatalogueEntry, resolve_provider(provider.prefix, provider.provider_interface or "openai"))
    parts = urlsplit(provider.base_url or f"https://{entry.host}")
    scheme = cast(Literal["http", "https"], parts.scheme.lower())
    host = parts.hostname or entry.host
    standard_port = 443 if scheme == "https" else 80
    port = parts.port or standard_port
    authority = f"[{host}]" if ":" in host else host
    if port != standard_port:
        authority += f":{port}"
    base_path = _choose_base_path(provider, parts.path)
    query = quote(parts.query, safe="=&%+:@!$,;/?~") or None
    return ProviderPlan(
        name=provider.canonical_name,
        model=provider.model,
        provider=known.prefix if known else provider.prefix,
        owned_by=_name_owner(provider),
        upstream_model="" if provider.wildcard else provider.model_id,
        scheme=scheme,
        host=host,
        port=port,
        authority=provider.http_host or authority,
        endpoints=tuple(
            replace(endpoint, auth=_choose_auth(endpoint, provider))
            for endpoint in entry.list_endpoints(base_path, query)
        ),
        base_path=entry.locate(base_path),
        base_query=_mark_query(query or entry.query),
        quirks=entry.quirks,
        usage_in_streams=all(PROVIDER_QUIRKS[name].usage_in_streams for name in entry.quirks),
        region=provider.region if "converse" in entry.dialects else None,
        access_key=None if provider.passthrough_auth else provider.access_key or None,
        passthrough_auth=provider.passthrough_auth,
        headers=tuple((provider.headers or {}).items()),
        retry=compile_retry(provider.retry_policy, retry, names),
        wildcard=provider.wildcard,
        default=provider.default,
    )


def _choose_base_path(provider: ModelProvider, given: str) -> str | None:
    """What takes the place of the catalogue's base path (spec 3.2), if anything does."""
    if given not in ("", "/"):
        return quote(given, safe="/%:@!$&'()*+,;=~{}")
    return "" if provider.canonical_name.startswith("perplexity/") else None


def _choose_auth(endpoint: EndpointPlan, provider: ModelProvider) -> AuthScheme:
    """How a provider's key is sent, where that depends on what kind of key it is."""
    if endpoint.dialect == "converse" and provider.region and not _has_credential(provider):
        return "sigv4"
    if endpoint.auth == "api-key" and _ENTRA_TOKEN.fullmatch(provider.access_key or ""):
        return "bearer"
    return endpoint.auth


def _has_credential(provider: ModelProvider) -> bool:
    names = {name.lower() for name in provider.headers or {}}
    return bool(provider.access_key or provider.passthrough_auth or "authorization" in names)


def _mark_query(query: str) -> str:
    return f"?{query}" if query else ""


def _name_owner(provider: ModelProvider) -> str:
    entry = find_provider(provider.prefix)
    return entry.owned_by if entry else provider.prefix


def _list_model_ids(providers: Sequence[ModelProvider]) -> tuple[tuple[str, str], ...]:
    """The body of GET /v1/models in the order of the file; a wildcard leaves out what has an entry of its own."""
    explicit = {provider.model for provider in providers if not provider.wildcard}
    found: dict[str, str] = {}
    for provider in providers:
        if not provider.wildcard:
            found.setdefault(provider.canonical_name, _name_owner(provider))
            continue
        for model_id in list_models(provider.prefix):
            model = f"{provider.prefix}/{model_id}"
            if model not in explicit:
                found.setdefault(model, _name_owner(provider))
    return tuple(found.items())
