"""Thinking: shown to every client in its own way, and given back to the model that thought it, signature and all."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from plano.demo.signatures import sign_text
from tests.conformance.conftest import Gateway
from tests.conformance.speakers import Speaker, model_at

WAYS = {
    "chat": {"reasoning_effort": "low"},
    "messages": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4096},
    "responses": {
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    },
}
_NO_PLACE = ("messages", "gemini", ("get_weather",))
THOUGHT = "The user said 'Hi'. I will greet them and repeat it."


def make_request(speaker: Speaker, model: str, text: str = "Hi", tools: tuple[str, ...] = ()) -> dict[str, Any]:
    """A request that asks for thinking."""
    return {**speaker.ask(model, text, tools=tools), **WAYS[speaker.name]}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_thinking_comes_before_the_text(speaker: Speaker, upstream: str, stream: bool) -> None:
    request = make_request(speaker, model_at(upstream, "demo-think", speaker))
    reading = speaker.read(speaker.stream(request) if stream else speaker.create(request))
    assert reading.thinking == THOUGHT
    assert reading.text.endswith("You said: Hi")
    assert reading.stop == "end"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("tools", [(), ("get_weather",)], ids=["text", "tools"])
def test_a_signature_goes_back_to_the_model_that_made_it(
    speaker: Speaker, upstream: str, stream: bool, tools: tuple[str, ...], gateway: Gateway
) -> None:
    # Of Amazon's models, Anthropic's take their reasoning back.
    model = f"demo-think-claude-{speaker.name}-{upstream}-{stream}-{len(tools)}"
    question = "What is the weather in Oslo and Rome?" if tools else "Hi"
    request = make_request(speaker, model_at(upstream, model, speaker), question, tools)
    first = speaker.stream(request) if stream else speaker.create(request)
    thought = speaker.read(first).thinking
    # The provider refuses a signature that is not its own, or not of this text.
    if tools:
        then = speaker.follow(request, first, ("cold", "warm"))
    else:
        then = speaker.follow(request, first, text="And now?")
    assert speaker.read(speaker.stream(then) if stream else speaker.create(then)).stop == "end"
    # Chat completions upstreams have no signatures, chat clients no place to keep one, and Anthropic's calls have none
    # for those of Gemini's calls.
    if upstream != "chat" and speaker.name != "chat" and (speaker.name, upstream, tools) != _NO_PLACE:
        assert sign_text(thought) in str(gateway.provider.wait_for_request(model)["body"])


@pytest.mark.parametrize("upstream", ["messages", "converse", "gemini", "responses"])
def test_anthropics_sdk_gets_blocks_with_signatures(claude: anthropic.Anthropic, upstream: str) -> None:
    with claude.messages.stream(
        model=model_at(upstream, "demo-think"),
        max_tokens=4096,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": "Hi"}],
    ) as stream:
        kinds = [event.type for event in stream if event.type in ("thinking", "signature", "text")]
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert kinds == sorted(kinds, key=["thinking", "signature", "text"].index)
    assert kinds.count("signature") == 1
    assert final.content[0].signature  # type: ignore[union-attr]


def test_a_thinking_block_keeps_its_signature_where_both_sides_are_anthropics(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(
        model="anthropic/demo-think",
        max_tokens=4096,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": "Hi"}],
    )
    assert whole.content[0].signature == sign_text(THOUGHT)  # type: ignore[union-attr]


def test_a_signature_of_one_model_is_not_shown_to_another(speaker: Speaker, upstream: str) -> None:
    """A conversation that changes its model goes on: what only the first can read is left out."""
    for number, other in enumerate(("messages", "converse", "gemini", "responses", "chat")):
        first = speaker.create(make_request(speaker, model_at(upstream, "demo-think", speaker)))
        request = make_request(speaker, model_at(other, f"demo-think-moved-{number}", speaker))
        then = speaker.follow(request, first, text="And now?")
        assert "And now?" in speaker.read(speaker.create(then)).text


@pytest.mark.parametrize("upstream", ["messages", "converse", "gemini"])
async def test_thinking_streams_through_the_asynchronous_sdks(
    async_client: openai.AsyncOpenAI, async_claude: anthropic.AsyncAnthropic, upstream: str
) -> None:
    model = model_at(upstream, "demo-think")
    async with async_client.responses.stream(model=model, input="Hi", reasoning={"effort": "low"}) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert any(kind.startswith("response.reasoning") and kind.endswith(".delta") for kind in kinds)
    async with async_claude.messages.stream(
        model=model, max_tokens=2048, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        message = await stream.get_final_message()
    assert message.content[0].thinking == THOUGHT  # type: ignore[union-attr]
