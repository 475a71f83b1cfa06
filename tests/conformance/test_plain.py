"""Endpoints that are passed through by model name, through the official SDKs."""

from __future__ import annotations

import asyncio
import base64
import hashlib

import anthropic
import openai
import pytest

from tests.conformance.conftest import Gateway, ask

SOUND = bytes(range(256)) * 4_000  # 1 MB


def test_texts_are_embedded(client: openai.OpenAI, gateway: Gateway) -> None:
    raw = client.embeddings.with_raw_response.create(model="mistral/embed-1", input=["one", "two"], dimensions=64)
    answer = raw.parse()
    assert raw.headers["x-plano-model"] == "mistral/embed-1"
    assert answer.model == "embed-1"
    assert [len(each.embedding) for each in answer.data] == [64, 64]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    received = gateway.provider.wait_for_request("embed-1")
    assert received["path"] == "/v1/embeddings"
    assert received["headers"]["authorization"] == "Bearer sk-mistral"
    # The SDK asks for base64 of its own accord, and that must arrive.
    assert received["body"]["encoding_format"] == "base64"


async def test_many_are_embedded_at_once_and_not_mixed_up(async_client: openai.AsyncOpenAI) -> None:
    async def embed(text: str) -> list[float]:
        answer = await async_client.embeddings.create(model="mistral/embed-2", input=text, dimensions=8)
        return answer.data[0].embedding

    texts = [f"text {number % 10}" for number in range(40)]
    vectors = await asyncio.gather(*map(embed, texts))
    assert len({tuple(vector) for vector in vectors}) == 10
    assert all(vector == vectors[number % 10] for number, vector in enumerate(vectors))


def test_a_large_batch_passes(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="openai/embed-3", input=["x"] * 500, dimensions=1024)
    assert len(answer.data) == 500


def test_a_prompt_is_completed(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="openai/gpt-3.5-turbo-instruct", prompt="Once upon")
    assert answer.object == "text_completion"
    assert answer.choices[0].text.endswith("You said: Once upon")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_a_completion_streams_to_the_same_text(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="openai/instruct-2", prompt="Once upon")
    chunks = list(
        client.completions.create(
            model="openai/instruct-2", prompt="Once upon", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage


def test_a_completion_without_a_question_for_usage_gets_none(client: openai.OpenAI, gateway: Gateway) -> None:
    chunks = list(client.completions.create(model="openai/instruct-3", prompt="Hi", stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert "stream_options" not in gateway.provider.wait_for_request("instruct-3")["body"]


@pytest.mark.parametrize("fault", ["cut-2", "error-mid-2"])
def test_a_broken_completion_never_looks_whole(client: openai.OpenAI, fault: str) -> None:
    stream = client.completions.create(model=f"openai/demo-{fault}", prompt="Hi", stream=True)
    with pytest.raises(openai.APIError):
        list(stream)


def test_texts_are_moderated(client: openai.OpenAI) -> None:
    answer = client.moderations.create(model="openai/omni-moderation-latest", input=["I will kill you", "Hi"])
    assert [result.flagged for result in answer.results] == [True, False]


def test_moderation_without_a_model_keeps_the_providers_choice(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input="Hi")
    assert answer.model == "omni-moderation-latest"


def test_images_are_made(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="openai/gpt-image-1", prompt="A cat", n=2)
    assert answer.data is not None
    images = [base64.b64decode(image.b64_json or "") for image in answer.data]
    assert all(image.startswith(b"\x89PNG") for image in images)
    assert len(set(images)) == 2


@pytest.mark.parametrize(("kind", "media"), [("mp3", "audio/mpeg"), ("wav", "audio/wav"), ("pcm", "audio/pcm")])
def test_texts_are_spoken(client: openai.OpenAI, kind: str, media: str) -> None:
    text = "How do you do? " * 200
    with client.audio.speech.with_streaming_response.create(
        model="openai/tts-1", voice="alloy", input=text, response_format=kind
    ) as answer:
        assert answer.headers["content-type"] == media
        spoken = b"".join(answer.iter_bytes())
    assert (
        spoken
        == client.audio.speech.create(model="openai/tts-1", voice="alloy", input=text, response_format=kind).read()
    )
    assert len(spoken) > 50_000


@pytest.mark.parametrize("endpoint", ["transcriptions", "translations"])
def test_a_file_is_heard_as_it_was_sent(client: openai.OpenAI, gateway: Gateway, endpoint: str) -> None:
    resource = getattr(client.audio, endpoint)
    answer = resource.create(model=f"mistral/hears-{endpoint}", file=("speech.mp3", SOUND))
    digest = hashlib.sha256(SOUND).hexdigest()[:8]
    assert answer.text == f"You sent speech.mp3, {len(SOUND)} bytes that hash to {digest}."
    received = gateway.provider.wait_for_request(f"hears-{endpoint}")
    assert received["path"] == f"/v1/audio/{endpoint}"


@pytest.mark.parametrize("kind", ["text", "srt", "vtt"])
def test_a_transcript_need_not_be_json(client: openai.OpenAI, kind: str) -> None:
    answer = client.audio.transcriptions.create(
        model="openai/whisper-1", file=("speech.mp3", SOUND), response_format=kind
    )
    assert f"You sent speech.mp3, {len(SOUND)} bytes" in str(answer)


async def test_a_transcript_streams(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.audio.transcriptions.create(
        model="openai/gpt-4o-transcribe", file=("speech.mp3", SOUND), stream=True
    )
    events = [event async for event in stream]
    assert events[-1].type == "transcript.text.done"
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert "".join(deltas) == events[-1].text


def test_documents_are_ranked(client: openai.OpenAI) -> None:
    body = {"model": "mistral/rerank-1", "query": "red apple", "documents": ["green pear", "red apple"]}
    answer: object = client.post("/rerank", body=body, cast_to=object)
    assert isinstance(answer, dict)
    assert [result["index"] for result in answer["results"]] == [1, 0]


def test_tokens_are_counted(claude: anthropic.Anthropic, gateway: Gateway) -> None:
    answer = claude.messages.count_tokens(model="anthropic/claude-counts", messages=ask("one two three"))
    assert answer.input_tokens > 0
    received = gateway.provider.wait_for_request("claude-counts")
    assert received["path"] == "/v1/messages/count_tokens"
    assert received["headers"]["x-api-key"] == "sk-anthropic"


def test_tokens_of_a_provider_that_cannot_count_are_refused(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="does not serve /messages/count_tokens"):
        claude.messages.count_tokens(model="mistral/m", messages=ask("Hi"))
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.count_tokens(model="nowhere/m", messages=ask("Hi"))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("fail-400", openai.BadRequestError),
        ("fail-401", openai.AuthenticationError),
        ("fail-429", openai.RateLimitError),
        ("fail-500", openai.InternalServerError),
        ("empty", openai.InternalServerError),
        ("error-200", openai.InternalServerError),
        ("drop", openai.InternalServerError),
    ],
)
def test_errors_have_their_class(client: openai.OpenAI, fault: str, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        client.embeddings.create(model=f"openai/demo-{fault}", input="Hi")
    with pytest.raises(expected):
        client.audio.transcriptions.create(model=f"openai/demo-{fault}", file=("speech.mp3", SOUND))


def test_another_model_takes_over(client: openai.OpenAI) -> None:
    raw = client.embeddings.with_raw_response.create(model="groq/broken", input="Hi")
    assert raw.headers["x-plano-model"] == "openai/gpt-4o"
    assert raw.headers["x-plano-attempts"] == "3"
    assert raw.parse().model == "gpt-4o"
