"""Whatever a request body holds, the provider answers or refuses it; it never breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plano.demo.answers import compose_answer
from plano.demo.anthropic import AnthropicDialect
from plano.demo.dialect import Dialect
from plano.demo.openai import OpenAIDialect
from plano.demo.prompts import PromptError
from plano.demo.provider import DemoProvider

FUNCTION = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "weather"}, IMAGE]},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "cold"},
        {"role": "user", "content": "and the weather in Rome?"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"required": ["a"]}}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["x"],
    "max_tokens": 10,
    "n": 2,
}
MESSAGES: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 10,
    "system": [{"type": "text", "text": "Be kind."}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "weather"}, {"type": "image", "source": {}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "cold"}]},
        {"role": "user", "content": "the weather in Rome"},
    ],
    "tools": [{"name": "get_weather", "input_schema": FUNCTION["parameters"]}],
    "tool_choice": {"type": "auto"},
    "stop_sequences": ["x"],
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
}
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "text", "name", "content", "properties", "required"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


def list_paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(each for key, inner in items for each in list_paths(inner, (*path, key)))]


def replace(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replace(value[path[0]], path[1:], new)
    return copy


def answer(dialect: Dialect, body: dict[str, Any]) -> None:
    try:
        prompt = dialect.parse_prompt(body)
        composed = compose_answer(prompt)
    except PromptError:
        return
    assert dialect.render_answer(prompt, composed)
    assert list(dialect.render_events(prompt, composed))[-1].kind == "done"


@given(st.sampled_from(list_paths(CHAT)[1:]), ANYTHING)
@example(("tools", 0, "function", "parameters"), {"type": "object", "properties": 5})
@example(("tools", 0, "function", "parameters", "properties"), {"city": 5})
def test_no_chat_completion_request_breaks_it(path: tuple[Any, ...], new: Any) -> None:
    answer(OpenAIDialect(), replace(CHAT, path, new))


@given(st.sampled_from(list_paths(MESSAGES)[1:]), ANYTHING)
def test_no_messages_request_breaks_it(path: tuple[Any, ...], new: Any) -> None:
    answer(AnthropicDialect(), replace(MESSAGES, path, new))


@pytest.mark.parametrize(("dialect", "body"), [(OpenAIDialect(), CHAT), (AnthropicDialect(), MESSAGES)])
def test_the_bodies_these_tests_start_from_are_good(dialect: Dialect, body: dict[str, Any]) -> None:
    assert compose_answer(dialect.parse_prompt(body)).choices[0].calls


async def test_a_client_that_waits_for_100_continue_gets_it(provider: DemoProvider) -> None:
    port = int(provider.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
