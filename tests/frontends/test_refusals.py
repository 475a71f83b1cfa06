"""What is not HTTP/1.1, or could be read in two ways, is refused and the connection ends."""

from __future__ import annotations

import pytest

from plano.telemetry.record import Record
from tests.frontends.client import Client, chat_body, chat_request, encode_chunks, render_request
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import Upstream

BODY = chat_body()
CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"


def make_request(*lines: str, body: bytes = BODY) -> bytes:
    return render_request(None, *lines) + body


async def expect_refusal(client: Client, request: bytes, status: int) -> None:
    """The request is answered with `status`, once, and the connection is closed."""
    await client.send(request)
    response = await client.read_response()
    assert response.status == status, response
    assert response.error["message"]
    assert response.header("connection") == "close"
    assert await client.closed()


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(
            make_request(f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked", body=CHUNKED + SMUGGLED),
            id="cl-te",
        ),
        pytest.param(
            make_request("Transfer-Encoding: chunked", f"Content-Length: {len(BODY)}", body=CHUNKED + SMUGGLED),
            id="te-cl",
        ),
        pytest.param(make_request("Content-Length: 5", "Content-Length: 6", body=b"hello!"), id="two-lengths"),
        pytest.param(make_request("Content-Length: 5", "Content-Length: 5", body=b"hello"), id="same-length-twice"),
        pytest.param(make_request("Content-Length: 5, 5", body=b"hello"), id="list-of-lengths"),
        pytest.param(make_request("Content-Length: -1"), id="negative-length"),
        pytest.param(make_request("Content-Length: +5"), id="signed-length"),
        pytest.param(make_request("Content-Length: 0x5"), id="hexadecimal-length"),
        pytest.param(make_request("Content-Length: five"), id="length-in-words"),
        pytest.param(make_request("Content-Length:"), id="empty-length"),
        pytest.param(make_request("Content-Length: 99999999999999999999999999"), id="overflowing-length"),
        pytest.param(
            make_request("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED), id="te-te"
        ),
        pytest.param(make_request("Transfer-Encoding: chunked, identity", body=CHUNKED), id="chunked-not-last"),
        pytest.param(
            make_request("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNKED), id="te-identity"
        ),
        pytest.param(make_request("Transfer-Encoding: \x0bchunked", body=CHUNKED), id="te-vertical-tab"),
        pytest.param(make_request("Transfer-Encoding : chunked", body=CHUNKED), id="space-before-colon"),
        pytest.param(make_request("Transfer-Encoding\t: chunked", body=CHUNKED), id="tab-before-colon"),
        pytest.param(make_request("X-A: b", " c: d", f"Content-Length: {len(BODY)}"), id="obs-fold"),
        pytest.param(make_request("X-A: b\r\n\tTransfer-Encoding: chunked", body=CHUNKED), id="obs-fold-te"),
        pytest.param(b"POST / HTTP/1.1\r\n Host: a\r\n\r\n", id="space-before-first-header"),
        pytest.param(b"GET /healthz HTTP/1.1\nHost: a\n\n", id="bare-line-feeds"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\nX-B: c\r\n\r\n", id="bare-line-feed-in-headers"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\n", id="bare-line-feed-at-the-end"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: a\rX-B: c\r\n\r\n", id="bare-carriage-return"),
        pytest.param(make_request("X-A: a\x00b"), id="nul-in-a-value"),
        pytest.param(make_request("X\x00A: b"), id="nul-in-a-name"),
        pytest.param(make_request("X(A): b"), id="bad-name"),
        pytest.param(make_request(": b"), id="empty-name"),
        pytest.param(make_request("no colon"), id="no-colon"),
        pytest.param(make_request("Transfer-Encoding: chunked", body=b"0x5\r\nhello\r\n0\r\n\r\n"), id="chunk-0x"),
        pytest.param(make_request("Transfer-Encoding: chunked", body=b"-5\r\nhello\r\n0\r\n\r\n"), id="chunk-negative"),
        pytest.param(make_request("Transfer-Encoding: chunked", body=b"5\nhello\r\n0\r\n\r\n"), id="chunk-bare-lf"),
        pytest.param(make_request("Transfer-Encoding: chunked", body=b"5 \r\nhello\r\n0\r\n\r\n"), id="chunk-space"),
        pytest.param(make_request("Transfer-Encoding: chunked", body=b"4\r\nhello\r\n0\r\n\r\n"), id="chunk-too-short"),
        pytest.param(make_request("Transfer-Encoding: chunked", body=b"f" * 17 + b"\r\n"), id="chunk-overflow"),
        pytest.param(make_request("Transfer-Encoding: chunked", body=b"zz\r\n"), id="chunk-not-hex"),
        pytest.param(render_request(BODY, host=None), id="no-host"),
        pytest.param(render_request(BODY, "Host: other"), id="two-hosts"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="tls-client-hello"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http2-preface"),
        pytest.param(b"complete garbage\r\n\r\n", id="garbage"),
        pytest.param(b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", id="unknown-method"),
        pytest.param(b"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n", id="lower-case-method"),
        pytest.param(b"GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n", id="http-1.2"),
        pytest.param(b"GET /healthz HTTP/one\r\nHost: a\r\n\r\n", id="version-in-words"),
        pytest.param(b"GET /health z HTTP/1.1\r\nHost: a\r\n\r\n", id="space-in-the-target"),
        pytest.param(b"GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n", id="control-in-the-target"),
        pytest.param(
            render_request(None, "Transfer-Encoding: chunked", version="1.0") + encode_chunks(BODY, 10),
            id="chunked-in-http-1.0",
        ),
    ],
)
async def test_ambiguous_or_broken_requests_are_refused(
    client: Client, upstream: Upstream, request_bytes: bytes
) -> None:
    await expect_refusal(client, request_bytes, 400)
    assert upstream.received == []


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip"])
async def test_other_transfer_codings_are_not_implemented(client: Client, coding: str) -> None:
    await expect_refusal(client, make_request(f"Transfer-Encoding: {coding}", body=CHUNKED), 501)


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_other_versions_of_http_are_not_spoken(client: Client, version: str) -> None:
    await expect_refusal(client, f"GET /healthz HTTP/{version}\r\nHost: a\r\n\r\n".encode(), 505)


async def test_nothing_behind_a_refused_request_is_read(client: Client, upstream: Upstream) -> None:
    await expect_refusal(client, make_request("Content-Length: x", body=b"") + chat_request() * 3, 400)
    assert upstream.received == []


async def test_requests_before_a_refused_one_are_answered(client: Client, upstream: Upstream) -> None:
    await client.send(chat_request() + b"nonsense\r\n\r\n" + chat_request())
    assert (await client.read_response()).status == 200
    assert (await client.read_response()).status == 400
    assert await client.closed()
    assert len(upstream.received) == 1


async def test_a_refusal_is_recorded(client: Client, records: RecordSocket) -> None:
    await client.send(render_request(b"", "X-Request-Id: mine", host=None))
    await client.read_response()
    record: Record = await records.read_one()
    assert (record.status, record.error, record.listener) == (400, "bad_host", "llm")
    assert record.request_id == b"mine"
    assert record.path == b"/v1/chat/completions"


async def test_what_follows_a_closed_exchange_leaves_no_record(client: Client, records: RecordSocket) -> None:
    request = render_request(None, "Connection: close", method="GET", target="/v1/models")
    await client.send(request + request)
    assert (await client.read_response()).status == 200
    assert await client.closed()
    assert (await records.read_one()).status == 200
    with pytest.raises(TimeoutError):
        await records.read(2, timeout_s=0.6)  # two flushes later
