"""Filters on the way in and on the way out: what they change, what they stop, and what their failures cost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from plano.config.plan import ClusterPlan, FilterPlan
from tests.frontends.client import Response, chat_body, chat_request, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.upstream import (
    CLOSE,
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    Upstream,
    chunk,
    document,
    response,
    say,
    stream,
)

Server = Upstream  # a filter is a server that does what the test scripts


def plan_for(
    upstream: Upstream,
    *,
    filters: list[FilterPlan],
    inwards: tuple[str, ...] = (),
    outwards: tuple[str, ...] = (),
) -> ClusterPlan:
    plan = make_plan(make_provider(upstream.port, default=True, retry=NO_RETRY))
    (listener,) = plan.listeners
    listener = replace(listener, input_filters=inwards, output_filters=outwards)
    return replace(plan, listeners=(listener,), filters=tuple(filters))


def http(name: str, server: Server, **changes: Any) -> FilterPlan:
    return FilterPlan(**{"id": name, "type": "http", "url": f"http://127.0.0.1:{server.port}/{name}", **changes})


def make(body: Any) -> bytes:
    """The answer of a filter that replaces the payload."""
    return response("200 OK", body if isinstance(body, bytes | str) else json.dumps(body))


async def ask(connect: Connect, frontend: FrontendProcess, request: bytes) -> Response:
    client = await connect(frontend)
    await client.send(request)
    return await client.read_response()


# -- requests -------------------------------------------------------------------------------------------------------


async def test_a_filter_replaces_the_request(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect
) -> None:
    redacted = json.loads(chat_body("test/one", seed=7))
    second_upstream.script(make(redacted))
    frontend = serve(plan_for(upstream, filters=[http("pii", second_upstream)], inwards=("pii",)))
    body = chat_body("test/one")
    said = await ask(connect, frontend, render_request(body, "x-user: u", "authorization: Bearer sk", "x-api-key: k"))
    assert said.status == 200
    (seen,) = second_upstream.received
    assert seen.line == "POST /pii/v1/chat/completions HTTP/1.1"
    assert seen.body == body
    assert seen.header("x-user") == "u"
    assert seen.header("authorization") is seen.header("x-api-key") is None
    assert seen.header("traceparent") is not None
    assert upstream.received[0].json == {**redacted, "model": "one"}


async def test_filters_are_called_in_their_order(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect
) -> None:
    for seed in (1, 2):
        second_upstream.script(make(json.loads(chat_body("test/one", seed=seed))))
    filters = [http("b", second_upstream), http("a", second_upstream)]
    await ask(connect, serve(plan_for(upstream, filters=filters, inwards=("a", "b"))), chat_request())
    assert [seen.line.split("/")[1] for seen in second_upstream.received] == ["a", "b"]
    assert second_upstream.received[1].json["seed"] == 1
    assert upstream.received[0].json["seed"] == 2


async def test_credentials_go_where_they_are_named(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect
) -> None:
    second_upstream.script(make(json.loads(chat_body())))
    named = http("auth", second_upstream, forward_headers=("authorization",))
    frontend = serve(plan_for(upstream, filters=[named], inwards=("auth",)))
    await ask(connect, frontend, chat_request("test/one", "authorization: Bearer sk-user", "x-user: u"))
    assert second_upstream.received[0].header("authorization") == "Bearer sk-user"
    assert second_upstream.received[0].header("x-user") is None


async def test_a_filter_stops_a_request_with_its_own_words(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    second_upstream.script(response("403 Forbidden", '{"detail":"not in this house"}'))
    frontend = serve(plan_for(upstream, filters=[http("house", second_upstream)], inwards=("house",)))
    said = await ask(connect, frontend, chat_request())
    assert (said.status, said.error["code"]) == (403, "filter_refused")
    assert "house" in said.error["message"]
    assert said.error["upstream"] == {
        "agent": "house",
        "status": 403,
        "agent_response": '{"detail":"not in this house"}',
    }
    assert upstream.received == []
    assert (await records.read_one()).error == "filter_refused"


FAILURES = {
    "status 500": (response("500 Internal Server Error", "no"),),
    "redirect": (response("302 Found", "", {"location": "http://127.0.0.1:1/"}),),
    "closed": (CLOSE,),
    "not http": (b"SSH-2.0\r\n",),
    "half": (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", CLOSE),
    "100 MB": (b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n", b"{" * 40_000_000),
    "silence": (),
}


@pytest.mark.parametrize("steps", FAILURES.values(), ids=FAILURES.keys())
@pytest.mark.parametrize("on_failure", ["block", "allow"])
async def test_a_filter_that_fails_stops_the_request_or_is_passed_over(
    upstream: Upstream,
    second_upstream: Server,
    serve: Serve,
    connect: Connect,
    steps: tuple[Any, ...],
    on_failure: str,
) -> None:
    second_upstream.default = steps
    plan = http("pii", second_upstream, on_failure=on_failure, timeout_s=0.3 if not steps else 10.0)
    said = await ask(connect, serve(plan_for(upstream, filters=[plan], inwards=("pii",))), chat_request())
    if on_failure == "allow":
        assert said.status == 200
        assert upstream.received[0].json == json.loads(chat_body("one"))
    else:
        assert (said.status, said.error["code"]) == (502, "filter_failed")
        assert "pii" in said.error["message"]
        assert upstream.received == []


@pytest.mark.parametrize("made", ["nonsense", "[]", '{"model": "test/one"}'])
async def test_what_a_filter_makes_must_be_a_request(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect, made: str
) -> None:
    second_upstream.script(make(made))
    frontend = serve(plan_for(upstream, filters=[http("pii", second_upstream)], inwards=("pii",)))
    said = await ask(connect, frontend, chat_request())
    assert (said.status, said.error["code"]) == (502, "filter_failed")


async def test_a_client_that_leaves_ends_the_filters_call(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    second_upstream.default = ()
    client = await connect(serve(plan_for(upstream, filters=[http("pii", second_upstream)], inwards=("pii",))))
    await client.send(chat_request())
    await second_upstream.wait_received()
    client.close()
    await second_upstream.wait_closed()
    assert (await records.read_one()).status == 499


# -- answers --------------------------------------------------------------------------------------------------------


async def test_a_document_is_filtered_as_a_whole(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    second_upstream.script(make({"changed": True}))
    frontend = serve(plan_for(upstream, filters=[http("out", second_upstream)], outwards=("out",)))
    said = await ask(connect, frontend, chat_request())
    assert said.json == {"changed": True}
    assert second_upstream.received[0].json["choices"][0]["message"]["content"] == "Hello."
    record = await records.read_one()
    assert (record.tokens_in, record.bytes_out) == (7, len(json.dumps({"changed": True})))


async def test_events_are_filtered_one_by_one_in_their_order(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect
) -> None:
    upstream.script(*stream("a", "b", "c"))
    second_upstream.default = ()
    frontend = serve(plan_for(upstream, filters=[http("out", second_upstream)], outwards=("out",)))
    client = await connect(frontend)
    await client.send(chat_request(stream=True))
    seen: list[bytes] = []
    while not seen or seen[-1] != DONE:
        received = await second_upstream.wait_received(len(seen) + 1)
        seen.append(received.body)
        received.connection.transport.write(make(received.body.replace(b'"b"', b'"B"')))
    said = await client.read_response()
    assert said.text == "aBc"
    assert all(event.endswith(b"\n\n") and event.count(b"\n\n") == 1 for event in seen)


async def test_a_buffered_filter_sees_the_stream_at_once(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect
) -> None:
    upstream.script(*stream("a", "b"))
    second_upstream.script(make(say("all of it") + DONE))
    whole = http("out", second_upstream, mode="buffered")
    said = await ask(connect, serve(plan_for(upstream, filters=[whole], outwards=("out",))), chat_request(stream=True))
    assert said.text == "all of it"
    assert len(second_upstream.received) == 1
    assert second_upstream.received[0].body.endswith(DONE)


async def test_an_answer_is_stopped_before_its_first_byte(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect
) -> None:
    second_upstream.script(response("451 Unavailable", "no"))
    frontend = serve(plan_for(upstream, filters=[http("out", second_upstream)], outwards=("out",)))
    said = await ask(connect, frontend, chat_request())
    assert (said.status, said.error["code"]) == (451, "filter_refused")


async def test_a_stream_is_stopped_in_its_middle_with_an_error_and_an_end(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    upstream.script(*stream("a", "b", "c")[:3])  # and no more for now
    second_upstream.script(make(say("a")))
    second_upstream.script(response("400 Bad Request", "no"))
    frontend = serve(plan_for(upstream, filters=[http("out", second_upstream)], outwards=("out",)))
    said = await ask(connect, frontend, chat_request(stream=True))
    assert said.status == 200
    assert said.complete
    errors = [json.loads(data) for data in said.events if b'"error"' in data]
    assert errors[0]["error"]["code"] == "filter_refused"
    await upstream.wait_closed()
    assert (await records.read_one()).error == "filter_refused"


async def test_a_filter_that_stands_still_holds_the_upstream_back(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect
) -> None:
    second_upstream.default = ()
    frontend = serve(plan_for(upstream, filters=[http("out", second_upstream)], outwards=("out",)))
    before = frontend.rss_bytes()
    upstream.script(STREAM_HEAD, *[chunk(say("x" * 50_000))] * 2_000, LAST_CHUNK)  # 100 MB
    client = await connect(frontend)
    await client.send(chat_request(stream=True))
    await second_upstream.wait_received()
    await upstream.links[0].wait_paused()
    assert frontend.rss_bytes() - before < 10_000_000


@pytest.mark.parametrize("on_failure", ["allow", "block"])
async def test_a_broken_filter_of_answers(
    upstream: Upstream, second_upstream: Server, serve: Serve, connect: Connect, on_failure: str
) -> None:
    second_upstream.default = (CLOSE,)
    frontend = serve(
        plan_for(upstream, filters=[http("out", second_upstream, on_failure=on_failure)], outwards=("out",))
    )
    said = await ask(connect, frontend, chat_request())
    if on_failure == "allow":
        assert said.json == json.loads(document().partition(b"\r\n\r\n")[2])
    else:
        assert (said.status, said.error["code"]) == (502, "filter_failed")
