"""Whatever a request body holds, the provider answers or refuses it; it never breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plano.demo.answers import compose_answer
from plano.demo.anthropic import AnthropicDialect
from plano.demo.converse import ConverseDialect
from plano.demo.dialect import Dialect
from plano.demo.gemini import GeminiDialect
from plano.demo.openai import OpenAIDialect
from plano.demo.prompts import PromptError
from plano.demo.provider import DemoProvider
from plano.demo.resources import EmbeddingsDialect, ModerationsDialect, RerankDialect
from plano.demo.responses import ResponsesDialect
from plano.demo.signatures import sign_text

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
RESPONSES: dict[str, Any] = {
    "model": "demo-think",
    "instructions": "Be kind.",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": ""}]},
        {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": sign_text("x")},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "cold"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "custom", "name": "g"}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": {"required": ["a"]}}},
    "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 5,
    "stream": True,
}
CONVERSE: dict[str, Any] = {
    "model": "demo-think",
    "system": [{"text": "Be kind."}, {"cachePoint": {"type": "default"}}],
    "messages": [
        {"role": "user", "content": [{"text": "x"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "x", "signature": sign_text("x")}}},
                {"toolUse": {"toolUseId": "1", "name": "f", "input": {}}},
            ],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": [{"json": {}}, {"text": "x"}]}}]},
    ],
    "toolConfig": {
        "tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}],
        "toolChoice": {"any": {}},
    },
    "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "stopSequences": ["x"]},
    "outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": "{}"}}}},
    "stream": True,
}
GEMINI: dict[str, Any] = {
    "model": "demo-think",
    "systemInstruction": {"parts": [{"text": "Be kind."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "x"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": sign_text("x")}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}, "parts": []}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "description": "x", "parameters": {"type": "object"}}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {
        "maxOutputTokens": 9,
        "stopSequences": ["x"],
        "candidateCount": 2,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    },
    "stream": True,
}
RESOURCES: tuple[tuple[Dialect, dict[str, Any]], ...] = (
    (EmbeddingsDialect(), {"model": "m", "input": ["x", [1]], "dimensions": 3, "encoding_format": "base64"}),
    (ModerationsDialect(), {"input": [{"type": "text", "text": "x"}]}),
    (RerankDialect(), {"model": "m", "query": "x", "documents": ["x", {"text": "x"}], "top_n": 1}),
)
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


@given(st.sampled_from(list_paths(RESPONSES)[1:]), ANYTHING)
def test_a_responses_request_of_whatever_content_is_answered_or_refused(path: tuple[Any, ...], new: Any) -> None:
    answer(ResponsesDialect(), replace(RESPONSES, path, new))


@given(st.sampled_from(list_paths(CONVERSE)[1:]), ANYTHING)
def test_a_converse_request_of_whatever_content_is_answered_or_refused(path: tuple[Any, ...], new: Any) -> None:
    answer(ConverseDialect(), replace(CONVERSE, path, new))


@given(st.sampled_from(list_paths(GEMINI)[1:]), ANYTHING, st.booleans())
def test_a_gemini_request_of_whatever_content_is_answered_or_refused(
    path: tuple[Any, ...], new: Any, sse: bool
) -> None:
    answer(GeminiDialect(sse), replace(GEMINI, path, new))


@given(st.sampled_from(RESOURCES), st.integers(0, 20), ANYTHING)
def test_other_requests_of_whatever_content_are_answered_or_refused(
    resource: tuple[Dialect, dict[str, Any]], number: int, new: Any
) -> None:
    dialect, body = resource
    paths = list_paths(body)[1:]
    try:
        prompt = dialect.parse_prompt(replace(body, paths[number % len(paths)], new))
    except PromptError:
        return
    assert dialect.render_answer(prompt, compose_answer(prompt))


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (OpenAIDialect(), CHAT),
        (AnthropicDialect(), MESSAGES),
        (ConverseDialect(), CONVERSE),
        (GeminiDialect(), GEMINI),
    ],
)
def test_the_bodies_these_tests_start_from_are_good(dialect: Dialect, body: dict[str, Any]) -> None:
    assert compose_answer(dialect.parse_prompt(body)).choices[0].calls


def test_the_other_bodies_are_good_too() -> None:
    assert compose_answer(ResponsesDialect().parse_prompt(RESPONSES)).choices[0].thoughts
    for dialect, body in RESOURCES:
        prompt = dialect.parse_prompt(body)
        assert dialect.render_answer(prompt, compose_answer(prompt))


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
