"""What every SDK test runs against: a real cluster of two frontends in front of the demo provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.clusters import ClusterProcess
from tests.conformance.speakers import CLIENTS, UPSTREAMS, ChatSpeaker, MessagesSpeaker, ResponsesSpeaker, Speaker
from tests.providers import DemoProcess

# No retries and no failover but where a name says so: what an SDK sees is then what one attempt gave.
CONFIG = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}, timeout: 20s}
model_providers:
  - {model: openai/gpt-4o, base_url: $DEMO_URL, access_key: sk-upstream, default: true}
  - {model: openai/*, base_url: $DEMO_URL, access_key: sk-upstream, retry_policy: &off {circuit_breaker: {failures: 0}}}
  - {model: mistral/*, base_url: $DEMO_URL, access_key: sk-mistral, retry_policy: *off}
  - {model: groq/*, base_url: $DEMO_URL/v1, access_key: sk-groq, retry_policy: *off}
  - {model: anthropic/*, base_url: $DEMO_URL/v1, access_key: sk-anthropic, retry_policy: *off}
  - {model: chatgpt/*, base_url: $DEMO_URL/v1, access_key: sk-chatgpt, retry_policy: *off}
  - {model: amazon_bedrock/*, base_url: $DEMO_URL, access_key: sk-bedrock, retry_policy: *off}
  - {model: gemini_native/*, base_url: $DEMO_URL/v1beta, access_key: sk-google, retry_policy: *off}
  # No circuits anywhere: the tests of a worker share this cluster, and many of them make upstreams fail.
  # Streams that stand still: given up soon.
  - name: stalls-chat
    model: groq/demo-stall-3
    base_url: $DEMO_URL/v1
    access_key: k
    retry_policy: {idle_timeout: 400ms, circuit_breaker: {failures: 0}}
  - name: stalls-messages
    model: anthropic/demo-stall-3
    base_url: $DEMO_URL/v1
    access_key: k
    retry_policy: {idle_timeout: 400ms, circuit_breaker: {failures: 0}}
  - name: stalls-responses
    model: chatgpt/demo-stall-3
    base_url: $DEMO_URL/v1
    access_key: k
    retry_policy: {idle_timeout: 400ms, circuit_breaker: {failures: 0}}
  - name: stalls-converse
    model: amazon_bedrock/demo-stall-3
    base_url: $DEMO_URL
    access_key: k
    retry_policy: {idle_timeout: 400ms, circuit_breaker: {failures: 0}}
  - name: stalls-gemini
    model: gemini_native/demo-stall-3
    base_url: $DEMO_URL/v1beta
    access_key: k
    retry_policy: {idle_timeout: 400ms, circuit_breaker: {failures: 0}}
  # A chain through all dialects: only the last link answers.
  - model: groq/demo-fail-502
    base_url: $DEMO_URL/v1
    access_key: k
    retry_policy:
      circuit_breaker: {failures: 0}
      fallback_models:
        - anthropic/demo-fail-529
        - chatgpt/demo-error-200
        - amazon_bedrock/demo-drop
        - gemini_native/demo-empty
        - anthropic/last-link
  # The client's own credential, in whatever scheme the upstream has.
  - {name: knows-chat, model: groq/knows-you, base_url: $DEMO_URL/v1, passthrough_auth: true}
  - {name: knows-messages, model: anthropic/knows-you, base_url: $DEMO_URL/v1, passthrough_auth: true}
  - {name: knows-gemini, model: gemini_native/knows-you, base_url: $DEMO_URL/v1beta, passthrough_auth: true}
  - model: groq/broken
    base_url: $DEMO_URL
    access_key: k
    retry_policy: {attempts: 2, backoff: {base: 10ms}, circuit_breaker: {failures: 0}, fallback_models: [openai/gpt-4o]}
model_aliases:
  fast: {target: openai/gpt-4o}
"""


@dataclass(frozen=True)
class Gateway:
    """The cluster and what stands behind it."""

    cluster: ClusterProcess
    provider: DemoProcess

    @property
    def base_url(self) -> str:
        """What an application gives its SDK."""
        return f"{self.cluster.url}/v1"


class Mood(BaseModel):
    """A structured answer."""

    mood: str
    score: int
    reasons: list[str]


def ask(text: str) -> list[Any]:
    """A conversation of one question, as the SDK takes it."""
    return [{"role": "user", "content": text}]


def make_tool(name: str = "get_weather", argument: str = "city") -> Any:
    """A function with one required string argument, as the SDK takes it (strict, so that it may also parse)."""
    schema = {
        "type": "object",
        "properties": {argument: {"type": "string"}},
        "required": [argument],
        "additionalProperties": False,
    }
    function = {"name": name, "description": f"{name} of a {argument}", "parameters": schema, "strict": True}
    return {"type": "function", "function": function}


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """One for all tests of a test process: they tell their requests apart by model names of their own."""
    with (
        DemoProcess.start("--fault", "broken=fail-503") as provider,
        ClusterProcess(CONFIG, {"DEMO_URL": provider.url}, workers=2) as cluster,
    ):
        yield Gateway(cluster, provider)


@pytest.fixture(scope="session")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The SDK without retries of its own."""
    with openai.OpenAI(base_url=gateway.base_url, api_key="sk-client", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
async def async_client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous SDK without retries of its own."""
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key="sk-client", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def claude(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    """Anthropic's SDK without retries of its own."""
    url = gateway.cluster.url
    with anthropic.Anthropic(base_url=url, api_key="sk-ant-client", max_retries=0, timeout=20) as claude:
        yield claude


@pytest.fixture
async def async_claude(gateway: Gateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Anthropic's asynchronous SDK without retries of its own."""
    url = gateway.cluster.url
    async with anthropic.AsyncAnthropic(base_url=url, api_key="sk-ant-client", max_retries=0, timeout=20) as claude:
        yield claude


@pytest.fixture(params=CLIENTS)
def speaker(request: pytest.FixtureRequest, client: openai.OpenAI, claude: anthropic.Anthropic) -> Speaker:
    """Each client dialect in turn."""
    speakers: dict[str, Speaker] = {
        each.name: each for each in (ChatSpeaker(client), MessagesSpeaker(claude), ResponsesSpeaker(client))
    }
    return speakers[request.param]


@pytest.fixture(params=list(UPSTREAMS))
def upstream(request: pytest.FixtureRequest) -> str:
    """Each upstream dialect in turn."""
    return str(request.param)
