"""Whatever bytes come from either side: no exception leaves the protocols, and every request ends once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.frontends.client import chat_body, chat_request, chunked_request, render_request
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import document, refusal, stream
from tests.frontends.wire import WiredFrontend

REQUESTS = [
    chat_request(),
    chat_request(stream=True) * 2,
    chunked_request(chat_body(), extension=b";a=b", trailers=b"t: v\r\n"),
    chunked_request(chat_body(), 9, "Connection: upgrade", "Upgrade: websocket"),
    render_request(chat_body(), "Expect: 100-continue", "Connection: close, x") + chat_request(),
    render_request(None, method="GET", target="/healthz") * 3,
]
ANSWERS = [document(), b"".join(stream("a", "b")), refusal("429 Too Many"), b"HTTP/1.1 103 Early\r\n\r\n" + document()]
JUNK = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"\r\n", b"\n", b"\0", b": ", b"0\r\n\r\n", b"data: ", b"[DONE]", b"HTTP/1.1", b"{", b'"model"']),
)


@st.composite
def garbled(draw: st.DrawFn, seeds: list[bytes]) -> list[bytes]:
    """The reads of something that was once well-formed."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(JUNK) + data[place + draw(st.integers(0, 8)) :]
    cut = draw(st.integers(0, len(data)))
    return [piece for piece in (data[:cut], data[cut:]) if piece]


@pytest.fixture
def runner(records: RecordSocket) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(said=garbled(REQUESTS), answered=garbled(ANSWERS), reset=st.booleans())
def test_garbage_breaks_nothing(
    runner: asyncio.Runner, records: RecordSocket, said: list[bytes], answered: list[bytes], reset: bool
) -> None:
    async def exchange() -> None:
        async with WiredFrontend(records.address) as wired:
            upstream, upstream_wire = wired.provide()
            client, _ = wired.accept()
            for piece in said:
                client.data_received(piece)
            for piece in answered:
                if not upstream_wire.closing:
                    upstream.data_received(piece)
            if not upstream_wire.closing:
                upstream.connection_lost(ConnectionResetError() if reset else None)
            client.connection_lost(None)
            assert not wired.frontend.exchanges.live
            assert wired.frontend.listeners[0].in_flight == 0
            assert not wired.frontend.listeners[0].connections

    runner.run(exchange())
