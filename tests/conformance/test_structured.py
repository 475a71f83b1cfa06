"""Structured output, asked for as each SDK does it, of every upstream dialect."""

from __future__ import annotations

import json

import anthropic
import openai
import pytest

from tests.conformance.conftest import Mood, ask
from tests.conformance.speakers import UPSTREAMS, model_at

QUESTION = ask("How are you?")


def test_chat_completions_are_parsed(client: openai.OpenAI, upstream: str) -> None:
    model = model_at(upstream, "feels")
    answer = client.chat.completions.parse(model=model, messages=QUESTION, response_format=Mood)
    assert isinstance(answer.choices[0].message.parsed, Mood)
    with client.chat.completions.stream(model=model, messages=QUESTION, response_format=Mood) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed


def test_responses_are_parsed(client: openai.OpenAI, upstream: str) -> None:
    model = model_at(upstream, "feels")
    answer = client.responses.parse(model=model, input=QUESTION, text_format=Mood)
    assert isinstance(answer.output_parsed, Mood)
    with client.responses.stream(model=model, input=QUESTION, text_format=Mood) as stream:
        assert stream.get_final_response().output_parsed == answer.output_parsed


def test_messages_are_parsed(claude: anthropic.Anthropic, upstream: str) -> None:
    model = model_at(upstream, "feels")
    answer = claude.messages.parse(model=model, max_tokens=999, messages=QUESTION, output_format=Mood)
    assert isinstance(answer.parsed_output, Mood)
    with claude.messages.stream(model=model, max_tokens=999, messages=QUESTION, output_format=Mood) as stream:
        assert stream.get_final_message().parsed_output == answer.parsed_output


@pytest.mark.parametrize("upstream", ["chat", "responses", "gemini"])
def test_json_mode_gives_json_where_the_upstream_has_one(client: openai.OpenAI, upstream: str) -> None:
    answer = client.chat.completions.create(
        model=model_at(upstream, "feels"), messages=QUESTION, response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


async def test_the_asynchronous_sdks_parse_too(
    async_client: openai.AsyncOpenAI, async_claude: anthropic.AsyncAnthropic
) -> None:
    for upstream in UPSTREAMS:
        model = model_at(upstream, "feels")
        chat = await async_client.chat.completions.parse(model=model, messages=QUESTION, response_format=Mood)
        response = await async_client.responses.parse(model=model, input=QUESTION, text_format=Mood)
        message = await async_claude.messages.parse(model=model, max_tokens=999, messages=QUESTION, output_format=Mood)
        assert chat.choices[0].message.parsed == response.output_parsed == message.parsed_output
