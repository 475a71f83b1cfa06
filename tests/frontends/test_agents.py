"""Agents behind a listener: who is called, what they know of one another, and what their failures are to the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from plano.config.plan import (
    AgentPlan,
    ClusterPlan,
    EndpointPlan,
    InferencePlan,
    ListenerPlan,
    ProviderPlan,
    RetryPlan,
    RolePlan,
)
from tests.frontends.client import Response, chat_body, chat_request, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, QUICK_RETRY, make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.tier import Tier
from tests.frontends.upstream import CLOSE, Upstream, document, refusal, response, stream
from tests.frontends.waiting import wait_until
from tests.upstreams.plans import speak


@pytest.fixture
async def tier(tmp_path: Path) -> AsyncIterator[Tier]:
    scripted = Tier(f"ipc://{tmp_path}/inference")
    yield scripted
    await scripted.close()


def agent(
    name: str,
    port: int,
    *,
    default: bool = False,
    on_failure: Literal["abort", "skip"] = "abort",
    retry: RetryPlan = NO_RETRY,
) -> AgentPlan:
    """An agent at 127.0.0.1:`port`/<name>."""
    paths = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
    provider = ProviderPlan(
        name=name,
        model=name,
        provider="(agent)",
        owned_by="agent",
        upstream_model="",
        scheme="http",
        host="127.0.0.1",
        port=port,
        authority=f"127.0.0.1:{port}",
        endpoints=tuple(EndpointPlan(kind, f"/{name}{path}", f"/{name}{path}") for kind, path in paths.items()),  # type: ignore[arg-type]
        base_path=f"/{name}",
        usage_in_streams=False,
        verbatim=True,
        retry=retry,
        internal=True,
    )
    return AgentPlan(name, f"what {name} is for", provider, default=default, on_failure=on_failure)


def plan_for(
    tier: Tier | str,
    *agents: AgentPlan,
    execution: Literal["sequential", "parallel"] = "sequential",
    jailbreak_message: str | None = None,
    timeout_s: float = 20.0,
) -> ClusterPlan:
    listener = ListenerPlan(
        "edge",
        "agent",
        "127.0.0.1",
        0,
        timeout_s=timeout_s,
        agents=agents,
        execution=execution,
        jailbreak_message=jailbreak_message,
    )
    address = tier if isinstance(tier, str) else tier.address
    inference = InferencePlan(orchestrator=RolePlan(timeout_s=10.0), addresses=(address,))
    return replace(make_plan(), listeners=(listener,), inference=inference)


async def ask(connect: Connect, frontend: FrontendProcess, request: bytes) -> Response:
    client = await connect(frontend)
    await client.send(request)
    return await client.read_response()


def called(upstream: Upstream) -> list[str]:
    return [received.line.split(" ")[1] for received in upstream.received]


async def test_the_only_agent_gets_the_request_as_it_came(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    body = chat_body("anything/at-all", stream=True, made_up={"b": 1.50})
    frontend = serve(plan_for(tier, agent("travel", upstream.port)))
    request = render_request(body, "authorization: Bearer sk-client", "cookie: a=b", "x-tenant: t", "x-api-key: k")
    said = await ask(connect, frontend, request)
    assert said.status == 200
    (received,) = upstream.received
    assert received.line == "POST /travel/v1/chat/completions HTTP/1.1"
    assert received.body == body
    assert received.header("x-tenant") == "t"
    assert received.header("authorization") is received.header("cookie") is received.header("x-api-key") is None
    assert received.header("traceparent") is not None
    assert received.header("x-request-id") is not None
    assert tier.calls["orchestrator"] == []
    record = await records.read_one()
    assert (record.listener, record.provider, record.model) == ("edge", "(agent)", "travel")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}),
        ("/v1/responses", {"model": "m", "input": "Hi."}),
    ],
)
async def test_agents_are_called_at_the_clients_path(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, path: str, body: dict[str, Any]
) -> None:
    upstream.default = (response("200 OK", json.dumps({"id": "x", "type": "message"})),)
    frontend = serve(plan_for(tier, agent("travel", upstream.port)))
    said = await ask(connect, frontend, render_request(json.dumps(body).encode(), target=path))
    assert said.status == 200
    assert called(upstream) == [f"/travel{path}"]
    assert upstream.received[0].json == body


async def test_the_orchestrator_chooses_by_the_descriptions(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route("hotel")
    frontend = serve(plan_for(tier, agent("flight", upstream.port), agent("hotel", upstream.port)))
    said = await ask(connect, frontend, chat_request())
    assert said.header("x-plano-route") == "hotel"
    assert called(upstream) == ["/hotel/v1/chat/completions"]
    (call,) = tier.calls["orchestrator"]
    assert call["routes"] == [["flight", "what flight is for"], ["hotel", "what hotel is for"]]
    assert call["multiple"] is True


@pytest.mark.parametrize("says", [{"routes": [], "confidence": None}, None], ids=["none", "silence"])
@pytest.mark.parametrize(("marked", "expected"), [(True, "/hotel"), (False, "/flight")])
async def test_otherwise_the_default_agent_answers_or_the_first(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, marked: bool, expected: str, says: Any
) -> None:
    tier.script("orchestrator", says)
    plan = plan_for(tier, agent("flight", upstream.port), agent("hotel", upstream.port, default=marked))
    plan = replace(plan, inference=replace(plan.inference, orchestrator=RolePlan(timeout_s=0.1)))
    said = await ask(connect, serve(plan), chat_request())
    assert called(upstream) == [f"{expected}/v1/chat/completions"]
    assert (said.header("x-plano-degraded") == "orchestrator") is (says is None)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_sequence_hands_its_answers_on(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket, streamed: bool
) -> None:
    tier.route("weather", "hotel")
    first = stream("Sun", "ny.") if streamed else (document("Sunny."),)
    upstream.script(*first)
    upstream.script(*(stream("The Ritz.") if streamed else (document("The Ritz."),)))
    frontend = serve(plan_for(tier, agent("hotel", upstream.port), agent("weather", upstream.port)))
    said = await ask(connect, frontend, chat_request("m", stream=streamed))
    assert called(upstream) == ["/weather/v1/chat/completions", "/hotel/v1/chat/completions"]
    question = {"role": "user", "content": "Hi."}
    assert upstream.received[1].json["messages"] == [
        {"role": "assistant", "content": "Sunny.", "name": "weather"},
        question,
    ]
    assert upstream.received[1].json["stream"] if streamed else "stream" not in upstream.received[1].json
    assert (said.text if streamed else said.json["choices"][0]["message"]["content"]) == "The Ritz."
    record = await records.read_one()
    assert record.model == "hotel"
    assert [(attempt.model, attempt.error) for attempt in record.attempts] == [("weather", ""), ("hotel", "")]


async def test_parallel_agents_are_asked_at_once_and_the_last_writes(
    tier: Tier, upstream: Upstream, second_upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route("weather", "flight", "hotel")
    upstream.default = ()  # the two say nothing until both were asked
    second_upstream.default = (document("The Ritz."),)
    frontend = serve(
        plan_for(
            tier,
            agent("weather", upstream.port),
            agent("flight", upstream.port),
            agent("hotel", second_upstream.port),
            execution="parallel",
        )
    )
    client = await connect(frontend)
    await client.send(chat_request())
    await upstream.wait_received(2)
    for received, text in zip(upstream.received, ("one", "two"), strict=True):
        received.connection.transport.write(document(text))
    said = await client.read_response()
    assert said.json["choices"][0]["message"]["content"] == "The Ritz."
    names = [message.get("name") for message in second_upstream.received[0].json["messages"]]
    assert names == ["weather", "flight", None]


async def test_the_default_model_may_write_from_the_agents_answers(
    tier: Tier, upstream: Upstream, second_upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route("weather", "hotel")
    upstream.default = (document("from an agent"),)
    model = make_provider(second_upstream.port, default=True, endpoints=speak("messages"))
    second_upstream.default = (response("200 OK", json.dumps(MESSAGE)),)
    agents = [agent(name, upstream.port) for name in ("weather", "hotel")]
    plan = plan_for(tier, *agents, execution="parallel")
    (listener,) = plan.listeners
    plan = replace(plan, listeners=(replace(listener, writer="default_model"),), providers=(model,))
    said = await ask(connect, serve(plan), chat_request("whatever"))
    assert said.json["choices"][0]["message"]["content"] == "All in all."
    assert len(upstream.received) == 2
    sent = second_upstream.received[0].json
    assert sent["model"] == "one"
    assert json.dumps(sent["messages"]).count("from an agent") == 2


# -- failures ---------------------------------------------------------------------------------------------------------

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "one",
    "content": [{"type": "text", "text": "All in all."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
BROKEN = {
    "status": ((refusal("503 Unavailable"),), 503),
    "own status": ((refusal("422 Unprocessable"),), 422),
    "garbage": ((response("200 OK", "<html>", {"content-type": "text/html"}),), 502),
    "half": ((b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{", CLOSE), 502),
    "gone": ((CLOSE,), 502),
    "error in 200": ((response("200 OK", '{"error":{"message":"no"}}'),), 502),
    "endless head": ((b"HTTP/1.1 200 OK\r\nx-a: %b\r\n" % (b"a" * 300_000),), 502),
}


@pytest.mark.parametrize(("steps", "status"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("place", [0, 1], ids=["first", "writer"])
async def test_an_agent_that_fails_ends_the_chain_with_its_name(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, steps: tuple[Any, ...], status: int, place: int
) -> None:
    tier.route("weather", "hotel")
    for _ in range(place):
        upstream.script(document("Sunny."))
    upstream.script(*steps)
    if place and steps == (CLOSE,):
        upstream.script(*steps)  # the first one looks like a pooled connection that has just ended
    frontend = serve(plan_for(tier, agent("hotel", upstream.port), agent("weather", upstream.port)))
    said = await ask(connect, frontend, chat_request())
    assert said.status == status
    assert said.error["code"] == "agent_failed"
    assert ["weather", "hotel"][place] in said.error["message"]
    assert called(upstream)[-1].startswith(["/weather", "/hotel"][place])


@pytest.mark.parametrize(("steps", "_status"), BROKEN.values(), ids=BROKEN.keys())
async def test_an_agent_that_may_be_passed_over_is(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, steps: tuple[Any, ...], _status: int
) -> None:
    tier.route("weather", "hotel")
    upstream.script(*steps)
    upstream.script(document("The Ritz."))
    frontend = serve(plan_for(tier, agent("hotel", upstream.port), agent("weather", upstream.port, on_failure="skip")))
    said = await ask(connect, frontend, chat_request())
    assert said.json["choices"][0]["message"]["content"] == "The Ritz."
    assert upstream.received[1].json["messages"] == [{"role": "user", "content": "Hi."}]


async def test_an_agent_in_trouble_is_not_called_for_a_while(
    tier: Tier, upstream: Upstream, second_upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.route("weather", "hotel")
    second_upstream.default = (refusal("503 Unavailable"),)
    fragile = RetryPlan(attempts=1, breaker_failures=2, breaker_open_s=60.0)
    weather = agent("weather", second_upstream.port, on_failure="skip", retry=fragile)
    frontend = serve(plan_for(tier, agent("hotel", upstream.port), weather))
    for _ in range(3):
        assert (await ask(connect, frontend, chat_request())).status == 200
    assert len(second_upstream.received) == 2
    last = (await records.read(3))[-1]
    assert [(attempt.model, attempt.error) for attempt in last.attempts] == [("weather", "circuit_open"), ("hotel", "")]


async def test_an_agent_that_never_ends_is_cut(tier: Tier, upstream: Upstream, serve: Serve, connect: Connect) -> None:
    tier.route("weather", "hotel")
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n"
    upstream.script(head, b"{" * 40_000_000)
    frontend = serve(plan_for(tier, agent("hotel", upstream.port), agent("weather", upstream.port)))
    said = await ask(connect, frontend, chat_request())
    assert (said.status, said.error["code"]) == (502, "agent_failed")
    assert "larger than" in said.error["message"]


async def test_what_was_heard_last_answers_for_a_writer_that_is_passed_over(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route("weather", "hotel")
    upstream.script(document("Sunny."))
    upstream.script(refusal("503 Unavailable"))
    frontend = serve(plan_for(tier, agent("hotel", upstream.port, on_failure="skip"), agent("weather", upstream.port)))
    said = await ask(connect, frontend, chat_request(stream=True))
    assert said.status == 200
    assert said.text == "Sunny."


async def test_agents_are_tried_again(tier: Tier, upstream: Upstream, serve: Serve, connect: Connect) -> None:
    tier.route("weather", "hotel")
    for steps in ((refusal("503 Unavailable"),), (document("Sunny."),), (CLOSE,), (document("The Ritz."),)):
        upstream.script(*steps)
    frontend = serve(
        plan_for(
            tier,
            agent("hotel", upstream.port, retry=QUICK_RETRY),
            agent("weather", upstream.port, retry=QUICK_RETRY),
        )
    )
    assert (await ask(connect, frontend, chat_request())).status == 200
    assert [path.split("/")[1] for path in called(upstream)] == ["weather", "weather", "hotel", "hotel"]


async def test_an_agent_that_hangs_costs_the_deadline(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route("weather", "hotel")
    upstream.default = ()
    frontend = serve(plan_for(tier, agent("hotel", upstream.port), agent("weather", upstream.port), timeout_s=0.3))
    said = await ask(connect, frontend, chat_request())
    assert said.status == 504
    await upstream.wait_closed()


async def test_a_client_that_leaves_ends_the_calls(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.route("weather", "flight", "hotel")
    upstream.default = ()
    agents = [agent(name, upstream.port) for name in ("weather", "flight", "hotel")]
    client = await connect(serve(plan_for(tier, *agents, execution="parallel")))
    await client.send(chat_request())
    await upstream.wait_received(2)
    client.close()
    await wait_until(lambda: all(link.closed_s is not None for link in upstream.links), "an agent is still called")
    assert (await records.read_one()).status == 499


async def test_an_attack_reaches_no_agent(tier: Tier, upstream: Upstream, serve: Serve, connect: Connect) -> None:
    tier.judge(0.9)
    tier.route("weather")
    plan = plan_for(tier, agent("weather", upstream.port), jailbreak_message="No.")
    said = await ask(connect, serve(plan), chat_request())
    assert said.json["choices"][0]["message"]["content"] == "No."
    assert upstream.received == []


async def test_the_agents_are_listed(tier: Tier, upstream: Upstream, serve: Serve, connect: Connect) -> None:
    frontend = serve(plan_for(tier, agent("weather", upstream.port), agent("hotel", upstream.port)))
    listed = (await ask(connect, frontend, render_request(None, method="GET", target="/v1/models"))).json
    assert [(item["id"], item["object"]) for item in listed["data"]] == [("weather", "model"), ("hotel", "model")]
