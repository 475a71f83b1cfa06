"""The official SDKs against the provider: it is only worth something if they take it for the real one."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest
from pydantic import BaseModel

from plano.demo.provider import DemoProvider
from tests.providers import DemoProcess

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = [{"role": "user", "content": "What is the weather in Oslo and Rome?"}]


class Mood(BaseModel):
    mood: str
    score: int


@pytest.fixture
def client(running_provider: DemoProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running_provider.url}/v1", api_key="sk-demo", max_retries=0)


@pytest.fixture
def claude(running_provider: DemoProcess) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=running_provider.url, api_key="sk-demo", max_retries=0)


def test_openai_answers_streams_and_counts(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    whole = client.chat.completions.create(model="gpt-4o", messages=messages)
    assert whole.choices[0].message.content.endswith("You said: Hi")
    chunks = list(
        client.chat.completions.create(
            model="gpt-4o", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert whole._request_id.startswith("req_")
    assert "demo-chat" in [model.id for model in client.models.list()]


def test_openai_puts_streamed_tool_calls_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="gpt-4o", messages=QUESTION, tools=[TOOL]) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Oslo", "Rome"]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "cold"} for call in calls]
    history = [*QUESTION, final.choices[0].message.model_dump(exclude_none=True), *results]
    answer = client.chat.completions.create(model="gpt-4o", messages=history, tools=[TOOL])
    assert "cold" in answer.choices[0].message.content


def test_openai_parses_structured_answers(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(
        model="gpt-4o", messages=[{"role": "user", "content": "How are you?"}], response_format=Mood
    )
    assert isinstance(parsed.choices[0].message.parsed, Mood)


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("missing-model", openai.NotFoundError),
        ("demo-fail-401", openai.AuthenticationError),
        ("demo-fail-429", openai.RateLimitError),
        ("demo-fail-503", openai.InternalServerError),
        ("demo-drop", openai.APIConnectionError),
    ],
)
def test_openai_raises_what_it_should(client: openai.OpenAI, model: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])


def test_openai_raises_an_error_found_in_a_stream(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="overloaded"):
        list(
            client.chat.completions.create(
                model="demo-error-mid-2", messages=[{"role": "user", "content": "Hi"}], stream=True
            )
        )


def test_openai_times_out_and_retries_by_itself(running_provider: DemoProcess) -> None:
    client = openai.OpenAI(base_url=f"{running_provider.url}/v1", api_key="k", max_retries=1, timeout=0.3)
    running_provider.queue_faults("gpt-retry", "hang", None)
    answer = client.chat.completions.create(model="gpt-retry", messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].finish_reason == "stop"
    assert len(running_provider.requests(model="gpt-retry")) == 2


async def test_openai_async_streams(provider: DemoProvider) -> None:
    async with openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="k", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text.endswith("You said: Hi")


def test_anthropic_answers_streams_and_calls_tools(claude: anthropic.Anthropic) -> None:
    tool = {"name": "get_weather", "input_schema": TOOL["function"]["parameters"]}
    whole = claude.messages.create(model="claude", max_tokens=99, messages=[{"role": "user", "content": "Hi"}])
    assert whole.content[0].text.endswith("You said: Hi")
    with claude.messages.stream(model="claude", max_tokens=99, messages=QUESTION, tools=[tool]) as stream:
        final = stream.get_final_message()
    assert [block.input for block in final.content] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert final.stop_reason == "tool_use"
    assert next(model.id for model in claude.models.list()) == "demo-chat"


def test_anthropic_raises_what_it_should(claude: anthropic.Anthropic) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="missing-model", max_tokens=9, messages=messages)
    with (
        pytest.raises(anthropic.APIStatusError, match="overloaded"),
        claude.messages.stream(model="demo-error-mid-1", max_tokens=9, messages=messages) as stream,
    ):
        stream.get_final_message()


async def test_anthropic_async_streams(provider: DemoProvider) -> None:
    async with (
        anthropic.AsyncAnthropic(base_url=provider.url, api_key="k", max_retries=0) as client,
        client.messages.stream(model="claude", max_tokens=99, messages=[{"role": "user", "content": "Hi"}]) as stream,
    ):
        text = "".join([piece async for piece in stream.text_stream])
    assert text.endswith("You said: Hi")
