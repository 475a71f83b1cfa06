"""The endpoints that hold no conversation, against OpenAI's OpenAPI document and its SDK."""

from __future__ import annotations

import base64
import io
import math
import wave
from typing import Any

import anthropic
import openai
import pytest

from plano.demo.multipart import Upload, parse_form
from plano.demo.prompts import PromptError
from plano.demo.provider import DemoProvider
from tests.demo import openapi
from tests.demo.wire import RawAnswer, exchange
from tests.providers import DemoProcess

FORM = (
    b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\r\n--xy\x00\xff\r\n--xyz--\r\n"
)


@pytest.fixture
def client(running_provider: DemoProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running_provider.url}/v1", api_key="sk-demo", max_retries=0)


async def post(provider: DemoProvider, path: str, schema: str | None = None, **body: Any) -> Any:
    answer = await exchange(provider.url, body, path=path)
    assert answer.status == 200, answer.body
    if schema is not None:
        openapi.check(schema, answer.json)
    return answer.json


async def test_embeddings_are_unit_vectors_in_both_encodings(provider: DemoProvider) -> None:
    body = {"model": "embed", "input": ["Hello", "World", "Hello"], "dimensions": 8}
    answer = await post(provider, "/v1/embeddings", "CreateEmbeddingResponse", **body)
    first, second, third = (each["embedding"] for each in answer["data"])
    assert first == third != second
    assert math.isclose(sum(each * each for each in first), 1.0)
    assert answer["usage"]["prompt_tokens"] > 0
    encoded = await post(provider, "/v1/embeddings", **body, encoding_format="base64")
    assert len(base64.b64decode(encoded["data"][0]["embedding"])) == 8 * 4


async def test_completions_continue_and_stream(provider: DemoProvider) -> None:
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi", "n": 2}
    answer = await post(provider, "/v1/completions", "CreateCompletionResponse", **body)
    assert answer["choices"][0]["text"].endswith("You said: Hi")
    streamed = await exchange(provider.url, body | {"stream": True}, path="/v1/completions")
    *chunks, done = streamed.events
    assert done == "[DONE]"
    texts = ["", ""]
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == [choice["text"] for choice in answer["choices"]]


async def test_moderations_flag_violence(provider: DemoProvider) -> None:
    body = {"input": ["be nice", "I will kill the process"]}
    answer = await post(provider, "/v1/moderations", "CreateModerationResponse", **body)
    assert [result["flagged"] for result in answer["results"]] == [False, True]
    assert answer["model"] == "omni-moderation-latest"


async def test_images_are_pngs_of_the_prompts_colour(provider: DemoProvider) -> None:
    body = {"model": "gpt-image-1", "prompt": "A cat", "n": 2}
    answer = await post(provider, "/v1/images/generations", "ImagesResponse", **body)
    first, second = (base64.b64decode(each["b64_json"]) for each in answer["data"])
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert first != second


async def test_rerank_puts_the_best_first(provider: DemoProvider) -> None:
    documents = ["about dogs", {"text": "all about cats"}, "nothing"]
    body = {"model": "rerank", "query": "about cats", "documents": documents, "top_n": 2, "return_documents": True}
    results = (await post(provider, "/v1/rerank", **body))["results"]
    assert [(each["index"], each["relevance_score"]) for each in results] == [(1, 1.0), (0, 0.5)]
    assert results[0]["document"] == {"text": "all about cats"}


async def transcribe(provider: DemoProvider, *fields: tuple[str, str]) -> RawAnswer:
    extra = b"".join(
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields
    )
    return await exchange(
        provider.url,
        extra + FORM,
        path="/v1/audio/transcriptions",
        headers={"Content-Type": "multipart/form-data; boundary=xyz"},
    )


async def test_transcriptions_read_the_form_and_say_what_came(provider: DemoProvider) -> None:
    plain = await transcribe(provider)
    openapi.check("CreateTranscriptionResponseJson", plain.json)
    assert plain.json["text"].startswith("You sent a.wav, 12 bytes")
    verbose = await transcribe(provider, ("response_format", "verbose_json"))
    openapi.check("CreateTranscriptionResponseVerboseJson", verbose.json)
    text = await transcribe(provider, ("response_format", "text"))
    assert text.headers["content-type"].startswith("text/plain")
    assert text.body.decode().strip() == plain.json["text"]
    assert (await transcribe(provider, ("response_format", "vtt"))).body.startswith(b"WEBVTT\n")
    streamed = await transcribe(provider, ("stream", "true"))
    for event in streamed.events[:-1]:
        openapi.check("TranscriptTextDeltaEvent", event)
    openapi.check("TranscriptTextDoneEvent", streamed.events[-1])
    assert "".join(event["delta"] for event in streamed.events[:-1]) == plain.json["text"]


async def test_speech_is_audio_as_long_as_the_text(provider: DemoProvider) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": "one two three"}
    spoken = await exchange(provider.url, body | {"response_format": "wav"}, path="/v1/audio/speech")
    assert spoken.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(spoken.body)) as audio:
        assert audio.getnframes() == 3 * 1200
    mp3 = await exchange(provider.url, body, path="/v1/audio/speech")
    assert mp3.headers["content-type"] == "audio/mpeg"
    assert len(mp3.body) == 3 * 96
    streamed = await exchange(provider.url, body | {"stream_format": "sse"}, path="/v1/audio/speech")
    assert b"".join(base64.b64decode(event["audio"]) for event in streamed.events[:-1]) == mp3.body
    openapi.check("SpeechAudioDoneEvent", streamed.events[-1])


