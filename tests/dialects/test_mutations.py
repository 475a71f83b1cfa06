"""Golden files with something wrong in them: no translator raises anything but what it says it raises."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from functools import cache
from pathlib import Path
from struct import pack, unpack_from
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import BadAnswer, BadRequest, Conversation, Dropped, Text, Turn
from plano.dialects.custom_tools import restore
from plano.dialects.events import Ended, Event, Failed, UsageKnown
from plano.dialects.responses.request import check_portable

GOLDEN = Path(__file__).parent / "golden"
CREATED = 1_700_000_000
TRIALS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
MODELS = {
    "chat": "gpt-5.1",
    "messages": "claude-sonnet-4-5",
    "responses": "gpt-5.1",
    "converse": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "gemini": "gemini-2.5-pro",
}
# How a whole stream ends, and one that failed.
ENDS = {
    ("chat", True): ["data: [DONE]"],
    ("chat", False): ["data: [DONE]"],
    ("messages", True): ["event: message_stop"],
    ("messages", False): ["event: error"],
    ("responses", True): ["event: response.completed", "event: response.incomplete", "event: response.failed"],
    ("responses", False): ["event: response.failed", "event: error"],
}
# What JSON can hold where something else belongs: the limits of numbers, and all that has no hash, length or order.
ODD = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1.5, 2**31, 2**63 - 1, 2**64 - 1, -(2**63), 1e308),
        *("", "x", "auto", "\x00", "é🐘\u2028", "{}", "[]", "{", "data:;,", "https://example.com/a.png"),
        *([], [None], [[]], [{}], ["a", 1], {}, {"type": "text"}, {"type": None}, {"type": "text", "text": "hi"}),
    ]
).map(deepcopy)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a document."""
    found: list[tuple[Any, Any]] = []
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found.extend(places(inner))
    return found


@st.composite
def broken(draw: st.DrawFn, document: Any) -> Any:
    """`document` with up to three things changed, left out, doubled or added."""
    value = deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        all_places = places(value)
        if not all_places:
            break
        container, key = draw(st.sampled_from(range(len(all_places))).map(all_places.__getitem__))
        kind = draw(st.sampled_from(["change", "change", "change", "remove", "wrap", "double", "add"]))
        if kind == "change":
            container[key] = draw(ODD)
        elif kind == "remove":
            del container[key]
        elif kind == "wrap":
            container[key] = draw(st.sampled_from([[container[key]], {"type": container[key]}]))
        elif isinstance(container, list):
            container.insert(key, deepcopy(container[key]) if kind == "double" else draw(ODD))
        else:
            _, name = draw(st.sampled_from(range(len(all_places))).map(all_places.__getitem__))
            container[str(name)] = draw(ODD)
    return value


@cache
def documents(kind: str, dialect: str) -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted(GOLDEN.glob(f"*/{kind}.{dialect}.json"))]


def plain() -> Conversation:
    return Conversation("model", [Turn("user", [Text("hi")])], stream=True, include_usage=True)


@TRIALS
@given(data=st.data())
@pytest.mark.parametrize("client", CLIENTS)
def test_a_request_is_translated_or_refused_with_the_name_of_a_field(client: str, data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(documents("client", client)).flatmap(broken))
    assert all(translate_request(client, upstream, body) != "" for upstream in UPSTREAMS)


def translate_request(client: str, upstream: str, body: Any) -> str | None:
    """The field for which the request is refused; None when it is not. What is rendered is JSON, and leaves the
    conversation as it was: the next attempt may go to another upstream."""
    dropped = Dropped()
    try:
        conversation = CLIENTS[client].parse_request(body)
        before = repr(conversation)
        if upstream != "responses":
            check_portable(conversation)
        orjson.dumps(UPSTREAMS[upstream].render_request(conversation, MODELS[upstream], dropped))
    except BadRequest as error:
        return error.param or ""
    dropped.header()
    assert repr(conversation) == before
    return None


