"""What holds for every conversation, every answer and every pair of dialects."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plano.dialects.assembly import Assembler, events_of
from plano.dialects.conversation import Answer, BadRequest, Conversation, Dropped, Text, Thinking, ToolUse, Turn
from plano.dialects.events import Ended, Event
from tests.dialects.bedrock import check_request, stream
from tests.dialects.conversations import (
    Essence,
    answers,
    any_conversations,
    conversations,
    essence_of,
    marks,
    system_marks,
)

CLIENTS = ("chat", "messages", "responses")
UPSTREAMS = ("chat", "messages", "responses", "converse", "gemini")
MODELS = {
    "chat": "gpt-5.1",
    "messages": "claude-sonnet-4-5",
    "responses": "gpt-5.1",
    "converse": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "gemini": "gemini-2.5-pro",
}
CREATED = 1_700_000_000
TRIALS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def module_of(dialect: str, part: str) -> Any:
    return importlib.import_module(f"plano.dialects.{dialect}.{part}")


def render(conversation: Conversation, dialect: str) -> dict[str, Any]:
    """The request as the upstream reads it: out of its JSON."""
    body = module_of(dialect, "request").render_request(conversation, MODELS[dialect], Dropped())
    parsed = orjson.loads(orjson.dumps(body))
    assert isinstance(parsed, dict)
    return parsed


# -- requests ---------------------------------------------------------------------------------------------------------


@TRIALS
@given(conversation=conversations())
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_no_text_call_or_order_is_lost_on_the_way_to_an_upstream(upstream: str, conversation: Conversation) -> None:
    assert understood(render(conversation, upstream), upstream) == (
        essence_of(conversation),
        system_marks(conversation),
    )


@TRIALS
@given(conversation=conversations())
@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("client", CLIENTS)
def test_no_text_call_or_order_is_lost_between_any_two_dialects(
    client: str, upstream: str, conversation: Conversation
) -> None:
    asked = module_of(client, "request").parse_request(render(conversation, client))
    assert understood(render(asked, upstream), upstream) == (essence_of(conversation), system_marks(conversation))


@TRIALS
@given(conversation=any_conversations())
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_any_conversation_is_rendered_or_refused(upstream: str, conversation: Conversation) -> None:
    with suppress(BadRequest):
        assert render(conversation, upstream)


@TRIALS
@given(conversation=any_conversations())
def test_what_bedrock_gets_fits_the_model_of_the_service(conversation: Conversation) -> None:
    conversation.turns = [turn for turn in conversation.turns if all(fits_base64(block) for block in turn.blocks)]
    try:
        body = render(conversation, "converse")
    except BadRequest:
        return
    check_request(body)


@TRIALS
@given(conversation=any_conversations())
@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_dialect_renders_it_can_parse(client: str, conversation: Conversation) -> None:
    try:
        body = render(conversation, client)
    except BadRequest:
        return
    if conversation.turns:
        module_of(client, "request").parse_request(body)


def fits_base64(block: Any) -> bool:
    """Empty data is the client's mistake, which Bedrock itself tells."""
    return getattr(block, "data", None) != ""


# -- how a request is understood --------------------------------------------------------------------------------------


def understood(body: dict[str, Any], dialect: str) -> tuple[list[Essence], list[str]]:
    """The turns and the system texts of a rendered request."""
    reader = READERS.get(dialect)
    if reader is not None:
        return reader(body)
    parsed = module_of(dialect, "request").parse_request(body)
    return essence_of(parsed), system_marks(parsed)


def read_converse(body: dict[str, Any]) -> tuple[list[Essence], list[str]]:
    check_request(body)
    stretches: list[Essence] = []
    numbers: dict[str, int] = {}
    for message in body["messages"]:
        stretch = Essence(message["role"])
        for block in message["content"]:
            if "text" in block:
                stretch.texts.extend(marks(block["text"]))
            elif "toolUse" in block:
                use = block["toolUse"]
                numbers[use["toolUseId"]] = len(numbers)
                stretch.calls.append((use["name"], use["input"]))
            elif "toolResult" in block:
                texts = [mark for part in block["toolResult"]["content"] for mark in marks(part["text"])]
                stretch.results[numbers[block["toolResult"]["toolUseId"]]] = texts
            elif "image" in block:
                stretch.images += 1
        stretches.append(stretch)
    return stretches, [mark for block in body.get("system", []) for mark in marks(block["text"])]


def read_gemini(body: dict[str, Any]) -> tuple[list[Essence], list[str]]:
    stretches: list[Essence] = []
    calls: list[str | None] = []  # the ids of calls not yet answered, None for those without
    answered = 0
    for content in body["contents"]:
        stretch = Essence("assistant" if content["role"] == "model" else "user")
        for part in content["parts"]:
            if part.get("thought"):
                continue
            if "text" in part:
                stretch.texts.extend(marks(part["text"]))
            elif "functionCall" in part:
                calls.append(part["functionCall"].get("id"))
                stretch.calls.append((part["functionCall"]["name"], part["functionCall"].get("args", {})))
            elif "functionResponse" in part:
                identity = part["functionResponse"].get("id")
                number = calls.index(identity) if identity is not None else answered
                answered += 1
                stretch.results[number] = marks(orjson.dumps(part["functionResponse"]["response"]).decode())
            elif "inlineData" in part:
                stretch.images += 1
        if stretches and stretches[-1].role == stretch.role:
            last = stretches[-1]
            last.texts += stretch.texts
            last.calls += stretch.calls
            last.results.update(stretch.results)
            last.images += stretch.images
        else:
            stretches.append(stretch)
    parts = body.get("systemInstruction", {}).get("parts", [])
    return stretches, [mark for part in parts for mark in marks(part["text"])]


