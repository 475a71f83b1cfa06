"""However TCP and the upstream cut an answer up, the client gets the same bytes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.frontends.client import chat_request
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import DONE, FINISH, LAST_CHUNK, STREAM_HEAD, USAGE, chunk, document, say
from tests.frontends.wire import WiredFrontend

EVENTS = [
    b": ping\n\n",
    say("a"),
    say("b\r\n\r\n"),
    say("c").replace(b"\n", b"\r\n"),
    b"data: {\ndata: }\n\n",
    say("\U0001f600").replace(b"\\ud83d\\ude00", "\U0001f600".encode()),
    FINISH,
    USAGE,
    DONE,
]
BODY = b"".join(EVENTS)


def unchunk(data: bytes) -> bytes:
    """The body in chunked bytes, which must be whole."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert data == b"\r\n"
            return body
        assert data[length : length + 2] == b"\r\n"
        body, data = body + data[:length], data[length + 2 :]


def cut(data: bytes, places: set[int]) -> list[bytes]:
    """`data` cut at `places`."""
    bounds = [0, *sorted(place for place in places if 0 < place < len(data)), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


@pytest.fixture
def runner(records: RecordSocket) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


async def relay(records: RecordSocket, pieces: list[bytes], *, stream: bool, **fields: Any) -> tuple[bytes, bytes]:
    """Head and body that a client gets when the upstream's answer comes in these reads. `fields` are further ones of
    the request."""
    async with WiredFrontend(records.address) as wired:
        connection, _ = wired.provide()
        client, wire = wired.accept()
        client.data_received(chat_request(stream=stream, **fields))
        for piece in pieces:
            connection.data_received(piece)
    head, _, body = wire.data.partition(b"\r\n\r\n")
    return head, body


places = st.sets(st.integers(min_value=0, max_value=3_000), max_size=40)
any_example = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@any_example
@given(chunks=places, reads=places)
def test_the_bytes_of_a_stream_do_not_depend_on_cuts(
    runner: asyncio.Runner, records: RecordSocket, chunks: set[int], reads: set[int]
) -> None:
    data = STREAM_HEAD + b"".join(chunk(piece) for piece in cut(BODY, chunks)) + LAST_CHUNK
    head, body = runner.run(relay(records, cut(data, reads), stream=True))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert unchunk(body) == BODY


def test_a_stream_may_come_byte_by_byte(runner: asyncio.Runner, records: RecordSocket) -> None:
    data = STREAM_HEAD + b"".join(chunk(event) for event in EVENTS) + LAST_CHUNK
    _, body = runner.run(relay(records, cut(data, set(range(len(data)))), stream=True))
    assert unchunk(body) == BODY


@pytest.mark.parametrize("asks", [True, False])
def test_a_stream_of_one_chunk_a_read_passes_as_it_came(
    runner: asyncio.Runner, records: RecordSocket, asks: bool
) -> None:
    frames = [chunk(event) for event in EVENTS]
    options = {"stream_options": {"include_usage": asks}}
    _, body = runner.run(relay(records, [STREAM_HEAD, *frames, LAST_CHUNK], stream=True, **options))
    events = [event for event in EVENTS if asks or event is not USAGE]
    assert unchunk(body) == b"".join(events)
    # what came before the first content has been held back, and left with it
    assert body.endswith(b"".join([chunk(event) for event in events[2:]] + [LAST_CHUNK]))
    record = runner.run(records.read_one())
    assert (record.tokens_in, record.tokens_out, record.bytes_out) == (11, 5, len(b"".join(events)))


def test_every_chunk_to_the_client_ends_with_an_event(runner: asyncio.Runner, records: RecordSocket) -> None:
    data = STREAM_HEAD + b"".join(chunk(BODY[place : place + 5]) for place in range(0, len(BODY), 5)) + LAST_CHUNK
    _, body = runner.run(relay(records, cut(data, set(range(0, len(data), 11))), stream=True))
    while not body.startswith(b"0\r\n"):
        size, _, rest = body.partition(b"\r\n")
        piece, body = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        assert piece.endswith((b"\n\n", b"\r\n\r\n"))


@any_example
@given(reads=places)
def test_the_bytes_of_a_document_do_not_depend_on_cuts(
    runner: asyncio.Runner, records: RecordSocket, reads: set[int]
) -> None:
    data = document("Hello.")
    head, body = runner.run(relay(records, cut(data, reads), stream=False))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == data.partition(b"\r\n\r\n")[2]
