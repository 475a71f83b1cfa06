"""Every client dialect to every upstream dialect, through the official SDKs: the same question, the same answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.conftest import Gateway
from tests.conformance.speakers import Request, Speaker, model_at, strip_changing

TEXT = 'Tell me of Ümläuts, 🐘 and 日本語 \\n "quotes"\n\n and\ttabs '
TWO_PLACES = "What is the weather in Oslo and Rome?"
Way = Callable[[Speaker, Request], Any]

both_ways = pytest.mark.parametrize("answer", [Speaker.create, Speaker.stream], ids=["whole", "streamed"])


def speak(way: Way, speaker: Speaker, request: Request) -> Any:
    """An answer, whole or assembled from a stream."""
    return getattr(speaker, way.__name__)(request)


@both_ways
def test_text_comes_back_as_it_was_said(speaker: Speaker, upstream: str, answer: Way) -> None:
    reading = speaker.read(speak(answer, speaker, speaker.ask(model_at(upstream, "says", speaker), TEXT)))
    assert reading.text == f"Hello! I am says, a demo model that ships with Plano. You said: {TEXT}"
    assert (reading.thinking, reading.calls, reading.stop) == ("", (), "end")
    assert reading.usage[0] > 0 < reading.usage[1]


@pytest.mark.parametrize(
    ("model", "text", "tools"),
    [
        ("assembles", TEXT, ()),
        ("demo-think-assembles", "Hi", ()),
        ("assembles-calls", TWO_PLACES, ("get_weather",)),
        ("demo-think-calls", TWO_PLACES, ("get_weather",)),
        ("demo-usage-3-5", "Hi", ()),
        ("demo-big-200", "Hi", ()),
    ],
)
def test_what_an_sdk_assembles_from_a_stream_is_the_whole_answer(
    speaker: Speaker, upstream: str, model: str, text: str, tools: tuple[str, ...]
) -> None:
    request = speaker.ask(model_at(upstream, model, speaker), text, tools=tools)
    assert strip_changing(speaker.stream(request)) == strip_changing(speaker.create(request))


def test_a_stream_comes_in_pieces(speaker: Speaker, upstream: str) -> None:
    request = speaker.ask(model_at(upstream, "says", speaker), TEXT)
    pieces = [piece for piece in speaker.read_pieces(request) if piece]
    assert len(pieces) > 10
    assert "".join(pieces) == speaker.read(speaker.create(request)).text


@both_ways
def test_parallel_calls_and_the_turn_that_answers_them(
    speaker: Speaker, upstream: str, answer: Way, gateway: Gateway
) -> None:
    model = f"calls-{speaker.name}-{upstream}-{answer.__name__}"
    request = speaker.ask(model_at(upstream, model, speaker), TWO_PLACES, tools=("get_weather", "get_time"))
    called = speak(answer, speaker, request)
    reading = speaker.read(called)
    assert reading.calls == (("get_weather", {"city": "Oslo"}), ("get_weather", {"city": "Rome"}))
    assert reading.stop == "tools"
    then = speaker.read(speak(answer, speaker, speaker.follow(request, called, ("rain in Oslo", "sun in Rome"))))
    assert "sun in Rome" in then.text
    assert TWO_PLACES in then.text
    assert then.stop == "end"
    sent = str(gateway.provider.wait_for_request(model)["body"])
    assert 0 < sent.index("rain in Oslo") < sent.index("sun in Rome")


@both_ways
def test_images_arrive(speaker: Speaker, upstream: str, answer: Way) -> None:
    request = speaker.ask(model_at(upstream, "sees", speaker), "What is this?", image=True)
    assert "I also see an image" in speaker.read(speak(answer, speaker, request)).text


def test_system_prompts_arrive_as_such(speaker: Speaker, upstream: str, gateway: Gateway) -> None:
    model = f"is-told-{speaker.name}-{upstream}"
    reading = speaker.read(speaker.create(speaker.ask(model_at(upstream, model, speaker), "Hi", system="Be brief, Ω.")))
    assert reading.text.endswith("You said: Hi")
    body = gateway.provider.wait_for_request(model)["body"]
    told = {
        "chat": lambda: body["messages"][0]["content"],
        "messages": lambda: body["system"],
        "responses": lambda: body["instructions"],
        "converse": lambda: body["system"],
        "gemini": lambda: body["systemInstruction"],
    }[upstream]()
    assert "Be brief, Ω." in str(told)


@both_ways
def test_an_answer_cut_by_the_limit_says_so(speaker: Speaker, upstream: str, answer: Way) -> None:
    request = {**speaker.ask(model_at(upstream, "is-cut", speaker), "Hi"), **speaker.limit(3)}
    if upstream == "responses" and speaker.name != "responses":
        pytest.skip("the ChatGPT backend knows no limit")
    reading = speaker.read(speak(answer, speaker, request))
    assert (reading.text, reading.stop, reading.usage[1]) == ("Hello! I am", "limit", 3)


@both_ways
@pytest.mark.parametrize("tools", [(), ("get_weather",)])
def test_usage_is_counted_in_the_clients_own_way(
    speaker: Speaker, upstream: str, answer: Way, tools: tuple[str, ...]
) -> None:
    request = speaker.ask(model_at(upstream, "demo-usage-40-7", speaker), TWO_PLACES, tools=tools)
    seen = speaker.read(speak(answer, speaker, request)).usage
    plain = speaker.read(speaker.create({**request, "model": model_at(upstream, "counts", speaker)})).usage
    read, written, cached, reasoning = seen
    assert cached == 40
    assert read == max(40, plain[0])
    # Anthropic's and Amazon's APIs do not tell how many tokens were thoughts; they count them as output all the same.
    assert reasoning == (7 if upstream in ("chat", "responses", "gemini") else 0)
    assert written > 7


def test_a_conversation_goes_on(speaker: Speaker, upstream: str) -> None:
    request = speaker.ask(model_at(upstream, "goes-on", speaker), "My name is Ada.")
    first = speaker.stream(request)
    second = speaker.read(speaker.create(speaker.follow(request, first, text="And now?")))
    assert second.text == "You said: And now? (This is turn 2 of our conversation.)"