@TRIALS
@given(data=st.data())
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_an_answer_is_translated_or_refused(upstream: str, data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(documents("answer", upstream)).flatmap(broken))
    for client in CLIENTS.values():
        with suppress(BadAnswer):
            answer = UPSTREAMS[upstream].parse_answer(deepcopy(body), plain())
            restore(answer, plain())
            orjson.dumps(client.render_answer(answer, plain(), CREATED))


# -- streams ----------------------------------------------------------------------------------------------------------


@cache
def recordings(dialect: str) -> list[list[tuple[bytes, Any]]]:
    """Recorded streams as (what comes before the data of an event, the data)."""
    binary = [path.read_text() for path in sorted(GOLDEN.glob(f"*/stream.{dialect}.hex"))]
    texts = [path.read_text() for path in sorted(GOLDEN.glob(f"*/stream.{dialect}.txt"))]
    return [list(read_frames(bytes.fromhex(text))) for text in binary] + [list(read_events(text)) for text in texts]


def read_events(text: str) -> Iterator[tuple[bytes, Any]]:
    for event in text.split("\n\n"):
        before, mark, data = event.partition("data: ")
        if mark:
            yield before.encode(), data if data == "[DONE]" else json.loads(data)


def read_frames(data: bytes) -> Iterator[tuple[bytes, Any]]:
    """The headers and the payload of each frame of Bedrock's event stream."""
    while data:
        size, head = unpack_from(">II", data)
        yield data[12 : 12 + head], json.loads(data[12 + head : size - 4])
        data = data[size:]


def write_event(dialect: str, before: bytes, value: Any) -> bytes:
    payload = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    if dialect != "converse":
        return before + b"data: " + payload + b"\n\n"
    prelude = pack(">II", 16 + len(before) + len(payload), len(before))
    frame = prelude + pack(">I", zlib.crc32(prelude)) + before + payload
    return frame + pack(">I", zlib.crc32(frame))


@st.composite
def broken_streams(draw: st.DrawFn, dialect: str) -> bytes:
    """A recorded stream of which events are broken, lost, repeated or exchanged, or that ends in the middle."""
    events = list(draw(st.sampled_from(recordings(dialect))))
    for _ in range(draw(st.integers(1, 4))):
        if not events:
            break
        place = draw(st.integers(0, len(events) - 1))
        kind = draw(st.sampled_from(["break", "break", "break", "lose", "repeat", "exchange", "cut"]))
        if kind == "break":
            events[place] = events[place][0], draw(broken(events[place][1]))
        elif kind == "lose":
            del events[place]
        elif kind == "repeat":
            events.insert(place, draw(st.sampled_from(events)))
        elif kind == "exchange":
            other = draw(st.integers(0, len(events) - 1))
            events[place], events[other] = events[other], events[place]
        else:
            del events[place:]
    return b"".join(write_event(dialect, before, value) for before, value in events)


def read(dialect: str, pieces: list[bytes]) -> list[Event]:
    reader = UPSTREAMS[dialect].make_reader(plain())
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.end()
    assert reader.feed(b"".join(pieces)) == reader.end() == []
    return events


@TRIALS
@given(data=st.data())
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_stream_is_translated_to_its_end_whatever_is_in_it(upstream: str, data: st.DataObject) -> None:
    stream = data.draw(broken_streams(upstream))
    events = read(upstream, [stream] if stream else [])
    assert [type(event) in (Ended, Failed) for event in events] == [False] * (len(events) - 1) + [True]
    pieces = [stream[place : place + 7] for place in range(0, len(stream), 7)]
    assert without_counts(read(upstream, pieces)) == without_counts(events)
    for client, codec in CLIENTS.items():
        writer = codec.make_writer(plain(), CREATED)
        text = b"".join(writer.write(event) for event in events)
        last = text.decode().split("\n\n")[-2].split("\n")[0]
        assert last in ENDS[client, type(events[-1]) is Ended], client


def without_counts(events: list[Event]) -> list[Event]:
    """How many counts come in the middle of a stream depends on its pieces."""
    return [event for event in events if not isinstance(event, UsageKnown)]
