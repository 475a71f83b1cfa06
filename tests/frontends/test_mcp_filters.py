"""MCP filters of a real frontend: requests, answers, events, refusals, failures and sessions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from plano.config.plan import ClusterPlan, FilterPlan
from tests.agents.mcp_server import McpServer
from tests.frontends.client import Response, chat_body, chat_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import Upstream, stream
from tests.frontends.waiting import wait_until


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


def plan_for(
    upstream: Upstream, filter_plan: FilterPlan, *, inwards: bool = False, outwards: bool = False
) -> ClusterPlan:
    plan = make_plan(make_provider(upstream.port, default=True, retry=NO_RETRY))
    (listener,) = plan.listeners
    ids = (filter_plan.id,)
    listener = replace(listener, input_filters=ids if inwards else (), output_filters=ids if outwards else ())
    return replace(plan, listeners=(listener,), filters=(filter_plan,))


def mcp(server: McpServer, tool: str, kind: str = "json", **changes: Any) -> FilterPlan:
    return FilterPlan("pii", "mcp", server.url(kind), tool, **changes)


async def ask(connect: Connect, frontend: FrontendProcess, request: bytes) -> Response:
    client = await connect(frontend)
    await client.send(request)
    return await client.read_response()


@pytest.mark.parametrize("kind", ["json", "sse", "stateless"])
async def test_a_tool_replaces_the_request(
    upstream: Upstream, server: McpServer, serve: Serve, connect: Connect, kind: str
) -> None:
    frontend = serve(plan_for(upstream, mcp(server, "structured", kind), inwards=True))
    assert (await ask(connect, frontend, chat_request())).status == 200
    assert upstream.received[0].json == {**json.loads(chat_body("one")), "user": "/v1/chat/completions"}


async def test_a_tool_stops_a_request_with_its_own_words(
    upstream: Upstream, server: McpServer, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    frontend = serve(plan_for(upstream, mcp(server, "refuse"), inwards=True))
    said = await ask(connect, frontend, chat_request())
    assert (said.status, said.error["code"]) == (400, "filter_refused")
    assert said.error["upstream"] == {"agent": "pii", "status": 400, "agent_response": "not in this house"}
    assert upstream.received == []
    assert (await records.read_one()).error == "filter_refused"


@pytest.mark.parametrize("on_failure", ["block", "allow"])
async def test_a_tool_that_fails_stops_the_request_or_is_passed_over(
    upstream: Upstream, server: McpServer, serve: Serve, connect: Connect, on_failure: str
) -> None:
    frontend = serve(plan_for(upstream, mcp(server, "image", on_failure=on_failure), inwards=True))
    said = await ask(connect, frontend, chat_request())
    if on_failure == "allow":
        assert said.status == 200
    else:
        assert (said.status, said.error["code"]) == (502, "filter_failed")
        assert upstream.received == []


@pytest.mark.parametrize("tool", ["structured", "text"])
async def test_a_tool_sees_every_event_of_a_stream(
    upstream: Upstream, server: McpServer, serve: Serve, connect: Connect, tool: str
) -> None:
    upstream.script(*stream("a ", "secret", " b"))
    frontend = serve(plan_for(upstream, mcp(server, tool), outwards=True))
    said = await ask(connect, frontend, chat_request(stream=True))
    assert said.text == "a [gone] b"
    assert said.complete


async def test_a_buffering_tool_sees_the_stream_at_once(
    upstream: Upstream, server: McpServer, serve: Serve, connect: Connect
) -> None:
    upstream.script(*stream("a ", "secret", " b"))
    frontend = serve(plan_for(upstream, mcp(server, "text", mode="buffered"), outwards=True))
    assert (await ask(connect, frontend, chat_request(stream=True))).text == "a [gone] b"
    assert len(server.seen("tools/call")) == 1


async def test_many_clients_share_one_handshake(
    upstream: Upstream, server: McpServer, serve: Serve, connect: Connect
) -> None:
    frontend = serve(plan_for(upstream, mcp(server, "structured"), inwards=True))

    async def ask_often() -> None:
        client = await connect(frontend)
        for _ in range(20):
            await client.send(chat_request())
            assert (await client.read_response()).status == 200

    await asyncio.gather(*(ask_often() for _ in range(10)))
    assert len(server.seen("initialize")) == 1
    assert len(server.seen("tools/call")) == 200


async def test_a_client_that_leaves_takes_its_call_back(
    upstream: Upstream, server: McpServer, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    client = await connect(serve(plan_for(upstream, mcp(server, "hang", "sse"), inwards=True)))
    await client.send(chat_request())
    await wait_until(lambda: server.seen("tools/call"), "no call")
    client.close()
    assert (await records.read_one()).status == 499
    await wait_until(lambda: server.seen("notifications/cancelled"), "it was not taken back")


async def test_a_frontend_that_ends_ends_its_session(
    upstream: Upstream, server: McpServer, serve: Serve, connect: Connect
) -> None:
    frontend = serve(plan_for(upstream, mcp(server, "structured"), inwards=True))
    await ask(connect, frontend, chat_request())
    frontend.drain(5.0)
    await frontend.wait_ended()
    assert len(server.seen("DELETE")) == 1
