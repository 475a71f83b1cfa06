"""generateContent as Google serves it: answers, both forms of stream, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.demo.provider import DemoProvider, start_provider
from tests.demo.wire import RawAnswer, exchange

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": SCHEMA}]}]
CALL = {"functionCall": {"name": "get_weather", "args": {}}}
RESULT = {"functionResponse": {"name": "get_weather", "response": {"output": "cold"}}}


def say(text: str, **more: Any) -> dict[str, Any]:
    return body_of([{"text": text}], **more)


def body_of(*contents: Any, **more: Any) -> dict[str, Any]:
    roles = ("user", "model")
    return {"contents": [{"role": roles[index % 2], "parts": parts} for index, parts in enumerate(contents)], **more}


async def generate(
    provider: DemoProvider, body: Any, model: str = "gemini-2.5-pro", method: str = "generateContent"
) -> RawAnswer:
    return await exchange(provider.url, body, path=f"/v1beta/models/{model}:{method}", headers={"x-goog-api-key": "k"})


async def test_an_answer_counts_and_says_why_it_stopped(provider: DemoProvider) -> None:
    answer = (await generate(provider, say("Hi", systemInstruction={"parts": [{"text": "Be kind."}]}))).json
    (candidate,) = answer["candidates"]
    assert candidate["content"]["parts"][0]["text"].endswith("You said: Hi")
    assert candidate["finishReason"] == "STOP"
    assert answer["modelVersion"] == "gemini-2.5-pro"
    usage = answer["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    cut = (await generate(provider, say("Hi", generationConfig={"maxOutputTokens": 2}))).json["candidates"][0]
    assert (cut["finishReason"], cut["content"]["parts"]) == ("MAX_TOKENS", [{"text": "Hello! I"}])


async def test_both_forms_of_the_stream_say_the_same(provider: DemoProvider) -> None:
    whole = (await generate(provider, say("Hi"))).json["candidates"][0]["content"]["parts"][0]["text"]
    events = (await generate(provider, say("Hi"), method="streamGenerateContent?alt=sse")).events
    array = await generate(provider, say("Hi"), method="streamGenerateContent")
    assert array.headers["content-type"].startswith("application/json")
    for chunks in (events, array.json):
        parts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks]
        assert "".join(parts) == whole
        assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None] * (len(chunks) - 1) + ["STOP"]
        assert len({chunk["responseId"] for chunk in chunks}) == 1


async def test_tools_are_called_whole_and_their_results_used(provider: DemoProvider) -> None:
    body = say("The weather in Oslo and Rome?", tools=TOOLS)
    answer = (await generate(provider, body)).json["candidates"][0]
    calls = answer["content"]["parts"]
    assert [call["functionCall"]["args"] for call in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
    chunks = (await generate(provider, body, method="streamGenerateContent?alt=sse")).events
    assert [chunk["candidates"][0]["content"]["parts"][0] for chunk in chunks[:-1]] == calls
    answered = (await generate(provider, body_of([{"text": "Weather?"}], calls, [RESULT, RESULT], tools=TOOLS))).json
    assert "cold" in answered["candidates"][0]["content"]["parts"][0]["text"]


async def test_googles_own_schemas_are_understood(provider: DemoProvider) -> None:
    own = {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}
    for schema in ({"parameters": own}, {"parameters_json_schema": SCHEMA}):
        tools = [{"functionDeclarations": [{"name": "get_weather", **schema}]}]
        (call,) = (await generate(provider, say("The weather in Oslo?", tools=tools))).json["candidates"][0]["content"][
            "parts"
        ]
        assert call["functionCall"]["args"] == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("config", "calls"),
    [
        ({"mode": "AUTO"}, 0),
        ({"mode": "NONE"}, 0),
        ({"mode": "ANY"}, 1),
        ({"mode": "ANY", "allowedFunctionNames": ["get_weather"]}, 1),
    ],
)
async def test_tool_choice_is_honoured(provider: DemoProvider, config: dict[str, Any], calls: int) -> None:
    body = say("Tell me a story", tools=TOOLS, toolConfig={"functionCallingConfig": config})
    parts = (await generate(provider, body)).json["candidates"][0]["content"]["parts"]
    assert sum("functionCall" in part for part in parts) == calls


async def test_candidates_json_and_images(provider: DemoProvider) -> None:
    several = (await generate(provider, say("Hi", generationConfig={"candidateCount": 2}))).json
    assert [candidate["index"] for candidate in several["candidates"]] == [0, 1]
    config = {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    shaped = (await generate(provider, say("Hi", generationConfig=config))).json
    assert json.loads(shaped["candidates"][0]["content"]["parts"][0]["text"]) == {"city": "demo"}
    image = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    seen = (await generate(provider, body_of([image, {"text": "What?"}]))).json
    assert "(I also see an image.)" in seen["candidates"][0]["content"]["parts"][0]["text"]


async def test_the_cache_is_a_part_of_the_prompt_and_thoughts_are_none_of_the_output(provider: DemoProvider) -> None:
    usage = (await generate(provider, say("Hi"), "demo-usage-5-7")).json["usageMetadata"]
    plain = (await generate(provider, say("Hi"), "demo-usage-0-0")).json["usageMetadata"]
    assert (usage["cachedContentTokenCount"], usage["thoughtsTokenCount"]) == (5, 7)
    assert usage["promptTokenCount"] == plain["promptTokenCount"]
    assert usage["candidatesTokenCount"] == plain["candidatesTokenCount"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contents": []},
        {"contents": "Hi"},
        {"contents": [{"role": "assistant", "parts": [{"text": "Hi"}]}]},
        body_of([]),
        body_of([{}]),
        body_of([{"text": "Hi", "inlineData": {"mimeType": "image/png", "data": "AAAA"}}]),
        body_of([{"text": 1}]),
        body_of([CALL]),
        body_of([{"text": "Hi"}], [CALL]),
        body_of([{"text": "Hi"}], [CALL], [{"text": "And?"}]),
        body_of([{"text": "Hi"}], [CALL], [RESULT, RESULT]),
        body_of([{"text": "Hi"}], [CALL | {"thoughtSignature": "QUJD"}], [RESULT]),
        say("Hi", messages=[]),
        say("Hi", generationConfig={"max_tokens": 1}),
        say("Hi", generationConfig={"temperature": 3}),
        say("Hi", generationConfig={"responseJsonSchema": {}, "stopSequences": ["x"] * 6}),
        say("Hi", systemInstruction="Be kind."),
        say("Hi", tools=[{"functionDeclarations": [{"name": "f", "parameters": {}, "parametersJsonSchema": {}}]}]),
        say("Hi", toolConfig={"functionCallingConfig": {"mode": "ANY"}}),
        say("Hi", tools=TOOLS, toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [{}]}}),
    ],
)
async def test_a_bad_body_is_refused(provider: DemoProvider, body: Any) -> None:
    answer = await generate(provider, body)
    assert answer.status == 400, answer.body
    assert answer.json["error"]["status"] == "INVALID_ARGUMENT"
    assert answer.json["error"]["code"] == 400


@pytest.mark.parametrize(
    ("model", "status", "name"),
    [
        ("missing-model", 404, "NOT_FOUND"),
        ("demo-fail-429", 429, "RESOURCE_EXHAUSTED"),
        ("demo-fail-500", 500, "INTERNAL"),
        ("demo-fail-503", 503, "UNAVAILABLE"),
    ],
)
async def test_failures_have_the_dialects_shape(provider: DemoProvider, model: str, status: int, name: str) -> None:
    answer = await generate(provider, say("Hi"), model)
    assert (answer.status, answer.json["error"]["status"]) == (status, name)


async def test_an_error_in_the_stream_is_a_chunk(provider: DemoProvider) -> None:
    sse = await generate(provider, say("Hi"), "demo-error-mid-2", "streamGenerateContent?alt=sse")
    array = await generate(provider, say("Hi"), "demo-error-mid-2", "streamGenerateContent")
    for chunks in (sse.events, array.json):
        assert len(chunks) == 3
        assert chunks[-1]["error"]["status"] == "UNAVAILABLE"


async def test_models_and_keys() -> None:
    provider = await start_provider(require_key="right")
    try:
        for key, status in (("right", 200), ("wrong", 401)):
            answer = await exchange(provider.url, path="/v1beta/models", method="GET", headers={"x-goog-api-key": key})
            assert answer.status == status
            assert ("models" in answer.json) == (status == 200)
    finally:
        await provider.close()