READERS: dict[str, Callable[[dict[str, Any]], tuple[list[Essence], list[str]]]] = {
    "converse": read_converse,
    "gemini": read_gemini,
}


# -- answers and streams ----------------------------------------------------------------------------------------------

ASKED = Conversation("model", [Turn("user", [Text("hi")])], stream=True, include_usage=True)


def kept(answer: Answer) -> tuple[list[str], list[tuple[str, str, Any]], str, Any]:
    """What of an answer must survive: marks of the texts, calls, reasoning and counts."""
    texts = [mark for block in answer.blocks if isinstance(block, Text) for mark in marks(block.text)]
    calls = [
        (block.id, block.name, orjson.loads(block.arguments or "{}"))
        for block in answer.blocks
        if isinstance(block, ToolUse)
    ]
    thought = "".join(block.text for block in answer.blocks if isinstance(block, Thinking))
    return texts, calls, thought, (answer.stop, answer.usage.input, answer.usage.output, answer.usage.cache_read)


def read(dialect: str, data: bytes, cuts: list[int]) -> list[Event]:
    reader = module_of(dialect, "stream").Reader(ASKED)
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(places)]
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + list(reader.end())


def assemble(dialect: str, events: list[Event]) -> Answer:
    assembler = Assembler(dialect)
    for event in events:
        assembler.add(event)
    assert assembler.failed is None
    return assembler.answer()


@TRIALS
@given(answer=answers())
@pytest.mark.parametrize("dialect", CLIENTS)
def test_an_answer_goes_there_and_back(dialect: str, answer: Answer) -> None:
    module = module_of(dialect, "answer")
    body = orjson.loads(orjson.dumps(module.render_answer(answer, ASKED, CREATED)))
    assert kept(module.parse_answer(body)) == kept(answer)


@TRIALS
@given(answer=answers(), cuts=st.lists(st.integers(0, 100_000), max_size=6))
@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_stream_goes_there_and_back_however_it_is_cut(dialect: str, answer: Answer, cuts: list[int]) -> None:
    writer = module_of(dialect, "stream").Writer(ASKED, CREATED)
    data = b"".join(writer.write(event) for event in events_of(answer))
    events = read(dialect, data, cuts)
    assert isinstance(events[-1], Ended)
    assert events == read(dialect, data, [])
    assert kept(assemble(dialect, events)) == kept(answer)


@TRIALS
@given(answer=answers(), cuts=st.lists(st.integers(0, 100_000), max_size=6))
def test_a_stream_of_bedrock_is_read_however_it_is_cut(answer: Answer, cuts: list[int]) -> None:
    data = converse_stream(answer)
    events = read("converse", data, cuts)
    assert events == read("converse", data, [])
    assert kept(assemble("converse", events)) == kept(answer)


@TRIALS
@given(answer=answers(), data=st.data())
@pytest.mark.parametrize("dialect", CLIENTS)
def test_a_stream_that_breaks_is_ended_properly_for_every_client(
    dialect: str, answer: Answer, data: st.DataObject
) -> None:
    """Half a stream of Bedrock through the writers of all dialects: whatever they say, nothing raises."""
    whole = converse_stream(answer)
    part = whole[: data.draw(st.integers(0, len(whole)))]
    writer = module_of(dialect, "stream").Writer(ASKED, CREATED)
    text = b"".join(writer.write(event) for event in read("converse", part, []))
    assert text.endswith(b"\n\n")


def converse_stream(answer: Answer) -> bytes:
    """The answer as ConverseStream sends it."""
    events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(answer.blocks):
        deltas: list[Any] = []
        if isinstance(block, Text):
            deltas = [{"text": piece} for piece in (block.text[:3], block.text[3:])]
        elif isinstance(block, Thinking):
            deltas = [
                {"reasoningContent": {"text": block.text}},
                {"reasoningContent": {"signature": block.signature}},
            ]
        elif isinstance(block, ToolUse):
            start = {"toolUse": {"toolUseId": block.id, "name": block.name}}
            events.append(("contentBlockStart", {"contentBlockIndex": index, "start": start}))
            deltas = [{"toolUse": {"input": piece}} for piece in (block.arguments[:5], block.arguments[5:])]
        events.extend(("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}) for delta in deltas)
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    usage = {
        "inputTokens": answer.usage.input - answer.usage.cache_read,
        "outputTokens": answer.usage.output,
        "cacheReadInputTokens": answer.usage.cache_read,
    }
    reason = {"end": "end_turn"}.get(answer.stop.value, answer.stop.value)
    return stream(*events, ("messageStop", {"stopReason": reason}), ("metadata", {"usage": usage}))
