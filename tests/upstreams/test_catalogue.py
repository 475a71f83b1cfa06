"""The catalogue of providers: who speaks what, where and with which key; and the snapshot of their models."""

from __future__ import annotations

import pytest

from plano.config.plan import EndpointPlan
from plano.upstreams.catalogue import catalogue, find_provider, list_models, resolve_provider
from plano.upstreams.quirks import PROVIDER_QUIRKS
from tests.config.files import plan_provider

CLIENTS = ("chat", "messages", "responses")
NEEDS_BASE_URL = {"plano", "qwen", "azure_openai", "amazon_bedrock", "ollama"}
VERSION = (("anthropic-version", "2023-06-01"),)
AZURE_PATH = "/openai/deployments/{model}/chat/completions?api-version=2025-01-01-preview"

# For each client: the dialect it is called in, the URL, the header of the key.
OPENAI_LIKE = {
    "groq": "https://api.groq.com/openai/v1/chat/completions",
    "mistral": "https://api.mistral.ai/v1/chat/completions",
    "deepseek": "https://api.deepseek.com/v1/chat/completions",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
    "together_ai": "https://api.together.xyz/v1/chat/completions",
    "moonshotai": "https://api.moonshot.ai/v1/chat/completions",
    "zhipu": "https://open.bigmodel.cn/api/paas/v4/chat/completions",
    "xiaomi": "https://api.xiaomimimo.com/v1/chat/completions",
    "digitalocean": "https://inference.do-ai.run/v1/chat/completions",
    "openrouter": "https://openrouter.ai/api/v1/chat/completions",
    "edenai": "https://api.edenai.run/v3/chat/completions",
    "plano": "https://h.test/v1/chat/completions",
    "qwen": "https://h.test/compatible-mode/v1/chat/completions",
    "ollama": "https://h.test/v1/chat/completions",
}
Called = tuple[str, str, str]
OPENAI: Called = ("chat", "https://api.openai.com/v1/chat/completions", "bearer")
XAI: Called = ("chat", "https://api.x.ai/v1/chat/completions", "bearer")
CLAUDE: Called = ("messages", "https://api.anthropic.com/v1/messages", "x-api-key")
CODEX: Called = ("responses", "https://chatgpt.com/backend-api/codex/responses", "bearer")
AZURE: Called = ("chat", f"https://h.test{AZURE_PATH}", "api-key")
BEDROCK: Called = ("converse", "https://h.test/model/{model}/converse", "bearer")
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models/{model}"
GEMINI: Called = ("gemini", f"{GOOGLE}:generateContent", "x-goog-api-key")
CALLS: dict[str, tuple[Called, Called, Called]] = {
    **{prefix: (("chat", url, "bearer"),) * 3 for prefix, url in OPENAI_LIKE.items()},
    "openai": (OPENAI, OPENAI, ("responses", "https://api.openai.com/v1/responses", "bearer")),
    "xai": (XAI, XAI, ("responses", "https://api.x.ai/v1/responses", "bearer")),
    "vercel": (
        ("chat", "https://ai-gateway.vercel.sh/v1/chat/completions", "bearer"),
        ("messages", "https://ai-gateway.vercel.sh/v1/messages", "x-api-key"),
        ("responses", "https://ai-gateway.vercel.sh/v1/responses", "bearer"),
    ),
    "anthropic": (CLAUDE, CLAUDE, CLAUDE),
    "chatgpt": (CODEX, CODEX, CODEX),
    "azure_openai": (AZURE, AZURE, AZURE),
    "amazon_bedrock": (BEDROCK, BEDROCK, BEDROCK),
    "gemini_native": (GEMINI, GEMINI, GEMINI),
}


def called(prefix: str, client: str) -> tuple[str, EndpointPlan]:
    """The origin and endpoint that a client of a dialect reaches through a provider."""
    base = {"base_url": "https://h.test"} if prefix in NEEDS_BASE_URL else {}
    provider = plan_provider(model=f"{prefix}/m", access_key="k", **base)
    assert (provider.port, provider.authority) == (443, provider.host)
    return f"{provider.scheme}://{provider.host}", provider.endpoint_for(client)


def test_every_provider_is_in_these_tests() -> None:
    assert set(CALLS) == set(catalogue())


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("prefix", CALLS)
def test_where_and_how_a_client_reaches_a_provider(prefix: str, client: str) -> None:
    origin, endpoint = called(prefix, client)
    assert (endpoint.dialect, origin + endpoint.path, endpoint.auth) == CALLS[prefix][CLIENTS.index(client)]
    assert endpoint.headers == (VERSION if endpoint.dialect == "messages" else ())
    if endpoint.dialect not in ("converse", "gemini"):
        assert endpoint.stream_path == endpoint.path


def test_streams_have_paths_of_their_own_where_the_dialect_says_so() -> None:
    assert called("amazon_bedrock", "chat")[1].stream_path == "/model/{model}/converse-stream"
    assert called("gemini_native", "chat")[1].stream_path == "/v1beta/models/{model}:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("alias", [alias for entry in catalogue().values() for alias in entry.aliases])
def test_an_alias_is_called_like_its_provider(alias: str) -> None:
    entry = find_provider(alias)
    assert entry is not None
    base = {"base_url": "https://h.test"} if entry.needs_base_url else {}
    assert (
        plan_provider(model=f"{alias}/m", **base).endpoints
        == plan_provider(model=f"{entry.prefix}/m", **base).endpoints
    )


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("google", "gemini"),
        ("google_native", "gemini_native"),
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


def test_an_unknown_provider_is_called_like_its_interface_and_a_known_one_like_itself() -> None:
    assert resolve_provider("acme", "groq") is find_provider("groq")
    assert resolve_provider("xai", "groq") is find_provider("xai")
    assert resolve_provider("acme", None) is None


def test_names_are_unique_and_addresses_are_hosts() -> None:
    names = [name for entry in catalogue().values() for name in (entry.prefix, *entry.aliases)]
    assert len(names) == len(set(names))
    for entry in catalogue().values():
        assert "/" not in entry.host
        assert entry.host or entry.needs_base_url
        assert entry.dialects
        assert all(endpoint.path.startswith("/") for endpoint in entry.list_endpoints())


def test_every_quirk_of_the_catalogue_exists() -> None:
    assert {name for entry in catalogue().values() for name in entry.quirks} == set(PROVIDER_QUIRKS)


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
        ("gemini_native", "gemini-2.5-pro"),
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
