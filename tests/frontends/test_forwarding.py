"""Headers on their way to the upstream and back."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.frontends.client import Client, chat_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import make_plan, make_provider
from tests.frontends.upstream import Upstream, document, stream

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def ask(client: Client, upstream: Upstream, *lines: str) -> dict[str, str]:
    """Send a request with header `lines`; the headers the upstream got, each at most once."""
    await client.send(chat_request("test/one", *lines))
    assert (await client.read_response()).status == 200
    headers = upstream.received[-1].headers
    assert len(dict(headers)) == len(headers), headers
    return dict(headers)


async def test_the_gateway_speaks_for_itself(client: Client, upstream: Upstream) -> None:
    headers = await ask(client, upstream)
    assert headers["host"] == f"127.0.0.1:{upstream.port}"
    assert headers["authorization"] == "Bearer sk-gateway"
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "line", ["User-Agent: sdk/1.0", "OpenAI-Organization: org-1", "X-Stainless-Lang: python", "X-Custom: a, b; c"]
)
async def test_end_to_end_headers_are_forwarded(client: Client, upstream: Upstream, line: str) -> None:
    name, _, value = line.partition(": ")
    assert (await ask(client, upstream, line))[name.lower()] == value


@pytest.mark.parametrize(
    "line",
    [
        "Connection: keep-alive",
        "Keep-Alive: timeout=5",
        "Proxy-Authorization: Basic x",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Trailer: X-Late",
        "Cookie: session=1",
        "Forwarded: for=1.2.3.4",
        "Via: 1.1 proxy",
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 1.2.3.4",
        "X-Api-Key: sk-client",
        "X-Model-Affinity: session",
    ],
)
async def test_what_concerns_this_hop_or_the_client_alone_is_not(client: Client, upstream: Upstream, line: str) -> None:
    assert line.partition(":")[0].lower() not in await ask(client, upstream, line)


async def test_headers_named_by_connection_end_here(client: Client, upstream: Upstream) -> None:
    headers = await ask(client, upstream, "X-Hop: 1", "Connection: keep-alive, x-hop", "X-End: 2")
    assert "x-hop" not in headers
    assert headers["x-end"] == "2"


async def test_the_client_cannot_choose_length_or_coding(client: Client, upstream: Upstream) -> None:
    headers = await ask(client, upstream, "Accept-Encoding: gzip")
    assert headers["accept-encoding"] == "identity"
    assert int(headers["content-length"]) == len(upstream.received[0].body)


async def test_the_credential_of_the_client_is_replaced(client: Client, upstream: Upstream) -> None:
    assert (await ask(client, upstream, "Authorization: Bearer sk-client"))["authorization"] == "Bearer sk-gateway"


@pytest.mark.parametrize(
    ("lines", "credential"),
    [
        (("Authorization: Bearer sk-client",), "Bearer sk-client"),
        (("Authorization: bearer   sk-client",), "Bearer sk-client"),
        (("X-Api-Key: sk-client",), "Bearer sk-client"),
        (("X-Api-Key: sk-other", "Authorization: Bearer sk-client"), "Bearer sk-client"),
        ((), None),
    ],
)
async def test_passthrough_auth_passes_the_credential_on(
    serve: Serve, connect: Connect, upstream: Upstream, lines: tuple[str, ...], credential: str | None
) -> None:
    client = await connect(serve(make_plan(make_provider(upstream.port, passthrough_auth=True))))
    headers = await ask(client, upstream, *lines)
    assert headers.get("authorization") == credential
    assert "x-api-key" not in headers


@pytest.mark.parametrize("passthrough", [False, True])
async def test_configured_headers_win(serve: Serve, connect: Connect, upstream: Upstream, passthrough: bool) -> None:
    configured = (("Authorization", "Key special"), ("X-Custom", "ours"), ("X-Extra", "more"))
    provider = make_provider(upstream.port, headers=configured, passthrough_auth=passthrough)
    client = await connect(serve(make_plan(provider)))
    headers = await ask(client, upstream, "Authorization: Bearer sk-client", "x-CUSTOM: theirs", "X-Other: kept")
    assert headers["authorization"] == "Key special"
    assert headers["x-custom"] == "ours"
    assert headers["x-extra"] == "more"
    assert headers["x-other"] == "kept"


async def test_the_host_header_may_be_configured(serve: Serve, connect: Connect, upstream: Upstream) -> None:
    client = await connect(serve(make_plan(make_provider(upstream.port, authority="api.example.com"))))
    assert (await ask(client, upstream))["host"] == "api.example.com"


async def test_a_trace_is_continued(client: Client, upstream: Upstream) -> None:
    headers = await ask(client, upstream, f"traceparent: {PARENT}", "tracestate: a=1", "tracestate: b=2")
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert re.fullmatch("[0-9a-f]{16}", span_id)
    assert span_id != "00f067aa0ba902b7"
    assert headers["tracestate"].replace(" ", "") == "a=1,b=2"


@pytest.mark.parametrize(
    "given",
    [
        None,
        "nonsense",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        PARENT.upper(),
        PARENT + "-more",
    ],
)
async def test_a_trace_is_begun_where_there_is_none(client: Client, upstream: Upstream, given: str | None) -> None:
    lines = () if given is None else (f"traceparent: {given}", "tracestate: a=1")
    headers = await ask(client, upstream, *lines)
    match = re.fullmatch("00-([0-9a-f]{32})-[0-9a-f]{16}-01", headers["traceparent"])
    assert match is not None
    assert match[1] not in (TRACE, "0" * 32)
    assert "tracestate" not in headers


async def test_each_request_begins_a_trace_of_its_own(client: Client, upstream: Upstream) -> None:
    traces = {(await ask(client, upstream))["traceparent"] for _ in range(150)}
    assert len(traces) == 150


@pytest.mark.parametrize("given", ["req-1", "x" * 128, "a/b:c=d"])
async def test_a_request_id_is_kept(client: Client, upstream: Upstream, given: str) -> None:
    await client.send(chat_request("test/one", f"X-Request-ID: {given}"))
    assert (await client.read_response()).header("x-request-id") == given
    assert upstream.received[0].header("x-request-id") == given


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 129, "caf\xe9"])
async def test_a_request_id_is_made_where_there_is_no_fit_one(
    client: Client, upstream: Upstream, given: str | None
) -> None:
    await client.send(chat_request("test/one", *(() if given is None else (f"X-Request-ID: {given}",))))
    made = (await client.read_response()).header("x-request-id")
    assert made is not None
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert upstream.received[0].header("x-request-id") == made


UPSTREAM_HEADERS = {
    "x-ratelimit-remaining-requests": "9",
    "openai-processing-ms": "12",
    "set-cookie": "__cf=1",
    "alt-svc": 'h3=":443"',
    "strict-transport-security": "max-age=1",
    "keep-alive": "timeout=5",
    "x-request-id": "req-upstream",
    "x-plano-model": "forged",
    "x-plano-attempts": "99",
    "content-type": "application/json; charset=utf-8",
}


@pytest.mark.parametrize("streaming", [False, True])
async def test_headers_of_the_answer(client: Client, upstream: Upstream, streaming: bool) -> None:
    fields: dict[str, Any] = dict(UPSTREAM_HEADERS)
    if streaming:
        head, *rest = stream("a")
        del fields["content-type"]
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
        upstream.script(head[:-2] + lines + b"\r\n", *rest)
    else:
        upstream.script(document(headers=fields))
    await client.send(chat_request("wild/some-model", "X-Request-Id: mine", stream=streaming))
    response = await client.read_response()
    assert response.header("x-ratelimit-remaining-requests") == "9"
    assert response.header("openai-processing-ms") == "12"
    assert response.header("x-upstream-request-id") == "req-upstream"
    assert response.header("x-request-id") == "mine"
    assert response.header("x-plano-model") == "wild/some-model"
    assert response.header("x-plano-attempts") == "1"
    kind = "text/event-stream; charset=utf-8" if streaming else "application/json; charset=utf-8"
    assert response.header("content-type") == kind
    for dropped in ("set-cookie", "alt-svc", "strict-transport-security", "keep-alive"):
        assert response.header(dropped) is None
