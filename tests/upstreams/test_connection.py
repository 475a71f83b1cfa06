"""One upstream connection: an HTTP/1.1 answer in any pieces, and every way it can be wrong."""

from __future__ import annotations

import asyncio
import socket
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.config.plan import LimitsPlan
from plano.upstreams.connection import MAX_HEAD_BYTES, UpstreamConnection, find_chunk_data
from plano.upstreams.failures import FailureKind
from plano.upstreams.pool import Origin as Address
from plano.upstreams.pool import Pool
from tests.upstreams.origin import REQUEST, Caller, Origin, Visit, begin, call, wait_for


class Wire(asyncio.Transport):
    """Where the connection writes. Closing is noted; the test says when it is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Exchange:
    """A request that is out on a connection without a socket; the test plays the upstream."""

    def __init__(self) -> None:
        self.pool = Pool(Address("127.0.0.1", 9, "", None), LimitsPlan(), 1.0)
        self.connection = UpstreamConnection(self.pool)
        self.wire = Wire()
        self.connection.connection_made(self.wire)
        self.connection.admitted = True
        self.ask()

    def ask(self) -> Caller:
        self.caller = Caller()
        self.connection.send(REQUEST, self.caller)
        return self.caller

    def receive(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.wire.closed:
                return
            self.connection.data_received(piece)

    def lose(self, error: Exception | None = None) -> None:
        self.wire.closed = True
        self.connection.connection_lost(error)

    @property
    def kept(self) -> bool:
        """Has the connection gone back to the pool?"""
        return self.pool.take() is self.connection


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Kept: a\r\nSet-Cookie: s=1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

ANSWERS = {
    "length": (HEAD + b"Content-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "length 0": (HEAD + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    "chunked": (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 200, b"hello", True),
    "extension and trailer": (CHUNKED + b"5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", 200, b"hello", True),
    "bare": (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "error": (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", 503, b"busy", True),
    "announced": (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "hinted": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + HEAD + b"Content-Length: 5\r\n\r\nhello",
        200,
        b"hello",
        True,
    ),
    "closing": (HEAD + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", False),
    "HTTP/1.0": (HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 5\r\n\r\nhello", 200, b"hello", False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_split_at_every_byte_is_the_same_answer(name: str) -> None:
    answer, status, body, kept = ANSWERS[name]
    splits = [[answer], [answer[place : place + 1] for place in range(len(answer))]]
    splits += [[answer[:place], answer[place:]] for place in range(1, len(answer))]
    heads = set()
    for pieces in splits:
        exchange = Exchange()
        exchange.receive(*pieces)
        caller = exchange.caller
        assert (caller.status, caller.body, caller.failure) == (status, body, None)
        assert (caller.told.count("head"), caller.told.count("end")) == (1, 1)
        assert exchange.kept is kept
        assert exchange.wire.closed is not kept
        connection = exchange.connection
        heads.add((b"".join(connection.lines), connection.content_type, connection.content_length))
    assert len(heads) == 1


def test_the_head_comes_with_the_first_of_the_body() -> None:
    exchange = Exchange()
    exchange.receive(HEAD, b"Content-Length: 5\r\n\r\nhe", b"l", b"lo")
    assert exchange.caller.told == ["head", "data", "data", "end"]


def test_one_read_is_one_call_however_many_chunks_it_holds() -> None:
    exchange = Exchange()
    exchange.receive(CHUNKED + b"1\r\na\r\n1\r\nb\r\n", b"1\r\nc\r\n1\r\nd\r\n", b"1\r\n", b"e\r\n0\r\n\r\n")
    assert exchange.caller.told == ["head", "data", "data", "end"]
    assert exchange.caller.body == b"abcde"


class Taker:
    """A passer that takes every chunk, or every one that `wants` says it does, beside the caller that gets the rest."""

    def __init__(self, caller: Caller, wants: list[bool]) -> None:
        self.caller = caller
        self.chunks: list[bytes] = []
        self._wants = wants

    def upstream_chunk(self, chunk: bytes, start: int) -> bool:
        if self._wants and not self._wants.pop():
            return False
        self.chunks.append(chunk)
        self.caller.body += chunk[start:-2]
        return True


# Line ends and digits within the data, to look like framing.
data_of_chunks = st.lists(st.text("\r\n0a2", min_size=1, max_size=40).map(str.encode), min_size=1, max_size=12)


@given(data_of_chunks, st.sets(st.integers(0, 600), max_size=6), st.lists(st.booleans(), max_size=12), st.booleans())
def test_chunks_that_pass_leave_the_rest_of_the_answer_as_it_is(
    parts: list[bytes], cuts: set[int], wants: list[bool], upper: bool
) -> None:
    frames = [(b"%X\r\n%b\r\n" if upper else b"%x\r\n%b\r\n") % (len(part), part) for part in parts]
    ends = {len(b"".join(frames[:count])) for count in range(len(frames) + 1)}  # most reads are one chunk
    stream = b"".join(frames) + b"0\r\n\r\n"
    places = sorted(place for place in ends | cuts | {len(stream)} if place <= len(stream))
    exchange = Exchange()
    exchange.receive(CHUNKED)
    taker = exchange.connection.passer = Taker(exchange.caller, wants)
    exchange.receive(*[stream[start:end] for start, end in pairwise(places)])
    assert exchange.caller.body == b"".join(parts)
    assert exchange.caller.told.count("end") == 1
    assert set(taker.chunks) <= set(frames)
    assert exchange.kept
    exchange.ask()
    assert exchange.connection.passer is None


def test_chunks_pass_once_the_parser_stands_between_two() -> None:
    exchange = Exchange()
    exchange.receive(CHUNKED)
    taker = exchange.connection.passer = Taker(exchange.caller, [])
    exchange.receive(b"1\r\na\r\n", b"1\r\nb\r\n", b"1\r\nc\r\n1\r\nd\r\n", b"1\r\ne\r\n", b"0\r\n\r\n")
    assert taker.chunks == [b"1\r\nb\r\n", b"1\r\ne\r\n"]
    assert exchange.caller.body == b"abcde"


@pytest.mark.parametrize(
    ("data", "start"),
    [
        (b"1\r\na\r\n", 3),
        (b"0001\r\na\r\n", 6),
        (b"A\r\n0123456789\r\n", 3),
        (b"a\r\n0123456789\r\n", 3),
        (b"10\r\n0123456789abcdef\r\n", 4),
        (b"1;x=y\r\na\r\n", 0),  # an extension
        (b"000000001\r\na\r\n", 0),
        (b"0\r\n\r\n", 0),  # the end
        (b"2\r\na\r\n", 0),
        (b"1\r\na\r\n1\r\nb\r\n", 0),
        (b"1\r\na\n\n", 0),
        (b"1\n\na\r\n", 0),
        (b"\r\na\r\n", 0),
        (b"g\r\na\r\n", 0),
        (b"1", 0),
        (b"", 0),
    ],
)
def test_what_is_exactly_one_chunk(data: bytes, start: int) -> None:
    assert find_chunk_data(data) == start


def test_what_passes_of_the_head() -> None:
    exchange = Exchange()
    exchange.receive(
        b"HTTP/1.1 429 Slow down\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\nRetry-After: 7\r\nX-Request-Id: up-1\r\n"
        b"Content-Encoding: gzip\r\nOpenAI-Version: 2020-10-01\r\nX-RateLimit-Remaining: 0\r\n"
        b"Set-Cookie: a=b\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\n"
        b"Proxy-Authenticate: Basic\r\nTrailer: x\r\nAlt-Svc: h3\r\nStrict-Transport-Security: max-age=1\r\n"
        b"X-Plano-Model: forged\r\nX-Plano-Attempts: 9\r\n\r\n{}"
    )
    connection = exchange.connection
    assert b"".join(connection.lines) == (
        b"retry-after: 7\r\nx-upstream-request-id: up-1\r\nOpenAI-Version: 2020-10-01\r\nX-RateLimit-Remaining: 0\r\n"
    )
    assert (connection.retry_after, connection.coding, connection.content_length) == (b"7", b"gzip", 2)


def test_nothing_of_an_answer_is_left_for_the_next() -> None:
    exchange = Exchange()
    exchange.receive(
        b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Type: a/b\r\nContent-Encoding: gzip\r\n"
        b"X-One: 1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n"
    )
    assert exchange.kept
    exchange.ask()
    exchange.receive(b"HTTP/1.1 200 OK\r\n\r\nfine")
    exchange.lose()
    connection = exchange.connection
    assert (connection.lines, connection.content_type, connection.content_length) == ([], b"", -1)
    assert (connection.retry_after, connection.coding) == (b"", b"")
    assert (exchange.caller.status, exchange.caller.body) == (200, b"fine")
    assert exchange.caller.told[-1] == "end"


# -- ends


def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    exchange = Exchange()
    exchange.receive(HEAD + b"\r\nhel", b"lo")
    assert "end" not in exchange.caller.told
    exchange.lose()
    assert (exchange.caller.body, exchange.caller.told[-1]) == (b"hello", "end")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", None),
        (b"", ConnectionResetError()),
        (b"HTTP/1.1 2", None),
        (HEAD, None),
        (b"HTTP/1.1 100 Continue\r\n\r\n", None),
        (HEAD + b"Content-Length: 6\r\n\r\nhello", None),
        (CHUNKED, None),
        (CHUNKED + b"5\r\nhel", None),
        (CHUNKED + b"5\r\nhello\r\n", None),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", None),
        (HEAD + b"\r\nhello", ConnectionResetError()),
    ],
)
def test_an_answer_that_breaks_off_is_a_failure(answer: bytes, error: Exception | None) -> None:
    exchange = Exchange()
    exchange.receive(*([answer] if answer else []))
    exchange.lose(error)
    assert exchange.caller.failure is not None
    assert exchange.caller.failure.kind is FailureKind.RESET
    assert exchange.caller.told.count("failed") == 1
    assert "end" not in exchange.caller.told


def test_a_kept_connection_closed_before_any_byte_is_stale() -> None:
    exchange = Exchange()
    exchange.receive(ANSWERS["length"][0])
    assert exchange.kept
    exchange.ask()
    exchange.lose(ConnectionResetError())
    assert exchange.caller.told == ["stale"]


def test_a_kept_connection_closed_after_a_byte_is_not() -> None:
    exchange = Exchange()
    exchange.receive(ANSWERS["length"][0])
    assert exchange.kept
    exchange.ask()
    exchange.receive(b"H")
    exchange.lose()
    assert exchange.caller.told == ["failed"]


# -- what is not an answer


@pytest.mark.parametrize("extra", [b"x", b"\0", HEAD + b"Content-Length: 4\r\n\r\nevil", b"HTTP/1.1 200 OK\r\n"])
@pytest.mark.parametrize("answer", ["length", "chunked", "204"])
def test_bytes_after_the_answer_reach_nobody(answer: str, extra: bytes) -> None:
    whole, status, body, _ = ANSWERS[answer]
    for pieces in ([whole + extra], [whole[:-1], whole[-1:] + extra], [whole, extra]):
        exchange = Exchange()
        exchange.receive(*pieces)
        assert (exchange.caller.status, exchange.caller.body, exchange.caller.failure) == (status, body, None)
        assert exchange.caller.told.count("end") == 1
        assert exchange.wire.closed, "nobody knows what the next bytes would belong to"


def test_line_ends_after_the_answer_are_no_next_answer() -> None:
    exchange = Exchange()
    exchange.receive(ANSWERS["length"][0] + b"\r\n")
    assert exchange.caller.body == b"hello"
    assert exchange.caller.told.count("end") == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"220 smtp.example.test ESMTP\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x16\x03\x01\x00",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: five\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"xyz\r\n",
        CHUNKED + b"5\r\nhelloX",
        CHUNKED + b"ffffffffffffffffff\r\n",
        HEAD + b"X-Bad\0: 1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_not_http_is_a_failure(answer: bytes) -> None:
    for pieces in ([answer], [answer[place : place + 1] for place in range(len(answer))]):
        exchange = Exchange()
        exchange.receive(*pieces)
        assert exchange.caller.failure is not None
        assert exchange.caller.failure.kind is FailureKind.PROTOCOL
        assert exchange.caller.told.count("failed") == 1
        assert exchange.wire.closed


@pytest.mark.parametrize("piece", [b"X-Long: " + b"x" * 65_536 + b"\r\n", b"x" * 65_536, b"X-One: 1\r\n" * 6_000])
def test_a_head_without_end_is_cut(piece: bytes) -> None:
    exchange = Exchange()
    exchange.receive(HEAD + b"X-Filling: ")
    received = 0
    while not exchange.wire.closed and received < 2 * MAX_HEAD_BYTES:
        exchange.receive(piece)
        received += len(piece)
    assert exchange.caller.failure is not None
    assert exchange.caller.failure.message == "the head of the upstream's response is too large"


def test_announcements_without_end_are_cut() -> None:
    exchange = Exchange()
    for _ in range(MAX_HEAD_BYTES // 25 + 10):
        exchange.receive(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert exchange.caller.failure is not None
    assert exchange.caller.failure.kind is FailureKind.PROTOCOL


def test_an_idle_upstream_that_speaks_is_cut() -> None:
    exchange = Exchange()
    exchange.receive(ANSWERS["length"][0])
    exchange.connection.data_received(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert exchange.wire.closed
    assert exchange.caller.told.count("end") == 1


@given(st.data())
def test_whatever_comes_the_caller_is_told_of_one_end(data: st.DataObject) -> None:
    answer = bytearray(data.draw(st.sampled_from([answer for answer, *_ in ANSWERS.values()])))
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(answer) - 1))
        answer[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        answer = answer or bytearray(b"\n")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=4)))
    exchange = Exchange()
    pieces = [bytes(answer[start:end]) for start, end in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    exchange.receive(*(piece for piece in pieces if piece))
    exchange.lose()
    ends = [word for word in exchange.caller.told if word in ("end", "failed", "stale")]
    assert len(ends) == 1


# -- with sockets


async def test_a_reset_in_the_middle_of_a_body_without_length_is_not_its_end() -> None:
    async def reset(visit: Visit) -> None:
        await visit.request()
        visit.send(HEAD + b"\r\nhel")
        await asyncio.sleep(0.05)  # the answer's beginning is to arrive before the reset
        connected = visit.writer.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        visit.writer.transport.abort()

    async with Origin(reset) as origin:
        pool = origin.pool()
        caller = await call(pool)
        assert caller.failure is not None
        assert caller.failure.kind is FailureKind.RESET
        await pool.close()


async def test_cancelling_tells_the_upstream_at_once() -> None:
    async def stream(visit: Visit) -> None:
        await visit.request()
        visit.send(CHUNKED + b"1\r\na\r\n")
        await visit.request()

    async with Origin(stream) as origin:
        pool = origin.pool()
        caller = Caller()
        begin(pool, caller)
        await wait_for(lambda: caller.body)
        assert caller.connection is not None
        caller.connection.cancel()
        await asyncio.wait_for(origin.visits[0].gone.wait(), 5)
        assert caller.told == ["ready", "head"]
        await pool.close()
