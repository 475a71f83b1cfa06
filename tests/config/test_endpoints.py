"""Where and how a provider entry is called: base URLs, queries, credentials, regions (spec 3.2, 3.4)."""

from __future__ import annotations

from typing import Any

import pytest

from plano.config.plan import ProviderPlan
from tests.config.files import plan, plan_provider, refuse, small, with_provider

AZURE = "azure_openai/m"
AZURE_QUERY = "?api-version=2025-01-01-preview"
BEDROCK = {"model": "amazon_bedrock/m", "base_url": "https://bedrock-runtime.us-east-1.amazonaws.com"}


def url(provider: ProviderPlan, client: str = "chat", stream: bool = False) -> str:
    endpoint = provider.endpoint_for(client)
    path = endpoint.stream_path if stream else endpoint.path
    return f"{provider.scheme}://{provider.authority}{path}"


def like(interface: str, model: str = "custom/m", base_url: str = "http://h") -> dict[str, Any]:
    return {"model": model, "base_url": base_url, "provider_interface": interface}


@pytest.mark.parametrize(
    ("keys", "called"),
    [
        ({"model": "plano/m", "base_url": "http://h:8000"}, "http://h:8000/v1/chat/completions"),
        ({"model": "qwen/m", "base_url": "https://h"}, "https://h/compatible-mode/v1/chat/completions"),
        ({"model": "ollama/m", "base_url": "http://h:11434"}, "http://h:11434/v1/chat/completions"),
        ({"model": "ollama/m", "base_url": "http://h/"}, "http://h/v1/chat/completions"),
        ({"model": "openai/m", "base_url": "https://h/api/v2"}, "https://h/api/v2/chat/completions"),
        ({"model": "openai/m", "base_url": "https://h/api/v2/"}, "https://h/api/v2/chat/completions"),
        ({"model": "openai/m", "base_url": "https://h/v1?team=a"}, "https://h/v1/chat/completions?team=a"),
        ({"model": "openai/m", "base_url": "HTTP://[::1]:9000/v1"}, "http://[::1]:9000/v1/chat/completions"),
        ({"model": "openai/m", "base_url": "https://h/schöner"}, "https://h/sch%C3%B6ner/chat/completions"),
        ({"model": "groq/m", "base_url": "https://h/v1"}, "https://h/v1/chat/completions"),
        ({"model": "zhipu/m", "base_url": "https://h/api/coding/v4"}, "https://h/api/coding/v4/chat/completions"),
        (like("openai"), "http://h/v1/chat/completions"),
        (like("groq"), "http://h/openai/v1/chat/completions"),
        (like("anthropic"), "http://h/v1/messages"),
        (like("chatgpt"), "http://h/backend-api/codex/responses"),
        (like("openai", "perplexity/m"), "http://h/chat/completions"),
        (like("openai", "perplexity/m", "http://h/v9"), "http://h/v9/chat/completions"),
        ({**like("openai", "sonar/m"), "name": "perplexity/s"}, "http://h/chat/completions"),
    ],
)
def test_base_url_says_where_a_provider_is(keys: dict[str, Any], called: str) -> None:
    assert url(plan_provider(**keys)) == called
    assert url(plan_provider(**keys), stream=True) == called


@pytest.mark.parametrize(
    ("base_url", "chat", "messages", "responses"),
    [
        (None, "/v1/chat/completions", "/v1/messages", "/v1/responses"),
        ("https://h/ai", "/ai/chat/completions", "/ai/messages", "/ai/responses"),
        ("https://h/ai?a=1", "/ai/chat/completions?a=1", "/ai/messages?a=1", "/ai/responses?a=1"),
    ],
)
def test_the_base_url_holds_for_every_dialect(base_url: str | None, chat: str, messages: str, responses: str) -> None:
    provider = plan_provider(model="vercel/m", **({"base_url": base_url} if base_url else {}))
    paths = [provider.endpoint_for(client).path for client in ("chat", "messages", "responses")]
    assert paths == [chat, messages, responses]


@pytest.mark.parametrize(
    ("base_url", "base_path", "query"),
    [
        ("https://h", "/openai/deployments/{model}", AZURE_QUERY),
        ("https://h/x", "/x/{model}", AZURE_QUERY),
        ("https://h?api-version=2024-06-01", "/openai/deployments/{model}", "?api-version=2024-06-01"),
    ],
)
def test_azure_names_the_deployment_in_the_path(base_url: str, base_path: str, query: str) -> None:
    provider = plan_provider(model=AZURE, base_url=base_url)
    assert provider.endpoint_for("messages").path == f"{base_path}/chat/completions{query}"
    assert (provider.base_path, provider.base_query) == (base_path, query)


@pytest.mark.parametrize(
    ("keys", "path", "query"),
    [
        ({"model": "openai/m"}, "/v1", ""),
        ({"model": "groq/m"}, "/openai/v1", ""),
        ({"model": "openai/m", "base_url": "https://h/api/v2/"}, "/api/v2", ""),
        ({"model": "openai/m", "base_url": "https://h/api/v2?a=b"}, "/api/v2", "?a=b"),
        (like("openai", "perplexity/m"), "", ""),
    ],
)
def test_plain_endpoints_are_beside_the_others(keys: dict[str, Any], path: str, query: str) -> None:
    provider = plan_provider(**keys)
    assert (provider.base_path, provider.base_query) == (path, query)


