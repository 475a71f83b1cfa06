"""Streams through the official SDK: what is put together again is what would have come whole."""

from __future__ import annotations

import openai
import pytest

from tests.conformance.conftest import Gateway, Mood, ask


def read_text(stream: openai.Stream[openai.types.chat.ChatCompletionChunk], choice: int = 0) -> str:
    """The text of one choice of a stream, read to the end."""
    return "".join(each.delta.content or "" for chunk in stream for each in chunk.choices if each.index == choice)


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    question = ask('Tell me of Ümläuts, 🐘 and 日本語 \\n "quotes"')
    whole = client.chat.completions.create(model="openai/gpt-4o", messages=question)
    streamed = client.chat.completions.create(model="openai/gpt-4o", messages=question, stream=True)
    assert streamed.response.headers["content-type"].startswith("text/event-stream")
    assert streamed.response.headers["x-plano-model"] == "openai/gpt-4o"
    assert streamed.response.headers["x-plano-attempts"] == "1"
    assert read_text(streamed) == whole.choices[0].message.content


def test_usage_comes_last_when_asked_for_and_only_then(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi"))
    counted = list(
        client.chat.completions.create(
            model="openai/gpt-4o", messages=ask("Hi"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert counted[-1].choices == []
    assert counted[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in counted[:-1])
    plain = list(client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi"), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)


def test_the_stream_helper_assembles_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi"))
    with client.chat.completions.stream(model="openai/gpt-4o", messages=ask("Hi")) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == whole.choices[0].message.content
    assert len(deltas) > 3
    assert final.choices[0].finish_reason == "stop"


def test_a_streamed_structured_answer_is_parsed(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="openai/gpt-4o", messages=ask("How are you?"), response_format=Mood
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Mood)


def test_choices_that_come_interleaved_stay_apart(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi"), n=2)
    chunks = list(client.chat.completions.create(model="openai/gpt-4o", messages=ask("Hi"), n=2, stream=True))
    for index in (0, 1):
        text = "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index)
        assert text == whole.choices[index].message.content


@pytest.mark.parametrize("model", ["demo-comments", "demo-crlf", "demo-no-done", "demo-gzip", "demo-slow-token-30"])
def test_every_way_to_write_a_good_stream_is_understood(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(model=f"openai/{model}", messages=ask("Hi"), stream=True)
    assert read_text(stream).endswith("You said: Hi")


@pytest.mark.parametrize("model", ["demo-cut-3", "demo-reset-3", "demo-error-mid-3"])
def test_a_stream_that_breaks_raises_and_never_just_ends(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(model=f"openai/{model}", messages=ask("Hi"), stream=True)
    words = "".join(next(stream).choices[0].delta.content or "" for _ in range(4))
    assert words == "Hello! I am"
    with pytest.raises(openai.APIError) as raised:
        next(stream)
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["message"]


def test_an_error_before_the_first_token_has_a_status(client: openai.OpenAI) -> None:
    for model in ("demo-error-first", "demo-empty", "demo-done-only", "demo-garbage", "demo-role-then-cut"):
        with pytest.raises(openai.InternalServerError) as raised:
            client.chat.completions.create(model=f"openai/{model}", messages=ask("Hi"), stream=True)
        assert raised.value.status_code == 502, model


def test_a_stream_whose_every_event_arrived_is_whole(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="openai/demo-truncate", messages=ask("Hi"), stream=True)
    assert read_text(stream).endswith("You said: Hi")  # what is missing comes after [DONE]


def test_a_stream_that_is_closed_early_is_cancelled_upstream(client: openai.OpenAI, gateway: Gateway) -> None:
    stream = client.chat.completions.create(model="openai/demo-chunks-2000-20", messages=ask("Hi"), stream=True)
    next(iter(stream))
    stream.close()
    entry = gateway.provider.wait_for_request("demo-chunks-2000-20", disconnected=True)
    assert entry["chunks"] < 500


def test_the_first_token_does_not_wait_for_the_last(client: openai.OpenAI, gateway: Gateway) -> None:
    stream = client.chat.completions.create(model="openai/demo-stall-2", messages=ask("Hi"), stream=True)
    words = [next(stream).choices[0].delta.content for _ in range(3)]
    assert "".join(words) == "Hello! I"
    assert gateway.provider.wait_for_request("demo-stall-2")["completed"] is False
    stream.close()
