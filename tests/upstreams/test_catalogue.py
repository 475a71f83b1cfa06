"""The catalogue of providers and the snapshot of their models."""

from __future__ import annotations

import pytest

from plano.upstreams.catalogue import catalogue, find_provider, list_models


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("google", "gemini"),
        ("together", "together_ai"),
        ("amazon", "amazon_bedrock"),
        ("do", "digitalocean"),
        ("do_ai", "digitalocean"),
        ("OpenAI", "openai"),
    ],
)
def test_aliases_and_case(name: str, prefix: str) -> None:
    entry = find_provider(name)
    assert entry is not None
    assert entry.prefix == prefix


def test_unknown_provider_is_unknown() -> None:
    assert find_provider("astraflow") is None
    assert find_provider("") is None


def test_names_are_unique_and_addresses_are_hosts() -> None:
    names = [name for entry in catalogue().values() for name in (entry.prefix, *entry.aliases)]
    assert len(names) == len(set(names))
    for entry in catalogue().values():
        assert "/" not in entry.host
        assert entry.upstream_path().startswith("/")
        assert entry.host or entry.needs_base_url


def test_display_names() -> None:
    owners = {entry.prefix: entry.owned_by for entry in catalogue().values()}
    assert [owners[name] for name in ("openai", "anthropic", "groq", "mistral", "deepseek", "gemini", "plano")] == [
        "OpenAI",
        "Anthropic",
        "Groq",
        "Mistral",
        "Deepseek",
        "Gemini",
        "Plano",
    ]
    assert (owners["azure_openai"], owners["xai"]) == ("azure_openai", "xai")


@pytest.mark.parametrize(
    ("prefix", "model"),
    [
        ("openai", "gpt-4o"),
        ("gemini", "gemini-2.5-pro"),
        ("google", "gemini-2.5-pro"),
        ("mistral", "mistral-large-latest"),
        ("xai", "grok-4.3"),
        ("zhipu", "glm-4.6"),
        ("amazon_bedrock", "amazon.nova-pro-v1:0"),
        ("anthropic", "claude-haiku-4-5"),
        ("meta", "muse-spark-1.1"),
    ],
)
def test_models_of_a_provider(prefix: str, model: str) -> None:
    assert model in list_models(prefix)
    assert len(set(list_models(prefix))) == len(list_models(prefix))


def test_provider_without_known_models() -> None:
    assert list_models("ollama") == ()
    assert list_models("nobody") == ()
