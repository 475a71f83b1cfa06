"""The configuration of a cluster that was given none (spec 10.1)."""

from __future__ import annotations

from plano.config.compiling import compile_plan
from plano.config.settings import load_settings
from plano.config.zero import config_from_environment, find_keys

ORDER = (
    "openai",
    "anthropic",
    "gemini",
    "groq",
    "deepseek",
    "mistral",
    "digitalocean",
    "vercel",
    "openrouter",
    "edenai",
)


def test_without_keys_every_provider_passes_the_clients_credential() -> None:
    providers = config_from_environment({}).config.providers
    assert tuple(provider.prefix for provider in providers) == ORDER
    assert all(provider.wildcard and provider.passthrough_auth for provider in providers)
    assert all(provider.access_key is None for provider in providers)


def test_keyed_providers_come_first() -> None:
    environ = {"EDENAI_API_KEY": "e", "GROQ_API_KEY": "g", "OPENAI_API_KEY": " ", "AI_GATEWAY_API_KEY": "v"}
    assert list(find_keys(environ)) == ["groq", "vercel", "edenai"]
    loaded = config_from_environment(environ)
    found = [(provider.prefix, provider.access_key) for provider in loaded.config.providers]
    assert found[:4] == [("groq", "g"), ("vercel", "v"), ("edenai", "e"), ("openai", None)]
    assert len(found) == len(ORDER)
    assert loaded.path is None


def test_every_key_variable_is_known() -> None:
    names = ["OPENAI", "ANTHROPIC", "GEMINI", "GROQ", "DEEPSEEK", "MISTRAL", "DO", "AI_GATEWAY", "OPENROUTER", "EDENAI"]
    environ = {f"{name}_API_KEY": "k" for name in names}
    assert set(find_keys(environ)) == set(ORDER)


def test_plan_serves_one_local_listener_and_lists_models() -> None:
    plan = compile_plan(config_from_environment({}, port=12345).config, load_settings())
    assert [(x.name, x.type, x.address, x.port) for x in plan.listeners] == [("llm", "model", "127.0.0.1", 12345)]
    ids = [name for name, _ in plan.model_ids]
    assert "openai/gpt-4o" in ids
    assert "gemini/gemini-2.5-pro" in ids
    assert {provider.endpoints[0].path for provider in plan.providers} == {
        "/v1/chat/completions",
        "/v1/messages",
        "/v1beta/openai/chat/completions",
        "/openai/v1/chat/completions",
        "/api/v1/chat/completions",
        "/v3/chat/completions",
    }