def test_gemini_in_its_own_dialect() -> None:
    for keys in (
        {"model": "gemini_native/m", "base_url": "https://h"},
        {"model": "google_native/m", "base_url": "https://h/v1beta"},
        like("gemini_native", base_url="https://h"),
    ):
        provider = plan_provider(**keys)
        assert url(provider) == "https://h/v1beta/models/{model}:generateContent"
        assert url(provider, stream=True) == "https://h/v1beta/models/{model}:streamGenerateContent?alt=sse"
    keyed = plan_provider(model="gemini_native/m", base_url="https://h/v1?key=k")
    assert url(keyed, stream=True) == "https://h/v1/models/{model}:streamGenerateContent?alt=sse&key=k"


# -- credentials


@pytest.mark.parametrize(
    ("keys", "auth"),
    [
        ({"access_key": "0123abcd"}, "api-key"),
        ({}, "api-key"),
        ({"passthrough_auth": True}, "api-key"),
        ({"access_key": "eyJ0eXAiOiJKV1Qi.eyJhdWQiOiJo.c2ln-_"}, "bearer"),
    ],
)
def test_azure_takes_keys_and_tokens_in_different_headers(keys: dict[str, Any], auth: str) -> None:
    assert plan_provider(model=AZURE, base_url="https://h", **keys).endpoints[0].auth == auth


@pytest.mark.parametrize(
    ("keys", "variables", "auth", "region"),
    [
        ({}, {}, "sigv4", "us-east-1"),
        ({"access_key": "k"}, {}, "bearer", "us-east-1"),
        ({"passthrough_auth": True}, {}, "bearer", "us-east-1"),
        ({"headers": {"Authorization": "Bearer k"}}, {}, "bearer", "us-east-1"),
        ({}, {"AWS_REGION": "eu-west-1"}, "sigv4", "us-east-1"),
        ({"region": "eu-west-3"}, {"AWS_REGION": "eu-west-1"}, "sigv4", "eu-west-3"),
        ({"base_url": "http://h"}, {}, "bearer", None),
        ({"base_url": "http://h", "region": "eu-west-3"}, {}, "sigv4", "eu-west-3"),
        ({"base_url": "http://h"}, {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "x"}, "sigv4", "eu-west-1"),
        ({"base_url": "http://h"}, {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-1"}, "sigv4", "eu-west-1"),
        (
            {"base_url": "https://tunnel", "http_host": "bedrock-runtime.eu-west-1.amazonaws.com"},
            {},
            "sigv4",
            "eu-west-1",
        ),
        (like("amazon_bedrock", base_url=BEDROCK["base_url"]), {}, "sigv4", "us-east-1"),
    ],
)
def test_bedrock_calls_are_signed_where_there_is_no_key(
    keys: dict[str, Any], variables: dict[str, str], auth: str, region: str | None
) -> None:
    provider = plan(small(model_providers=[{**BEDROCK, **keys}]), variables).providers[0]
    assert [endpoint.dialect for endpoint in provider.endpoints] == ["converse"]
    assert (provider.endpoints[0].auth, provider.region) == (auth, region)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime-fips.us-east-2.amazonaws.com", "us-east-2"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock-runtime.eu-central-1.api.aws", "eu-central-1"),
        ("vpce-0a1-b2.bedrock-runtime.ap-south-1.vpce.amazonaws.com", "ap-south-1"),
        ("Bedrock-Runtime.EU-West-1.amazonaws.com", "eu-west-1"),
        ("bedrock-runtime.us-east-1.amazonaws.com.evil.test", None),
        ("bedrock-runtime.amazonaws.com", None),
        ("proxy.internal", None),
    ],
)
def test_the_region_stands_in_the_address_of_bedrock(host: str, region: str | None) -> None:
    assert plan_provider(model="amazon/m", base_url=f"https://{host}").region == region


def test_a_bedrock_key_is_found_in_the_environment() -> None:
    data = small(model_providers=[BEDROCK])
    provider = plan(data, {"AWS_BEARER_TOKEN_BEDROCK": " bedrock-key "}).providers[0]
    assert (provider.access_key, provider.endpoints[0].auth) == ("bedrock-key", "bearer")
    own = small(model_providers=[{**BEDROCK, "access_key": "own"}])
    assert plan(own, {"AWS_BEARER_TOKEN_BEDROCK": "other"}).providers[0].access_key == "own"
    passing = small(model_providers=[{**BEDROCK, "passthrough_auth": True}])
    assert plan(passing, {"AWS_BEARER_TOKEN_BEDROCK": "other"}).providers[0].access_key is None


def test_aws_variables_do_not_concern_other_providers() -> None:
    variables = {"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "eu-west-1"}
    provider = plan(with_provider(model="ollama/m", base_url="http://h"), variables).providers[1]
    assert (provider.access_key, provider.region) == (None, None)


def test_a_region_is_a_name() -> None:
    (problem,) = refuse(with_provider(**BEDROCK, region="us east"))
    assert "region" in str(problem)


# -- behaviour


def test_what_is_known_of_a_provider_holds_for_those_like_it() -> None:
    assert not plan_provider(model="mistral/m").usage_in_streams
    assert not plan_provider(**like("mistral")).usage_in_streams
    assert plan_provider(**like("openai")).usage_in_streams
    assert plan_provider(**like("xai")).quirks == plan_provider(model="xai/m").quirks == ("no_web_search_options",)
    assert plan_provider(**like("openai")).quirks == ()