async def test_tokens_of_messages_are_counted_as_the_answer_counts_them(provider: DemoProvider) -> None:
    body = {"model": "claude", "messages": [{"role": "user", "content": "Hi there"}], "system": "Be kind."}
    counted = await post(provider, "/v1/messages/count_tokens", **body)
    answered = await post(provider, "/v1/messages", **body, max_tokens=9)
    assert counted == {"input_tokens": answered["usage"]["input_tokens"]}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {"model": "m"}, "input"),
        ("/v1/embeddings", {"model": "m", "input": []}, "input"),
        ("/v1/embeddings", {"model": "m", "input": "x", "encoding_format": "hex"}, "encoding_format"),
        ("/v1/embeddings", {"input": "x"}, "model"),
        ("/v1/completions", {"model": "m"}, "prompt"),
        ("/v1/moderations", {"input": [1.5]}, "input"),
        ("/v1/moderations", {"input": "x", "model": 1}, "model"),
        ("/v1/images/generations", {"model": "m", "prompt": ""}, "prompt"),
        ("/v1/images/generations", {"model": "m", "prompt": "x", "n": 99}, "n"),
        ("/v1/rerank", {"model": "m", "query": "x", "documents": []}, "documents"),
        ("/v1/rerank", {"model": "m", "query": "x", "documents": [1]}, "documents[0]"),
        ("/v1/audio/speech", {"model": "m", "input": "x"}, "voice"),
        ("/v1/audio/speech", {"model": "m", "input": "x", "voice": "a", "response_format": "midi"}, "response_format"),
        ("/v1/audio/transcriptions", {"model": "m", "file": "x"}, "file"),
    ],
)
async def test_a_bad_body_is_refused_and_the_fault_named(
    provider: DemoProvider, path: str, body: dict[str, Any], param: str
) -> None:
    answer = await exchange(provider.url, body, path=path)
    assert answer.status == 400, answer.body
    openapi.check("ErrorResponse", answer.json)
    assert answer.json["error"]["param"] == param


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/completions", "/v1/rerank", "/v1/audio/speech", "/v1/responses"]
)
async def test_faults_are_the_same_everywhere(provider: DemoProvider, path: str) -> None:
    body = {"input": "x", "prompt": "x", "voice": "alloy", "query": "x", "documents": ["x"]}
    failed = await exchange(provider.url, body | {"model": "demo-fail-503-after-2"}, path=path)
    assert (failed.status, failed.headers["retry-after"]) == (503, "2")
    openapi.check("ErrorResponse", failed.json)
    cut = await exchange(provider.url, body | {"model": "demo-truncate"}, path=path)
    assert (cut.status, cut.complete) == (200, False)
    assert (await exchange(provider.url, body | {"model": "missing"}, path=path)).status == 404


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", FORM),
        ("multipart/form-data; boundary=abc", FORM),
        ("multipart/form-data; boundary=xyz", FORM[:-6]),
        ("multipart/form-data; boundary=xyz", b"--xyz\r\nno headers\r\n--xyz--"),
        ("multipart/form-data; boundary=xyz", b"--xyz\r\nContent-Type: a\r\n\r\nx\r\n--xyz--"),
        ("multipart/form-data; boundary=xyz", b""),
    ],
)
def test_a_broken_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(PromptError):
        parse_form(content_type, body)


def test_a_form_keeps_its_files_byte_for_byte() -> None:
    fields = parse_form('multipart/form-data; boundary="xyz"', FORM)
    assert fields == {"model": "whisper-1", "file": Upload("a.wav", b"RIFF\r\n--xy\x00\xff")}


def test_the_sdks_take_all_of_it(client: openai.OpenAI, running_provider: DemoProcess) -> None:
    assert len(client.embeddings.create(model="m", input="Hi").data[0].embedding) == 256
    assert client.completions.create(model="m", prompt="Hi").choices[0].text.endswith("You said: Hi")
    assert not client.moderations.create(input="Hi").results[0].flagged
    assert client.images.generate(model="m", prompt="Hi").data[0].b64_json
    assert "a.wav" in client.audio.transcriptions.create(model="m", file=("a.wav", b"RIFF")).text
    assert "a.wav" in client.audio.translations.create(model="m", file=("a.wav", b"RIFF")).text
    assert client.audio.speech.create(model="m", voice="alloy", input="Hi").content.startswith(b"\xff\xf3")
    claude = anthropic.Anthropic(base_url=running_provider.url, api_key="k", max_retries=0)
    assert claude.messages.count_tokens(model="m", messages=[{"role": "user", "content": "Hi"}]).input_tokens > 0


def test_the_sdk_assembles_a_streamed_response(client: openai.OpenAI) -> None:
    tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": False}
    question = "What is the weather in Oslo and Rome?"
    with client.responses.stream(model="demo-think", input=question, tools=[tool]) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "function_call", "function_call"]
    whole = client.responses.create(model="demo-think", input="Hi")
    assert whole.output_text.endswith("You said: Hi")
