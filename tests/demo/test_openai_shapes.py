"""Chat completions against OpenAI's own OpenAPI document, and what the answers say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.demo.provider import DemoProvider, start_provider
from tests.demo import openapi
from tests.demo.wire import chat_body, exchange

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
        },
    },
}
CLOCK_TOOL = {"type": "function", "function": {"name": "read_clock", "parameters": {"type": "object"}}}


def ask(text: str, **more: Any) -> dict[str, Any]:
    return chat_body("gpt-4o", messages=[{"role": "user", "content": text}], **more)


async def chat(provider: DemoProvider, body: dict[str, Any]) -> dict[str, Any]:
    answer = await exchange(provider.url, body)
    assert answer.status == 200, answer.body
    openapi.check("CreateChatCompletionResponse", answer.json)
    return answer.json


async def stream(provider: DemoProvider, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await exchange(provider.url, body | {"stream": True})
    assert answer.status == 200
    assert answer.complete
    assert answer.headers["content-type"].startswith("text/event-stream")
    *chunks, done = answer.events
    assert done == "[DONE]"
    for chunk in chunks:
        openapi.check("CreateChatCompletionStreamResponse", chunk)
    return chunks


async def test_an_answer_greets_names_its_model_and_echoes(provider: DemoProvider) -> None:
    answer = await chat(provider, ask("Tell me “a story” – 你好"))
    (choice,) = answer["choices"]
    assert answer["model"] == "gpt-4o"
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"].startswith("Hello! I am gpt-4o")
    assert choice["message"]["content"].endswith("You said: Tell me “a story” – 你好")
    usage = answer["usage"]
    assert usage["completion_tokens"] == len(choice["message"]["content"].split())
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_the_same_question_has_the_same_answer_and_ids_of_its_own(provider: DemoProvider) -> None:
    first, second = [await chat(provider, ask("Hi there")) for _ in range(2)]
    assert first["id"] != second["id"]
    assert first["choices"] == second["choices"]
    assert first["usage"] == second["usage"]


async def test_a_stream_says_what_the_answer_says_in_one_chunk_per_token(provider: DemoProvider) -> None:
    whole = await chat(provider, ask("Hi there"))
    chunks = await stream(provider, ask("Hi there", stream_options={"include_usage": True}))
    opening, *content, closing, usage = chunks
    assert opening["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert (
        "".join(chunk["choices"][0]["delta"]["content"] for chunk in content)
        == whole["choices"][0]["message"]["content"]
    )
    assert closing["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"] == whole["usage"]
    assert usage["usage"]["completion_tokens"] == len(content)
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_a_stream_keeps_its_usage_to_itself_unless_asked(provider: DemoProvider) -> None:
    assert all("usage" not in chunk for chunk in await stream(provider, ask("Hi")))


async def test_a_tool_is_called_when_the_question_asks_for_it(provider: DemoProvider) -> None:
    answer = await chat(provider, ask("What is the weather in Paris?", tools=[WEATHER_TOOL, CLOCK_TOOL]))
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris", "unit": "celsius"}


async def test_two_places_make_two_parallel_calls_and_their_arguments_stream(provider: DemoProvider) -> None:
    question = ask("What is the weather in Paris and New York?", tools=[WEATHER_TOOL])
    chunks = await stream(provider, question)
    arguments: dict[int, str] = {}
    names = {}
    for chunk in chunks:
        for part in chunk["choices"][0]["delta"].get("tool_calls", []):
            names.setdefault(part["index"], (part.get("id"), part["function"].get("name")))
            arguments[part["index"]] = arguments.get(part["index"], "") + part["function"]["arguments"]
    assert [json.loads(each)["city"] for each in arguments.values()] == ["Paris", "New York"]
    assert {name for _, name in names.values()} == {"get_weather"}
    assert len({call_id for call_id, _ in names.values()}) == 2
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    single = await chat(provider, question | {"parallel_tool_calls": False})
    assert len(single["choices"][0]["message"]["tool_calls"]) == 1


@pytest.mark.parametrize(
    ("question", "choice", "called"),
    [
        ("What is the weather in Paris?", "none", []),
        ("Tell me a story", "auto", []),
        ("Tell me a story", "required", ["get_weather"]),
        ("Use read_clock", "required", ["read_clock"]),
        ("Tell me a story", {"type": "function", "function": {"name": "read_clock"}}, ["read_clock"]),
        ("Read the clock and get weather", "auto", ["get_weather"]),
        ("Call read_clock and get_weather", "auto", ["get_weather", "read_clock"]),
    ],
)
async def test_tool_choice_is_honoured(provider: DemoProvider, question: str, choice: Any, called: list[str]) -> None:
    answer = await chat(provider, ask(question, tools=[WEATHER_TOOL, CLOCK_TOOL], tool_choice=choice))
    calls = answer["choices"][0]["message"].get("tool_calls", [])
    assert [call["function"]["name"] for call in calls] == called


async def test_a_tool_result_is_used_in_the_answer(provider: DemoProvider) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    answer = await chat(
        provider,
        ask("-", tools=[WEATHER_TOOL])
        | {
            "messages": [
                {"role": "user", "content": "What is the weather in Paris?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees and sunny"},
            ]
        },
    )
    assert "22 degrees and sunny" in answer["choices"][0]["message"]["content"]


async def test_several_choices_differ_and_stream_interleaved(provider: DemoProvider) -> None:
    answer = await chat(provider, ask("Hi", n=3))
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert len(set(texts)) == 3
    streamed = ["", "", ""]
    order = []
    for chunk in await stream(provider, ask("Hi", n=3)):
        (choice,) = chunk["choices"]
        streamed[choice["index"]] += choice["delta"].get("content") or ""
        order.append(choice["index"])
    assert streamed == texts
    assert order[:6] == [0, 1, 2, 0, 1, 2]


async def test_stop_and_max_tokens_end_an_answer(provider: DemoProvider) -> None:
    stopped = (await chat(provider, ask("Hi", stop=["You said"])))["choices"][0]
    assert stopped["finish_reason"] == "stop"
    assert stopped["message"]["content"].endswith("ships with Plano. ")
    for key in ("max_tokens", "max_completion_tokens"):
        cut = await chat(provider, ask("Hi", **{key: 3}))
        assert cut["choices"][0]["message"]["content"] == "Hello! I am"
        assert cut["choices"][0]["finish_reason"] == "length"
        assert cut["usage"]["completion_tokens"] == 3


async def test_images_are_seen(provider: DemoProvider) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "What is this?"}, part, part]
    answer = await chat(provider, chat_body("gpt-4o", messages=[{"role": "user", "content": content}]))
    assert "You said: What is this? (I also see 2 images.)" in answer["choices"][0]["message"]["content"]


async def test_json_is_answered_when_json_is_asked_for(provider: DemoProvider) -> None:
    plain = await chat(provider, ask("Answer in JSON", response_format={"type": "json_object"}))
    assert "Answer in JSON" in json.loads(plain["choices"][0]["message"]["content"])["answer"]
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}, "score": {"type": "integer", "minimum": 5}},
        "required": ["mood", "score"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "mood", "schema": schema, "strict": True}}
    shaped = await chat(provider, ask("How are you?", response_format=wanted))
    assert json.loads(shaped["choices"][0]["message"]["content"]) == {"mood": "good", "score": 5}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "tool", "content": "22"}]}, "messages[0].tool_call_id"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tools": [CLOCK_TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/no"}}}},
            "response_format",
        ),
    ],
)
async def test_a_bad_body_is_refused_and_the_fault_named(
    provider: DemoProvider, change: dict[str, Any], param: str
) -> None:
    answer = await exchange(provider.url, chat_body("gpt-4o") | change)
    assert answer.status == 400
    openapi.check("ErrorResponse", answer.json)
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.json["error"]["param"] == param


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe"])
async def test_a_body_that_is_no_json_object_is_refused(provider: DemoProvider, body: bytes) -> None:
    answer = await exchange(provider.url, body)
    assert answer.status == 400
    openapi.check("ErrorResponse", answer.json)


async def test_missing_models_and_paths_are_not_found(provider: DemoProvider) -> None:
    missing = await exchange(provider.url, chat_body("missing-model"))
    assert missing.status == 404
    openapi.check("ErrorResponse", missing.json)
    assert missing.json["error"]["code"] == "model_not_found"
    for method, path in [("POST", "/v1/nothing"), ("GET", "/v1/chat/completions"), ("POST", "/v1/models")]:
        answer = await exchange(provider.url, path=path, method=method)
        assert answer.status == 404
        openapi.check("ErrorResponse", answer.json)


async def test_a_required_key_is_required() -> None:
    provider = await start_provider(require_key="sk-right")
    try:
        for headers in ({}, {"Authorization": "Bearer sk-wrong"}, {"Authorization": "Basic sk-right"}):
            refused = await exchange(provider.url, chat_body("gpt-4o"), headers=headers)
            assert refused.status == 401
            openapi.check("ErrorResponse", refused.json)
            assert refused.json["error"]["code"] == "invalid_api_key"
        for path, key in [("/v1/chat/completions", "Authorization"), ("/v1/models", "authorization")]:
            method = "POST" if path.endswith("completions") else "GET"
            let_in = await exchange(
                provider.url, chat_body("gpt-4o"), path=path, method=method, headers={key: "Bearer sk-right"}
            )
            assert let_in.status == 200
    finally:
        await provider.close()


async def test_models_are_listed_and_health_is_told(provider: DemoProvider) -> None:
    models = await exchange(provider.url, path="/v1/models", method="GET")
    openapi.check("ListModelsResponse", models.json)
    assert "demo-chat" in {model["id"] for model in models.json["data"]}
    assert (await exchange(provider.url, path="/healthz", method="GET")).status == 200


async def test_a_path_prefix_makes_no_difference(provider: DemoProvider) -> None:
    answer = await exchange(provider.url, chat_body("gpt-4o"), path="/openai/v1/chat/completions?api-version=1")
    assert answer.status == 200
