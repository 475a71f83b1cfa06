"""Converse as Bedrock serves it: answers, frames, and what it refuses."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from plano.demo.provider import DemoProvider, start_provider
from plano.dialects.converse.eventstream import Frame, FrameDecoder
from tests.demo.wire import RawAnswer, exchange

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}]}
PNG = b64encode(b"\x89PNG").decode()
CALL = {"toolUse": {"toolUseId": "a", "name": "get_weather", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "a", "content": [{"text": "cold"}]}}


def body_of(*contents: Any, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]
    return {"messages": messages or [{"role": "user", "content": [{"text": "Hi"}]}], **more}


async def converse(
    provider: DemoProvider, body: Any, model: str = "anthropic.claude-v1%3A0", operation: str = "converse"
) -> RawAnswer:
    return await exchange(provider.url, body, path=f"/model/{model}/{operation}")


def read_frames(data: bytes) -> list[Frame]:
    decoder = FrameDecoder()
    decoder.add(data)
    frames = []
    while (frame := decoder.take()) is not None:
        frames.append(frame)
    return frames


async def test_an_answer_counts_and_says_why_it_stopped(provider: DemoProvider) -> None:
    answer = (await converse(provider, body_of(system=[{"text": "Be kind."}]))).json
    (block,) = answer["output"]["message"]["content"]
    assert block["text"].startswith("Hello! I am anthropic.claude-v1:0,")
    assert answer["stopReason"] == "end_turn"
    usage = answer["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    cut = (await converse(provider, body_of(inferenceConfig={"maxTokens": 2}))).json
    assert (cut["stopReason"], cut["output"]["message"]["content"]) == ("max_tokens", [{"text": "Hello! I"}])
    stopped = (await converse(provider, body_of(inferenceConfig={"stopSequences": ["demo"]}))).json
    assert stopped["stopReason"] == "stop_sequence"


async def test_cached_tokens_stand_beside_the_input(provider: DemoProvider) -> None:
    usage = (await converse(provider, body_of(), "demo-usage-5-0")).json["usage"]
    assert usage["cacheReadInputTokens"] == 5
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] + 5


async def test_a_stream_is_of_frames_in_order(provider: DemoProvider) -> None:
    answer = await converse(provider, body_of(), operation="converse-stream")
    assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
    frames = read_frames(answer.body)
    assert {frame.text(":message-type") for frame in frames} == {"event"}
    names = [frame.text(":event-type") for frame in frames]
    count = names.count("contentBlockDelta")
    assert names == [
        "messageStart",
        *["contentBlockDelta"] * count,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    deltas = [json.loads(frame.payload)["delta"]["text"] for frame in frames[1 : count + 1]]
    whole = (await converse(provider, body_of())).json
    assert "".join(deltas) == whole["output"]["message"]["content"][0]["text"]
    assert json.loads(frames[-1].payload)["usage"] == whole["usage"]


async def test_tools_are_called_and_their_results_used(provider: DemoProvider) -> None:
    body = body_of([{"text": "The weather in Oslo and Rome?"}], toolConfig=TOOLS)
    answer = (await converse(provider, body)).json
    calls = answer["output"]["message"]["content"]
    assert [call["toolUse"]["input"] for call in calls] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert answer["stopReason"] == "tool_use"
    frames = read_frames((await converse(provider, body, operation="converse-stream")).body)
    inputs: dict[int, str] = {}
    for frame in frames:
        if frame.text(":event-type") == "contentBlockDelta":
            delta = json.loads(frame.payload)
            index = delta["contentBlockIndex"]
            inputs[index] = inputs.get(index, "") + delta["delta"]["toolUse"]["input"]
    assert [json.loads(each) for each in inputs.values()] == [{"city": "Oslo"}, {"city": "Rome"}]
    results = [
        {"toolResult": {"toolUseId": call["toolUse"]["toolUseId"], "content": [{"json": {"sky": "clear"}}]}}
        for call in calls
    ]
    answered = (await converse(provider, body_of([{"text": "Weather?"}], calls, results, toolConfig=TOOLS))).json
    assert '{"sky":"clear"}' in answered["output"]["message"]["content"][0]["text"]


async def test_images_and_documents_are_seen(provider: DemoProvider) -> None:
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    document = {"document": {"format": "pdf", "name": "Report 1", "source": {"bytes": PNG}}}
    answer = (await converse(provider, body_of([image, document, {"text": "What?"}]))).json
    assert "(I also see an image.)" in answer["output"]["message"]["content"][0]["text"]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [{"role": "assistant", "content": [{"text": "Hi"}]}]},
        {"messages": [{"role": "user", "content": [{"text": "Hi"}]}] * 2},
        body_of("Hi"),
        body_of([]),
        body_of([{"text": ""}]),
        body_of([{"type": "text", "text": "Hi"}]),
        body_of([{"image": {"format": "png", "source": {"url": "https://x"}}}]),
        body_of([{"image": {"format": "image/png", "source": {"bytes": PNG}}}]),
        body_of([{"image": {"format": "png", "source": {"bytes": "no base64"}}}]),
        body_of([{"document": {"format": "pdf", "name": "a.pdf", "source": {"bytes": PNG}}}]),
        body_of([{"text": "Hi"}], [CALL], [{"text": "And?"}], toolConfig=TOOLS),
        body_of([{"text": "Hi"}], [CALL], [RESULT]),
        body_of([{"text": "Hi"}], [CALL, CALL], [RESULT], toolConfig=TOOLS),
        body_of([{"text": "Hi"}], [{"text": "Ok"}], [RESULT], toolConfig=TOOLS),
        body_of([{"text": "Hi"}], [CALL], toolConfig=TOOLS),
        body_of(toolConfig={"tools": []}),
        body_of(toolConfig={"tools": [{"toolSpec": {"name": "a b", "inputSchema": {"json": SCHEMA}}}]}),
        body_of(toolConfig=TOOLS | {"toolChoice": {"tool": {"name": "x"}}}),
        body_of(toolConfig=TOOLS | {"toolChoice": {"none": {}}}),
        body_of(inferenceConfig={"temperature": 2}),
        body_of(system="Be kind."),
        body_of(temperature=1),
        b"{",
    ],
)
async def test_a_bad_body_is_refused(provider: DemoProvider, body: Any) -> None:
    answer = await converse(provider, body)
    assert answer.status == 400, answer.body
    assert answer.headers["x-amzn-errortype"] == "ValidationException"
    assert set(answer.json) == {"message"}


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [
        ("missing-model", 404, "ResourceNotFoundException"),
        ("demo-fail-429", 429, "ThrottlingException"),
        ("demo-fail-500", 500, "InternalServerException"),
        ("demo-fail-503", 503, "ServiceUnavailableException"),
    ],
)
async def test_failures_have_the_dialects_shape(provider: DemoProvider, model: str, status: int, kind: str) -> None:
    answer = await converse(provider, body_of(), model)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (status, kind)


async def test_an_error_in_the_stream_is_an_exception_frame(provider: DemoProvider) -> None:
    answer = await converse(provider, body_of(), "demo-error-mid-2", "converse-stream")
    *frames, error = read_frames(answer.body)
    assert len(frames) == 3
    assert error.text(":message-type") == "exception"
    assert error.text(":exception-type") == "serviceUnavailableException"


async def test_keys_come_as_bearer_or_in_a_signature() -> None:
    provider = await start_provider(require_key="AKID")
    try:
        signed = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host"
        for header, status in (("Bearer AKID", 200), (signed, 200), ("Bearer x", 401), ("AWS4-HMAC-SHA256 x", 401)):
            answer = await exchange(
                provider.url, body_of(), path="/model/m/converse", headers={"Authorization": header}
            )
            assert answer.status == status
    finally:
        await provider.close()
