"""Filters behind MCP: real servers of the official SDK, and peers that are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from plano.agents.filters import FilterChain, FilteredRequest, FilterFailed, FilterRefused, Filters
from plano.agents.mcp_filter import McpFilter, find_endpoint
from plano.config.plan import FilterPlan
from tests.agents.mcp_server import McpServer
from tests.frontends.upstream import CLOSE, RESET, Step, Upstream, Wait, response
from tests.frontends.waiting import wait_until

Make = Callable[..., McpFilter]

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KINDS = ["json", "sse", "stateless"]
BODY = b'{"model":"m","messages":[]}'


def ask(path: str = "/v1/chat/completions", *lines: bytes) -> FilteredRequest:
    """A request of a client with credentials."""
    return FilteredRequest(path, lines, b"Bearer sk-user", b"key", b"request-1", TRACE.encode())


@pytest.fixture(scope="module")
def shared_server() -> Iterator[McpServer]:
    running = McpServer()
    yield running
    running.close()


@pytest.fixture
def server(shared_server: McpServer) -> McpServer:
    """A server that has not seen anything."""
    shared_server.forget()
    return shared_server


@pytest.fixture
def restarting() -> Iterator[McpServer]:
    """A server of the test's own."""
    running = McpServer()
    yield running
    running.close()


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes filters; they are closed with the test."""
    made: list[McpFilter] = []

    def make_filter(url: str, tool: str = "structured", **changes: Any) -> McpFilter:
        made.append(McpFilter(FilterPlan("pii", "mcp", url, tool, **changes), None))
        return made[-1]

    yield make_filter
    for one in made:
        await one.close()


@pytest.fixture
async def peer() -> AsyncIterator[Upstream]:
    """A server that does what the test scripts."""
    scripted = await Upstream().start()
    yield scripted
    await scripted.close()


# -- what comes back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tool", ["structured", "text"])
async def test_a_tool_replaces_a_document(server: McpServer, make: Make, kind: str, tool: str) -> None:
    made = await make(server.url(kind), tool).call(BODY, ask())
    assert json.loads(made) == {"model": "m", "messages": [], "user": "/v1/chat/completions"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tool", ["structured", "text", "quoted"])
async def test_a_tool_sees_and_makes_the_event_of_a_stream_as_text(
    server: McpServer, make: Make, kind: str, tool: str
) -> None:
    made = await make(server.url(kind), tool).call('data: {"text":"sécret secret"}\n\n'.encode(), ask())
    assert made.decode() == 'data: {"text":"sécret [gone]"}\n\n'


async def test_nothing_may_come_back_too(server: McpServer, make: Make) -> None:
    assert await make(server.url(), "empty").call(BODY, ask()) == b""


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_the_tool_refuses_with_its_words(server: McpServer, make: Make, kind: str) -> None:
    with pytest.raises(FilterRefused) as caught:
        await make(server.url(kind), "refuse").call(BODY, ask())
    assert (caught.value.filter_id, caught.value.status, caught.value.said) == ("pii", 400, "not in this house")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("tool", "reason"), [("image", "holds no text"), ("huge", "larger than 33554432 bytes")])
async def test_an_answer_that_is_of_no_use_is_a_failure(
    server: McpServer, make: Make, kind: str, tool: str, reason: str
) -> None:
    with pytest.raises(FilterFailed, match=reason):
        await make(server.url(kind), tool).call(BODY, ask())


async def test_what_is_neither_json_nor_text_is_not_sent(server: McpServer, make: Make) -> None:
    with pytest.raises(FilterFailed, match="neither JSON nor text"):
        await make(server.url()).call(b"\xff\xfe", ask())


# -- what is said ---------------------------------------------------------------------------------------------------


async def test_the_tool_gets_body_and_path_and_the_trace(server: McpServer, make: Make) -> None:
    client = (b"x-user: u\r\n", b"Mcp-Session-Id: stolen\r\n", b"Accept: text/html\r\n")
    await make(server.url()).call(BODY, ask("/v1/messages?beta=1", *client))
    (call,) = server.seen("tools/call")
    assert call["params"]["name"] == "structured"
    assert call["params"]["arguments"] == {"body": json.loads(BODY), "path": "/v1/messages?beta=1"}
    assert call["params"]["_meta"]["traceparent"] == call["headers"]["traceparent"] == TRACE
    assert call["headers"]["x-user"] == "u"
    assert call["headers"]["x-request-id"] == "request-1"
    assert call["session"] not in (None, "stolen")
    assert call["headers"]["accept"] == "application/json, text/event-stream"
    assert not {"authorization", "x-api-key"} & call["headers"].keys()


async def test_credentials_go_where_they_are_named_and_end_with_the_call(server: McpServer, make: Make) -> None:
    named = make(server.url(), forward_headers=("authorization",))
    await named.call(BODY, ask("/v1/chat/completions", b"x-user: u\r\n"))
    await named.close()
    seen = server.seen()
    assert [one["method"] for one in seen] == ["initialize", "notifications/initialized", "tools/call", "DELETE"]
    assert [one["headers"].get("authorization") for one in seen] == ["Bearer sk-user"] * 3 + [None]
    assert "x-user" not in seen[2]["headers"]


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://f:1", "http://f:1/mcp"),
        ("http://f:1/", "http://f:1/mcp"),
        ("http://f:1/?key=1", "http://f:1/mcp?key=1"),
        ("http://f:1/tools/pii/", "http://f:1/tools/pii/"),
        ("https://f/a%20b?x=1", "https://f/a%20b?x=1"),
    ],
)
def test_the_path_of_the_url_is_honoured(url: str, endpoint: str) -> None:
    assert find_endpoint(url) == endpoint


async def test_a_url_without_a_path_means_mcp(server: McpServer, make: Make) -> None:
    await make(f"http://127.0.0.1:{server.port}").call(BODY, ask())
    assert {one["path"] for one in server.seen()} == {"/mcp"}


# -- sessions -------------------------------------------------------------------------------------------------------


async def test_many_calls_share_one_session(server: McpServer, make: Make) -> None:
    shared = make(server.url("sse"))
    await asyncio.gather(*(shared.call(BODY, ask()) for _ in range(40)))
    assert len(server.seen("initialize")) == 1
    assert len({one["session"] for one in server.seen("tools/call")}) == 1


async def test_a_forgotten_session_is_opened_anew_once_for_all(server: McpServer, make: Make) -> None:
    shared = make(server.url())
    await shared.call(BODY, ask())
    (call,) = server.seen("tools/call")
    server.tell("/json/mcp", **{"mcp-session-id": call["session"], "accept": "application/json"})
    await asyncio.gather(*(shared.call(BODY, ask()) for _ in range(10)))
    assert len(server.seen("initialize")) == 2


async def test_a_server_may_be_restarted(restarting: McpServer, make: Make) -> None:
    shared = make(restarting.url("sse"))
    await shared.call(BODY, ask())
    await asyncio.to_thread(restarting.restart)
    assert json.loads(await shared.call(BODY, ask()))["model"] == "m"
    assert len(restarting.seen("initialize")) == 1


async def test_a_client_that_leaves_takes_its_call_back_and_nothing_else(server: McpServer, make: Make) -> None:
    shared = make(server.url("sse"), "hang")
    task = asyncio.create_task(shared.call(BODY, ask()))
    await wait_until(lambda: server.seen("tools/call"), "no call")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: server.seen("notifications/cancelled"), "it was not taken back")
    assert len(server.seen("initialize")) == 1


async def test_who_opens_the_session_may_leave_while_others_wait(peer: Upstream, make: Make) -> None:
    told = asyncio.Event()
    speak(peer, hold=told)
    shared = make(f"http://127.0.0.1:{peer.port}/mcp")
    first, second = (asyncio.create_task(shared.call(BODY, ask())) for _ in range(2))
    await peer.wait_received()
    first.cancel()
    told.set()
    assert json.loads(await second) == {"model": "m"}
    assert count(peer, "initialize") == 1


async def test_a_call_has_a_deadline(server: McpServer, make: Make) -> None:
    with pytest.raises(FilterFailed, match=r"no answer within 1 s"):
        await make(server.url("sse"), "hang", timeout_s=1.0).call(BODY, ask())


async def test_closing_ends_the_session_at_the_server(server: McpServer, make: Make) -> None:
    shared = make(server.url())
    await shared.call(BODY, ask())
    await shared.close()
    assert [one["session"] for one in server.seen("DELETE")] == [one["session"] for one in server.seen("tools/call")]
    with pytest.raises(FilterFailed, match="the gateway ends"):
        await shared.call(BODY, ask())


async def test_closing_does_not_wait_for_a_handshake(peer: Upstream, make: Make) -> None:
    peer.default = ()
    shared = make(f"http://127.0.0.1:{peer.port}/mcp", timeout_s=60.0)
    task = asyncio.create_task(shared.call(BODY, ask()))
    await peer.wait_received()
    await shared.close()
    with pytest.raises(FilterFailed, match="no session"):
        await task


# -- peers that are none --------------------------------------------------------------------------------------------


def initialized(version: str = "2025-06-18") -> dict[str, Any]:
    """What a server says to `initialize`."""
    return {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}


def say(result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "result": result}


def speak(peer: Upstream, *, hold: asyncio.Event | None = None) -> Step:
    """From now on `peer` is an MCP server whose tools make `{"model": "m"}`. Returns that as a step of a script."""

    def answer() -> bytes:
        said = json.loads(peer.received[-1].body or b"{}")  # nothing: the DELETE of the session
        if "id" not in said:
            return response("202 Accepted")
        opening = said["method"] == "initialize"
        result = initialized() if opening else {"content": [{"type": "text", "text": '{"model": "m"}'}]}
        headers = {"mcp-session-id": "s1"} if opening else None
        return response("200 OK", json.dumps({"id": said["id"], **say(result)}), headers)

    peer.default = (answer,) if hold is None else (Wait(hold), answer)
    return answer


def count(peer: Upstream, method: str) -> int:
    """How many messages of this method have come."""
    return sum(one.body != b"" and one.json["method"] == method for one in peer.received)


EVENTS = {"content-type": "text/event-stream"}

WELCOMES: dict[str, tuple[tuple[Step, ...], str]] = {
    "closed": ((CLOSE,), "the connection was lost"),
    "reset": ((RESET,), "the connection was lost"),
    "not http": ((b"SSH-2.0\r\n",), "cannot be reached"),
    "status 500": ((response("500 Internal Server Error", "no"),), "status 500"),
    "redirect elsewhere": ((response("307 T", "", {"location": "http://127.0.0.1:1/mcp"}),), "status 307"),
    "redirect in circles": ((response("307 T", "", {"location": "/mcp"}),), "redirects without an end"),
    "html": ((response("200 OK", "<html>", {"content-type": "text/html"}),), "neither JSON nor events"),
    "not json": ((response("200 OK", "{"),), "not JSON"),
    "an array": ((response("200 OK", "[]"),), "something else"),
    "no json-rpc": ((response("200 OK", "{}"),), "not JSON-RPC"),
    "no result": ((response("200 OK", '{"jsonrpc":"2.0","id":1}'),), "no result"),
    "an odd result": ((response("200 OK", '{"jsonrpc":"2.0","id":1,"result":{}}'),), "not of the protocol"),
    "an odd version": (
        (response("200 OK", json.dumps({"id": 1, **say(initialized("1999-01-01"))})),),
        "no version of the protocol",
    ),
    "accepted": ((response("202 Accepted", "", {"content-type": "text/plain"}),), "neither JSON nor events"),
    "an error": (
        (response("400 Bad", '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no"}}'),),
        "MCP error -32000",
    ),
    "events without an answer": ((response("200 OK", "event: message\ndata:\n\n", EVENTS),), "events ended"),
    "events of nonsense": ((response("200 OK", "data: x\n\n", EVENTS),), "not JSON"),
    "100 MB": ((b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", b"x" * 40_000_000), "larger than"),
    "silence": ((), "no answer within 0.5 s"),
}


@pytest.mark.parametrize(("steps", "reason"), WELCOMES.values(), ids=WELCOMES.keys())
async def test_a_peer_that_is_no_mcp_server_is_a_failure(
    peer: Upstream, make: Make, steps: tuple[Step, ...], reason: str
) -> None:
    peer.default = steps
    broken = make(f"http://127.0.0.1:{peer.port}/mcp", timeout_s=10.0 if steps else 0.5)
    with pytest.raises(FilterFailed, match=reason):
        await broken.call(BODY, ask())


async def test_a_server_that_is_not_there_is_a_failure(make: Make) -> None:
    with pytest.raises(FilterFailed, match="cannot be reached"):
        await make("http://127.0.0.1:1/mcp").call(BODY, ask())


CALLS = {
    "a lost connection": (CLOSE, None, 1),
    "an unknown session": (response("404 Not Found", "no"), None, 2),
    "an unknown session as 400": (
        response("400 Bad", '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"No valid session ID"}}'),
        None,
        2,
    ),
    "a status": (response("503 Service Unavailable", "no"), "status 503", 1),
}


@pytest.mark.parametrize(("step", "reason", "sessions"), CALLS.values(), ids=CALLS.keys())
async def test_a_call_is_tried_again_where_that_may_help(
    peer: Upstream, make: Make, step: Step, reason: str | None, sessions: int
) -> None:
    answer = speak(peer)
    for one in (answer, answer, step):  # initialize, initialized, the call
        peer.script(one)
    call = make(f"http://127.0.0.1:{peer.port}/mcp").call
    if reason is None:
        assert json.loads(await call(BODY, ask())) == {"model": "m"}
    else:
        with pytest.raises(FilterFailed, match=reason):
            await call(BODY, ask())
    assert count(peer, "initialize") == sessions


async def test_a_session_that_is_never_known_is_no_endless_loop(peer: Upstream, make: Make) -> None:
    answer = speak(peer)
    for one in (answer, answer, response("404 Not Found", "no")) * 9:
        peer.script(one)
    with pytest.raises(FilterFailed, match="does not know the session"):
        await make(f"http://127.0.0.1:{peer.port}/mcp").call(BODY, ask())
    assert count(peer, "tools/call") == 2


async def test_a_path_with_a_slash_more_is_followed_and_remembered(peer: Upstream, make: Make) -> None:
    speak(peer)
    peer.script(response("307 Temporary Redirect", "", {"location": f"http://127.0.0.1:{peer.port}/mcp/"}))
    await make(f"http://127.0.0.1:{peer.port}/mcp").call(BODY, ask())
    assert [one.line.split()[1] for one in peer.received] == ["/mcp", "/mcp/", "/mcp/", "/mcp/"]


async def test_a_server_may_ask_whether_we_are_there(peer: Upstream, make: Make) -> None:
    answer = speak(peer)
    ping = b'data: {"jsonrpc":"2.0","id":"p","method":"ping"}\n\n'
    asked = asyncio.Event()

    def answer_late() -> bytes:
        call = next(one.json for one in peer.received if one.json.get("method") == "tools/call")
        result = {"content": [], "structuredContent": {"result": "late"}}
        return b"data: %b\r\n\r\n" % json.dumps({"id": str(call["id"]), **say(result)}).encode()

    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n"
    peer.script(answer)
    peer.script(answer)
    peer.script(head + ping[:9], ping[9:], Wait(asked), answer_late)
    peer.script(response("202 Accepted"))
    task = asyncio.create_task(make(f"http://127.0.0.1:{peer.port}/mcp").call(BODY, ask()))
    pong = await peer.wait_received(4)
    assert pong.json == {"jsonrpc": "2.0", "id": "p", "result": {}}
    assert pong.header("mcp-session-id") == "s1"
    asked.set()
    assert await task == b"late"


async def test_a_server_that_has_no_sessions_any_more_is_discovered(peer: Upstream, make: Make) -> None:
    modern = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
    found = {"supportedVersions": ["2026-07-28"], "capabilities": {}, **modern}
    made = {"content": [], "structuredContent": {"result": {"model": "m"}}, **modern}

    def answer(result: Any) -> Step:
        return lambda: response("200 OK", json.dumps({"id": peer.received[-1].json["id"], **say(result)}))

    gone = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "Method not found"}}
    for one in (response("404 Not Found", json.dumps(gone)), answer(found), answer(made)):
        peer.script(one)
    assert json.loads(await make(f"http://127.0.0.1:{peer.port}/mcp").call(BODY, ask())) == {"model": "m"}
    assert [one.json["method"] for one in peer.received] == ["initialize", "server/discover", "tools/call"]
    assert peer.received[-1].header("mcp-protocol-version") == "2026-07-28"
    assert peer.received[-1].header("mcp-name") == "structured"


# -- chains ---------------------------------------------------------------------------------------------------------


Apply = Callable[[FilterPlan, FilterPlan], Awaitable[bytes]]


@pytest.fixture
async def apply() -> AsyncIterator[Apply]:
    """Sends a payload through a chain of two filters."""
    made: list[Filters] = []

    async def apply_chain(*plans: FilterPlan) -> bytes:
        made.append(Filters(plans))
        chain = made[-1].chain([plan.id for plan in plans])
        assert isinstance(chain, FilterChain)
        return await chain.apply(BODY, ask())

    yield apply_chain
    for filters in made:
        await filters.close()


async def test_http_and_mcp_filters_make_one_chain(server: McpServer, peer: Upstream, apply: Apply) -> None:
    peer.default = (response("200 OK", '{"model":"from http"}'),)
    http = FilterPlan("a", "http", f"http://127.0.0.1:{peer.port}")
    mcp = FilterPlan("b", "mcp", server.url(), "structured")
    assert json.loads(await apply(http, mcp)) == {"model": "from http", "user": "/v1/chat/completions"}
    assert json.loads(await apply(mcp, http)) == {"model": "from http"}
    assert peer.received[-1].json["user"] == "/v1/chat/completions"


async def test_a_failed_filter_is_passed_over_or_ends_the_chain(server: McpServer, apply: Apply) -> None:
    mcp = FilterPlan("b", "mcp", server.url(), "structured")
    allowed, blocking = (
        FilterPlan("a", "mcp", "http://127.0.0.1:1", "t", on_failure=policy) for policy in ("allow", "block")
    )
    assert json.loads(await apply(allowed, mcp))["user"] == "/v1/chat/completions"
    with pytest.raises(FilterFailed) as caught:
        await apply(blocking, mcp)
    assert caught.value.filter_id == "a"


async def test_a_refusal_ends_the_chain_whatever_the_policy(server: McpServer, apply: Apply) -> None:
    refusing = FilterPlan("a", "mcp", server.url(), "refuse", on_failure="allow")
    with pytest.raises(FilterRefused):
        await apply(refusing, FilterPlan("b", "mcp", server.url(), "structured"))
    assert len(server.seen("tools/call")) == 1
