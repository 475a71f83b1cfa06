"""Checks of the model providers: what the schema cannot see in one entry, or between entries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from plano.config.migration import Finding
from plano.config.names import ModelNames
from plano.config.problems import suggest
from plano.config.schema.file import PlanoFile
from plano.config.schema.providers import ModelProvider
from plano.upstreams.catalogue import catalogue, find_provider

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE_BREAKS = re.compile(r"[\r\n\0]")


def check_providers(file: PlanoFile) -> Iterator[Finding]:
    """Every check of `model_providers`."""
    if file.model_providers is not None and file.llm_providers is not None:
        yield Finding(
            ("llm_providers",), "stands beside `model_providers`", "llm_providers is the old name: keep model_providers"
        )
        return
    key = file.providers_key
    defaults = 0
    for index, provider in enumerate(file.providers):
        path = (key, index)
        if "/" not in provider.model or not provider.prefix or not provider.model_id:
            yield Finding((*path, "model"), "must be `provider/model-id`", _guess_prefix(provider.model))
            continue
        defaults += provider.default
        if provider.default and defaults > 1:
            yield Finding((*path, "default"), "only one provider can be the default")
        for finding in (*_check_origin(provider), *_check_wildcard(provider), *_check_credentials(provider)):
            yield Finding((*path, *finding.path), finding.message, finding.hint, finding.fatal)
    yield from _check_unique(file)
    yield from _check_fallbacks(file)


def _guess_prefix(model: str) -> str | None:
    prefix = model.strip("/")
    return None if not prefix else f"write for example openai/{prefix}" if find_provider(prefix) is None else None


def _check_origin(provider: ModelProvider) -> Iterator[Finding]:
    """Is it known where the model is, and what it speaks?"""
    entry = find_provider(provider.prefix)
    if entry is None:
        missing = [key for key in ("base_url", "provider_interface") if getattr(provider, key) is None]
        if missing:
            hint = suggest(
                provider.prefix, (name for known in catalogue().values() for name in known_names(known.prefix))
            )
            message = f"provider `{provider.prefix}` is not known and needs {' and '.join(missing)}"
            yield Finding(
                ("model",), message, hint or "base_url says where it is, provider_interface what it behaves like"
            )
    else:
        if provider.provider_interface is not None:
            message = f"is for unknown providers only; `{provider.prefix}` is known"
            yield Finding(("provider_interface",), message, "remove it, or give the model another prefix")
        if entry.needs_base_url and provider.base_url is None:
            message = f"provider `{provider.prefix}` needs a base_url"
            yield Finding(("model",), message, "add base_url: https://...")
    if provider.base_url is not None:
        parts = urlsplit(provider.base_url)
        if parts.username is not None or parts.password is not None:
            yield Finding(("base_url",), "must not carry a user or password", "use access_key or headers")
        if parts.fragment:
            yield Finding(("base_url",), "must not carry a fragment")


def known_names(prefix: str) -> tuple[str, ...]:
    """Every first part of a model name that means a provider."""
    entry = catalogue()[prefix]
    return (entry.prefix, *entry.aliases)


def _check_wildcard(provider: ModelProvider) -> Iterator[Finding]:
    if not provider.wildcard:
        return
    if provider.default:
        yield Finding(("default",), "a wildcard cannot be the default", "name one model and make it the default")
    if provider.routing_preferences:
        message = "a wildcard cannot have routing_preferences"
        yield Finding(("routing_preferences",), message, "name the models in top-level routing_preferences")


def _check_credentials(provider: ModelProvider) -> Iterator[Finding]:
    if provider.passthrough_auth and provider.access_key:
        message = "the key is not used, because passthrough_auth is on"
        yield Finding(("access_key",), message, "keep one of the two", fatal=False)
    names = {name.lower() for name in provider.headers or {}}
    if not (provider.access_key or provider.passthrough_auth or provider.base_url or "authorization" in names):
        entry = find_provider(provider.prefix)
        # ChatGPT entries without a key pass the client's credential on (see wiring).
        if entry is not None and not entry.needs_base_url and entry.prefix != "chatgpt":
            message = "has no access_key and no passthrough_auth: its calls will carry no credential"
            hint = f"add access_key: ${entry.key_env or 'YOUR_KEY'}"
            yield Finding((), message, hint, fatal=False)
    if provider.access_key and _LINE_BREAKS.search(provider.access_key):
        yield Finding(("access_key",), "holds a line break", "was the key read from a file with a final newline?")
    if provider.http_host and re.search(r"[\s/\0]", provider.http_host):
        yield Finding(("http_host",), "must be a host name, or host:port")
    for name, value in (provider.headers or {}).items():
        if not _HEADER_NAME.fullmatch(name):
            yield Finding(("headers", name), "is not a valid header name")
        elif _LINE_BREAKS.search(value):
            yield Finding(("headers", name), "its value holds a line break")


def _check_unique(file: PlanoFile) -> Iterator[Finding]:
    """Names and models must differ; so must model ids, unless the later entry says by a `name` of its own how to ask
    for it: the same model at a second provider is what failover is made of."""
    key = file.providers_key
    names: set[str] = set()
    models: dict[str, str] = {}
    ids: dict[str, str] = {}
    for index, provider in enumerate(file.providers):
        if "/" not in provider.model:
            continue
        if not provider.wildcard and provider.model in models:
            yield Finding((key, index, "model"), f"model `{provider.model}` is configured twice")
        elif not provider.wildcard and provider.model_id in ids and provider.name is None:
            message = f"model id `{provider.model_id}` is already that of `{ids[provider.model_id]}`"
            hint = "clients may leave the prefix out: give this entry a `name` of its own to have both"
            yield Finding((key, index, "model"), message, hint)
        elif provider.canonical_name in names:
            where = (key, index, "name" if provider.name else "model")
            yield Finding(where, f"provider name `{provider.canonical_name}` is used twice")
        names.add(provider.canonical_name)
        models.setdefault(provider.model, provider.model)
        ids.setdefault(provider.model_id, provider.model)


def _check_fallbacks(file: PlanoFile) -> Iterator[Finding]:
    names = ModelNames(file.providers, file.model_aliases)
    for index, provider in enumerate(file.providers):
        policy = provider.retry_policy
        for position, name in enumerate((policy and policy.fallback_models) or ()):
            path = (file.providers_key, index, "retry_policy", "fallback_models", position)
            found = names.find(name)
            if found is None:
                hint = suggest(name, names.suggestions) or "name a configured model or an alias"
                yield Finding(path, f"`{name}` is not a configured model", hint)
            elif found is provider and not provider.wildcard:
                yield Finding(path, f"`{name}` is this provider itself")
