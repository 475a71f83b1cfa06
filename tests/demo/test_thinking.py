"""Models that think show it in every dialect, and take back only what they signed; read by the gateway's readers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.demo.provider import DemoProvider
from plano.demo.signatures import is_signature, sign_text
from plano.dialects.assembly import Assembler
from plano.dialects.codecs import UPSTREAMS
from plano.dialects.conversation import (
    Answer,
    Conversation,
    Dropped,
    StopReason,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from plano.dialects.converse.request import converse_path
from plano.dialects.gemini.request import gemini_path
from tests.demo.wire import RawAnswer, exchange

MODEL = "demo-think"
WEATHER = Tool(
    "get_weather",
    "The weather of a city",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
DIALECTS = pytest.mark.parametrize("dialect", list(UPSTREAMS))


def path_of(dialect: str, stream: bool) -> str:
    match dialect:
        case "converse":
            return converse_path(MODEL, stream)
        case "gemini":
            return gemini_path(MODEL, stream)
    return {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}[dialect]


async def ask(provider: DemoProvider, dialect: str, conversation: Conversation) -> RawAnswer:
    body = UPSTREAMS[dialect].render_request(conversation, MODEL, Dropped())
    answer = await exchange(provider.url, body, path=path_of(dialect, conversation.stream))
    assert answer.status == 200, answer.body
    return answer


async def answer_of(provider: DemoProvider, dialect: str, conversation: Conversation) -> Answer:
    conversation.stream = False
    answer: Answer = UPSTREAMS[dialect].parse_answer((await ask(provider, dialect, conversation)).json, conversation)
    return answer


async def streamed_answer(provider: DemoProvider, dialect: str, conversation: Conversation) -> Answer:
    conversation.stream = True
    reader = UPSTREAMS[dialect].make_reader(conversation)
    assembler = Assembler(dialect)
    for event in (*reader.feed((await ask(provider, dialect, conversation)).body), *reader.end()):
        assembler.add(event)
    assert assembler.failed is None
    assert assembler.ended
    return assembler.answer()


def make_conversation(text: str, *more: Turn, tools: bool = False) -> Conversation:
    turns = [Turn("user", [Text(text)]), *more]
    return Conversation(MODEL, turns, tools=[WEATHER] if tools else [], max_tokens=500, include_usage=True)


def spoken(answer: Answer) -> list[tuple[Any, ...]]:
    """What an answer says, without the ids that every answer has of its own."""
    said: list[tuple[Any, ...]] = []
    for block in answer.blocks:
        match block:
            case Text(text) | Thinking(text):
                said.append((type(block), text))
            case ToolUse(_, name, arguments):
                said.append((ToolUse, name, json.loads(arguments)))
    return said


@DIALECTS
async def test_thoughts_come_before_the_text_streamed_and_not(provider: DemoProvider, dialect: str) -> None:
    whole = await answer_of(provider, dialect, make_conversation("Hi"))
    thinking, text = spoken(whole)
    assert thinking == (Thinking, "The user said 'Hi'. I will greet them and repeat it.")
    assert text[0] is Text
    assert text[1].endswith("You said: Hi")
    assert whole.stop is StopReason.END
    assert whole.usage.output > whole.usage.reasoning or dialect in ("messages", "converse")
    assert whole.usage.reasoning in (len(thinking[1].split()), 0)
    streamed = await streamed_answer(provider, dialect, make_conversation("Hi"))
    assert spoken(streamed) == [thinking, text]
    assert streamed.usage == whole.usage


@DIALECTS
async def test_thoughts_go_back_with_the_calls_that_followed_them(provider: DemoProvider, dialect: str) -> None:
    question = "What is the weather in Oslo and Rome?"
    whole = await answer_of(provider, dialect, make_conversation(question, tools=True))
    streamed = await streamed_answer(provider, dialect, make_conversation(question, tools=True))
    assert spoken(streamed) == spoken(whole)
    assert [each[0] for each in spoken(whole)] == [Thinking, ToolUse, ToolUse]
    assert whole.stop is StopReason.TOOL_USE
    results = [ToolResult(block.id, [Text("cold")]) for block in streamed.blocks if isinstance(block, ToolUse)]
    history = make_conversation(question, Turn("assistant", streamed.blocks), Turn("user", list(results)), tools=True)
    answered = await answer_of(provider, dialect, history)
    assert "cold" in spoken(answered)[-1][1]


def test_signatures_are_of_a_text_and_of_nobody_else() -> None:
    assert sign_text("a") == sign_text("a") != sign_text("b")
    assert is_signature(sign_text("é"))
    signatures = [sign_text(str(number)) for number in range(50)]
    assert any("+" in each or "/" in each for each in signatures)
    assert all(is_signature(each.replace("+", "-").replace("/", "_")) for each in signatures)
    for other in ("", "QUJD", "no base64", None, 1, sign_text("a") + "QQ=="):
        assert not is_signature(other)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/messages",
            {
                "max_tokens": 9,
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {
                        "role": "assistant",
                        "content": [{"type": "thinking", "thinking": "b", "signature": sign_text("a")}],
                    },
                    {"role": "user", "content": "Hi"},
                ],
            },
        ),
        (
            "/model/demo-think/converse",
            {
                "messages": [
                    {"role": "user", "content": [{"text": "Hi"}]},
                    {
                        "role": "assistant",
                        "content": [
                            {"reasoningContent": {"reasoningText": {"text": "b", "signature": sign_text("a")}}}
                        ],
                    },
                    {"role": "user", "content": [{"text": "Hi"}]},
                ]
            },
        ),
        (
            "/v1/responses",
            {
                "input": [
                    {"role": "user", "content": "Hi"},
                    {"type": "reasoning", "summary": [], "encrypted_content": "x"},
                ]
            },
        ),
    ],
    ids=["messages", "converse", "responses"],
)
async def test_a_signature_of_another_is_refused(provider: DemoProvider, path: str, body: dict[str, Any]) -> None:
    if not path.startswith("/model/"):
        body = {"model": MODEL, **body}
    answer = await exchange(provider.url, body, path=path)
    assert answer.status == 400
