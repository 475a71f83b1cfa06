"""Prompt targets: what is asked, which endpoints are called with what, who words the answer, what failures are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plano.config.plan import (
    ClusterPlan,
    FilterPlan,
    FunctionPlan,
    GuardPlan,
    InferencePlan,
    ListenerPlan,
    ParameterPlan,
    RolePlan,
    TargetCallPlan,
    TargetPlan,
)
from plano.inference.wire import Status
from tests.frontends.client import Response, chat_body, chat_request, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.test_agents import agent
from tests.frontends.tier import Tier
from tests.frontends.upstream import CLOSE, HANG, Upstream, document, refusal, response, stream
from tests.frontends.waiting import wait_until

Json = dict[str, Any]

ASKED = [{"role": "user", "content": "Weather in Köln?"}]
CITY = ParameterPlan("city", {"type": "string", "description": "Name of the city"}, required=True, in_path=True)
DAYS = ParameterPlan("days", {"type": "integer", "description": "How many"}, default=1)


@pytest.fixture
async def tier(tmp_path: Path) -> AsyncIterator[Tier]:
    scripted = Tier(f"ipc://{tmp_path}/inference")
    yield scripted
    await scripted.close()


@pytest.fixture
async def api() -> AsyncIterator[Upstream]:
    """The service behind the endpoints of the targets."""
    scripted = await Upstream().start()
    scripted.default = (response("200 OK", '{"sky":"blue"}'),)
    yield scripted
    await scripted.close()


def endpoint(api: Upstream | int, path: str = "/weather/{city}", **changes: Any) -> TargetCallPlan:
    port = api if isinstance(api, int) else api.port
    return TargetCallPlan(**{"name": "weather_api", "url": f"http://127.0.0.1:{port}", "path": path, **changes})


def target(name: str, call: TargetCallPlan | None, *parameters: ParameterPlan, **changes: Any) -> TargetPlan:
    return TargetPlan(name, f"what {name} is for", parameters or (CITY, DAYS), call, **changes)


def plan_for(
    tier: Tier,
    upstream: Upstream,
    *targets: TargetPlan,
    listener: Json | None = None,
    inference: Json | None = None,
    **changes: Any,
) -> ClusterPlan:
    edge = ListenerPlan("edge", "prompt", "127.0.0.1", 0, timeout_s=20.0, serves_targets=True)
    plan = make_plan(make_provider(upstream.port, default=True, retry=NO_RETRY))
    roles = InferencePlan(
        orchestrator=RolePlan(timeout_s=10.0),
        guard=GuardPlan(timeout_s=10.0),
        function=FunctionPlan(timeout_s=10.0),
        addresses=(tier.address,),
    )
    return replace(
        plan,
        listeners=(replace(edge, **(listener or {})),),
        targets=targets,
        inference=replace(roles, **(inference or {})),
        **changes,
    )


def decide(tier: Tier, *calls: tuple[str, Json], outcome: str = "calls", **fields: Any) -> None:
    """From now on the function model says this."""
    tier.script("function", {"outcome": outcome, "calls": calls, **fields})


async def ask(connect: Connect, frontend: FrontendProcess, request: bytes) -> Response:
    client = await connect(frontend)
    await client.send(request)
    return await client.read_response()


def asking(*lines: str, stream: bool = False, messages: list[Json] | None = None, **fields: Any) -> bytes:
    return chat_request("test/one", *lines, stream=stream, messages=messages or ASKED, **fields)


# -- calls ----------------------------------------------------------------------------------------------------------


async def test_a_model_words_the_answer_from_what_the_endpoint_says(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    decide(tier, ("weather", {"city": "Köln/Süd", "days": "3"}))
    called = endpoint(api, host="weather.example", headers=(("Authorization", "Bearer secret"), ("ACCEPT", "text/csv")))
    frontend = serve(plan_for(tier, upstream, target("weather", called), system_prompt="Be brief."))
    said = await ask(connect, frontend, asking("authorization: Bearer sk-user", "x-request-id: r-1"))
    assert said.status == 200
    assert said.json["choices"][0]["message"]["content"] == "Hello."
    assert said.header("x-plano-route") == "weather"

    (inquiry,) = tier.calls["function"]
    assert inquiry["messages"] == ASKED
    assert inquiry["tools"] == [
        [
            "weather",
            "what weather is for",
            {"type": "object", "properties": {"city": CITY.schema, "days": DAYS.schema}, "required": ["city"]},
        ]
    ]
    (call,) = api.received
    assert call.line == "GET /weather/K%C3%B6ln%2FS%C3%BCd?days=3 HTTP/1.1"
    assert call.body == b""
    assert call.header("host") == "weather.example"
    assert call.header("authorization") == "Bearer secret"
    assert call.header("accept") == "text/csv"
    assert call.header("x-request-id") == "r-1"
    assert call.header("traceparent") is not None
    (worded,) = upstream.received
    assert worded.json == {
        "model": "one",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": 'Weather in Köln?\ncontext: {"sky":"blue"}'},
        ],
    }
    record = await records.read_one()
    assert record.judgement is not None
    assert record.judgement.routes == ("weather",)
    assert [(attempt.provider, attempt.model) for attempt in record.attempts] == [
        ("target", "weather"),
        ("test", "test/one"),
    ]


async def test_a_post_carries_arguments_of_their_types_and_the_query_of_its_path(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    parameters = (
        CITY,
        DAYS,
        ParameterPlan("tags", {"type": "array", "items": {"type": "string"}}),
        ParameterPlan("near", {"type": "object"}),
        ParameterPlan("exact", {"type": "boolean"}),
    )
    decide(tier, ("weather", {"city": "Bonn", "tags": ["a", "b"], "near": {"km": 2.5}, "exact": "true"}))
    called = endpoint(api, "/weather?v=2&in={city}", method="POST")
    frontend = serve(plan_for(tier, upstream, target("weather", called, *parameters)))
    assert (await ask(connect, frontend, asking())).status == 200
    (call,) = api.received
    assert call.line == "POST /weather?v=2&in=Bonn HTTP/1.1"
    assert call.json == {"days": 1, "tags": ["a", "b"], "near": {"km": 2.5}, "exact": True}


async def test_the_system_prompt_of_the_target_goes_before_the_global_one(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    wet = target("weather", endpoint(api), system_prompt="Rain only.")
    await ask(connect, serve(plan_for(tier, upstream, wet, system_prompt="Be brief.")), asking())
    assert upstream.received[0].json["messages"][0] == {"role": "system", "content": "Rain only."}


async def test_tools_and_hidden_messages_are_not_for_the_model_that_words(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    calls = [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    history = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
        {"role": "user", "content": [{"type": "text", "text": "And Bonn?"}]},
    ]
    tools = [{"type": "function", "function": {"name": "own", "parameters": {}}}]
    body = asking(messages=history, tools=tools, tool_choice="auto", metadata={"x-arch-fc": "1", "mine": "2"})
    await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), body)
    worded = upstream.received[0].json
    assert "tools" not in worded
    assert "tool_choice" not in worded
    assert worded["metadata"] == {"mine": "2"}
    assert worded["messages"] == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "It is sunny."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "And Bonn?"}, {"type": "text", "text": 'context: {"sky":"blue"}'}],
        },
    ]
    assert [message["role"] for message in tier.calls["function"][0]["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


async def test_several_calls_are_made_at_once_and_told_in_their_order(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}), ("trains", {"city": "Ulm"}))
    api.default = ()
    frontend = serve(
        plan_for(tier, upstream, target("weather", endpoint(api)), target("trains", endpoint(api, "/trains/{city}")))
    )
    client = await connect(frontend)
    await client.send(asking())
    await wait_until(lambda: len(api.received) == 2)
    for call in reversed(api.received):  # the last one answers first
        call.connection.transport.write(response("200 OK", call.line.split("/")[1]))
    assert (await client.read_response()).status == 200
    question = upstream.received[0].json["messages"][-1]["content"]
    assert question == "Weather in Köln?\ncontext (weather): weather\ncontext (trains): trains"


async def test_one_of_several_that_fails_ends_the_others(
    tier: Tier, upstream: Upstream, api: Upstream, second_upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}), ("trains", {"city": "Ulm"}))
    api.default = ()
    second_upstream.default = (response("409 Conflict", "no trains"),)
    trains = target("trains", endpoint(second_upstream, "/trains/{city}"))
    client = await connect(serve(plan_for(tier, upstream, target("weather", endpoint(api)), trains)))
    await client.send(asking())
    said = await client.read_response()
    assert (said.status, said.error["code"]) == (409, "target_failed")
    assert "trains" in said.error["message"]
    await wait_until(lambda: not api.links or api.links[0].closed_s is not None)
    assert upstream.received == []


@pytest.mark.parametrize("stream", [False, True])
async def test_without_dispatch_the_api_itself_is_the_answer(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, stream: bool
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api), dispatch=False)))
    said = await ask(connect, frontend, asking(stream=stream))
    assert said.status == 200
    if stream:
        assert said.text.endswith('{"sky":"blue"}')
        assert said.events[-1] == b"[DONE]"
    else:
        assert said.json["choices"][0]["message"]["content"] == '{"sky":"blue"}'
        assert said.json["choices"][0]["finish_reason"] == "stop"
    assert upstream.received == []


@pytest.mark.parametrize("dialect", ["messages", "responses"])
async def test_other_dialects_are_served_as_well(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, dialect: str
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api)), system_prompt="Be brief."))
    if dialect == "messages":
        body: Json = {"model": "test/one", "max_tokens": 9, "system": "Kind.", "messages": ASKED}
    else:
        body = {"model": "test/one", "input": "Weather in Köln?", "instructions": "Kind."}
    said = await ask(connect, frontend, render_request(json.dumps(body).encode(), target=f"/v1/{dialect}"))
    assert said.status == 200
    content = said.json["content"] if dialect == "messages" else said.json["output"][0]["content"]
    assert content[0]["text"] == "Hello."
    asked = tier.calls["function"][0]["messages"]
    assert [message["role"] for message in asked] == ["system", "user"]
    system, user = upstream.received[0].json["messages"]
    assert system["content"] == "Be brief.\n\nKind."
    assert user["content"] == 'Weather in Köln?\ncontext: {"sky":"blue"}'


# -- what the function model says -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_is_put_to_the_user(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, records: RecordSocket, stream: bool
) -> None:
    decide(tier, outcome="clarify", question="Which city?", candidates=["weather"])
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking(stream=stream))
    assert said.status == 200
    if stream:
        chunks = [json.loads(data) for data in said.events[:-1]]
        assert said.text == "Which city?"
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert said.events[-1] == b"[DONE]"
    else:
        assert said.json["choices"][0]["message"]["content"] == "Which city?"
    assert upstream.received == api.received == []
    assert said.header("x-plano-route") == "weather"
    assert (await records.read_one()).status == 200


async def test_what_is_missing_all_the_same_is_asked_for(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"days": 2}))
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking())
    assert "city" in said.json["choices"][0]["message"]["content"]
    assert api.received == []


@pytest.mark.parametrize(
    "call",
    [("rockets", {"city": "Bonn"}), ("weather", {"city": "Bonn", "days": "many"}), ("weather", {"city": "B", "x": 1})],
    ids=["no such target", "wrong type", "not declared"],
)
async def test_a_call_that_is_not_right_is_not_made(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, call: tuple[str, Json]
) -> None:
    decide(tier, call)
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking())
    assert said.json["choices"][0]["message"]["content"] == "Hello."
    assert said.header("x-plano-route") is None
    assert api.received == []


async def test_what_no_target_fits_goes_to_the_model_with_the_system_prompt(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, outcome="none")
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api)), system_prompt="Be brief."))
    said = await ask(connect, frontend, asking(seed=7))
    assert said.json["choices"][0]["message"]["content"] == "Hello."
    assert upstream.received[0].json["messages"] == [{"role": "system", "content": "Be brief."}, *ASKED]
    assert upstream.received[0].json["seed"] == 7


async def test_without_a_system_prompt_the_request_leaves_as_it_came(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, outcome="none")
    body = b'{ "model": "test/one", "temperature": 1.50, "messages": [{"role":"user","content":"Hi."}] }'
    await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), render_request(body))
    assert upstream.received[0].body == body.replace(b"test/one", b"one")


async def test_routes_that_a_client_brings_are_not_for_the_model(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, outcome="none")
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api))))
    assert (await ask(connect, frontend, asking(routing_preferences=[]))).status == 200
    assert "routing_preferences" not in upstream.received[0].json


async def test_clients_with_tools_of_their_own_keep_them_when_no_target_fits(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, outcome="none")
    calls = [{"id": "c", "type": "function", "function": {"name": "own", "arguments": "{}"}}]
    history = [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "4"},
    ]
    tools = [{"type": "function", "function": {"name": "own", "parameters": {}}}]
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api))))
    await ask(connect, frontend, asking(messages=history, tools=tools))
    assert upstream.received[0].json["messages"] == history
    assert tier.calls["function"] == []  # a tool's result is no prompt
    await ask(connect, frontend, asking(messages=[*history, *ASKED], tools=tools))
    assert upstream.received[1].json["messages"] == [*history, *ASKED]
    assert upstream.received[1].json["tools"] == tools


@pytest.mark.parametrize("dispatch", [True, False])
async def test_the_default_target_gets_the_conversation(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, dispatch: bool
) -> None:
    decide(tier, outcome="none")
    api.default = (document("All about it."),)
    fallback = target("rag", endpoint(api, "/ask"), default=True, dispatch=dispatch, system_prompt="Use the context.")
    said = await ask(connect, serve(plan_for(tier, upstream, fallback)), asking())
    (call,) = api.received
    assert (call.line, call.json) == ("POST /ask HTTP/1.1", {"messages": ASKED})
    assert said.header("x-plano-route") == "rag"
    assert "metadata" not in said.json
    if dispatch:
        assert upstream.received[0].json["messages"] == [
            {"role": "system", "content": "Use the context."},
            {"role": "user", "content": "Weather in Köln?\ncontext: All about it."},
        ]
    else:
        assert said.json["choices"][0]["message"]["content"] == "All about it."


async def test_a_default_target_without_an_endpoint_is_a_system_prompt(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, outcome="none")
    fallback = target("chat", None, default=True, system_prompt="Just chat.")
    await ask(connect, serve(plan_for(tier, upstream, fallback, system_prompt="Be brief.")), asking())
    assert upstream.received[0].json["messages"] == [{"role": "system", "content": "Just chat."}, *ASKED]


async def test_agents_answer_what_no_target_fits(
    tier: Tier, upstream: Upstream, api: Upstream, second_upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, outcome="none")
    tier.route("travel")
    agents = (agent("poet", second_upstream.port), agent("travel", second_upstream.port))
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api)), listener={"agents": agents}))
    said = await ask(connect, frontend, chat_request("whatever", messages=ASKED))
    assert said.status == 200
    assert said.header("x-plano-route") == "travel"
    assert second_upstream.received[0].line == "POST /travel/v1/chat/completions HTTP/1.1"
    decide(tier, ("weather", {"city": "Bonn"}))
    said = await ask(connect, frontend, chat_request("whatever", messages=ASKED))
    assert said.header("x-plano-route") == "weather"
    assert upstream.received[0].json["model"] == "one"  # the default one: `whatever` was for agents


async def test_the_models_of_the_listener_are_listed(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    frontend = serve(plan_for(tier, upstream, listener={"agents": (agent("travel", upstream.port),)}))
    said = await ask(connect, frontend, render_request(None, method="GET", target="/v1/models"))
    assert [model["id"] for model in said.json["data"]] == ["travel", "test/one"]
    assert (await ask(connect, frontend, render_request(None, method="GET", target="/healthz"))).status == 200


# -- when the function model or the guard is not there --------------------------------------------------------------


async def test_without_the_function_model_the_default_target_serves(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.script("function", (Status.FAILED, "broken"))
    fallback = target("rag", endpoint(api, "/ask"), default=True)
    said = await ask(connect, serve(plan_for(tier, upstream, fallback)), asking())
    assert said.status == 200
    assert said.header("x-plano-degraded") == "function"
    assert len(api.received) == 1


async def test_without_the_function_model_and_a_default_target_the_model_serves(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.script("function", None)  # silence
    plan = plan_for(
        tier, upstream, target("weather", endpoint(api)), inference={"function": FunctionPlan(timeout_s=0.2)}
    )
    said = await ask(connect, serve(plan), asking())
    assert said.status == 200
    assert said.header("x-plano-degraded") == "function"
    judgement = (await records.read_one()).judgement
    assert judgement is not None
    assert judgement.degraded == ("function",)


async def test_with_nobody_left_it_is_503(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.script("function", (Status.FAILED, "broken"))
    plan = plan_for(tier, upstream, target("weather", endpoint(api)))
    several = (make_provider(upstream.port, "one"), make_provider(upstream.port, "two"))  # and none is the default
    plan = replace(plan, providers=several)
    said = await ask(connect, serve(plan), chat_request(None, messages=ASKED))
    assert (said.status, said.error["code"]) == (503, "function_unavailable")
    assert said.header("retry-after") is not None


async def test_an_unknown_model_is_refused_before_anything_is_called(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api))))
    said = await ask(connect, frontend, chat_request("no/such", messages=ASKED))
    assert (said.status, said.error["code"]) == (404, "model_not_found")
    assert tier.calls["function"] == []


async def test_an_attack_is_refused_and_no_target_is_called(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.judge(0.99)
    tier.script("function", None)
    plan = plan_for(tier, upstream, target("weather", endpoint(api)), listener={"jailbreak_message": "Not here."})
    said = await ask(connect, serve(plan), asking())
    assert said.json["choices"][0]["message"]["content"] == "Not here."
    assert upstream.received == api.received == []
    await wait_until(lambda: tier.cancelled == 1)  # the function model is not waited for
    judgement = (await records.read_one()).judgement
    assert judgement is not None
    assert judgement.blocked


# -- endpoints that fail --------------------------------------------------------------------------------------------


async def test_an_error_of_the_endpoint_names_target_status_and_body(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    api.default = (response("404 Not Found", '{"detail":"no such city"}'),)
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking())
    assert (said.status, said.error["code"]) == (404, "target_failed")
    assert "weather" in said.error["message"]
    assert "no such city" in said.error["message"]
    assert said.error["upstream"] == {
        "target": "weather",
        "host": "weather_api",
        "path": "/weather/{city}",
        "status": 404,
        "body": '{"detail":"no such city"}',
    }
    assert upstream.received == []
    record = await records.read_one()
    assert record.error == "target_failed"
    assert [(attempt.model, attempt.status) for attempt in record.attempts] == [("weather", 404)]


BROKEN: dict[str, tuple[tuple[Any, ...], int]] = {
    "redirects": ((response("302 Found", "", {"location": "http://127.0.0.1:1/"}),), 502),
    "closes": ((CLOSE,), 502),
    "is not http": ((b"SSH-2.0-OpenSSH\r\n\r\n",), 502),
    "dies": ((b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", CLOSE), 502),
    "sends 100 MB": ((b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n", *[b"{" * 65_536] * 1_600), 502),
    "compresses": ((response("200 OK", b"\x1f\x8b", {"content-encoding": "gzip"}),), 502),
    "says nothing": ((HANG,), 504),
    "stops in the middle": ((b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", HANG), 504),
}


@pytest.mark.parametrize(("steps", "status"), BROKEN.values(), ids=BROKEN.keys())
async def test_an_endpoint_that_is_broken_is_an_error_and_no_more(
    tier: Tier,
    upstream: Upstream,
    api: Upstream,
    serve: Serve,
    connect: Connect,
    steps: tuple[Any, ...],
    status: int,
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    api.default = steps
    called = endpoint(api, attempts=1, timeout_s=0.3 if status == 504 else 10.0)
    frontend = serve(plan_for(tier, upstream, target("weather", called)))
    before = frontend.rss_bytes()
    said = await ask(connect, frontend, asking())
    assert (said.status, said.error["code"]) == (status, "target_failed")
    assert frontend.rss_bytes() - before < 20_000_000
    await wait_until(lambda: all(link.closed_s is not None for link in api.links) or status == 502)
    assert upstream.received == []


async def test_garbage_is_passed_to_the_model_as_text(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    api.default = (response("200 OK", b"\xff\x00<html>", {"content-type": "text/html; charset=nonsense"}),)
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking())
    assert said.status == 200
    assert "\ufffd\x00<html>" in upstream.received[0].json["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("method", "status", "tries"),
    [("GET", 503, 3), ("GET", 502, 3), ("POST", 503, 3), ("POST", 502, 1), ("POST", 504, 1), ("GET", 500, 1)],
)
async def test_calls_are_made_again_where_that_does_no_harm(
    tier: Tier,
    upstream: Upstream,
    api: Upstream,
    serve: Serve,
    connect: Connect,
    method: str,
    status: int,
    tries: int,
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    for _ in range(2):
        api.script(response(f"{status} Not now", "busy"))
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api, method=method))))
    said = await ask(connect, frontend, asking())
    assert said.status == (200 if tries == 3 else status)
    assert len(api.received) == tries


async def test_an_endpoint_that_is_not_there_is_tried_again_and_named(
    tier: Tier, upstream: Upstream, refusing_port: int, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    said = await ask(
        connect, serve(plan_for(tier, upstream, target("weather", endpoint(refusing_port, attempts=2)))), asking()
    )
    assert (said.status, said.error["code"]) == (502, "target_failed")
    assert "cannot be reached" in said.error["message"]


async def test_connecting_has_a_time_limit_of_its_own(
    tier: Tier, upstream: Upstream, silent_port: int, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    called = endpoint(silent_port, connect_timeout_s=0.1, attempts=1)
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", called))), asking())
    assert (said.status, said.error["code"]) == (502, "target_failed")


@pytest.mark.parametrize("value", ["..", ".", "", None])
async def test_a_value_that_leads_elsewhere_is_refused(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, value: str | None
) -> None:
    decide(tier, ("weather", {} if value is None else {"city": value}))
    place = ParameterPlan("city", {"type": "string", "minLength": 0}, in_path=True)
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api), place))), asking())
    assert (said.status, said.error["code"]) == (400, "invalid_arguments")
    assert "city" in said.error["message"]
    assert api.received == []


async def test_a_client_that_leaves_ends_the_calls(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}), ("weather", {"city": "Ulm"}))
    api.default = ()
    client = await connect(serve(plan_for(tier, upstream, target("weather", endpoint(api)))))
    await client.send(asking())
    await wait_until(lambda: len(api.received) == 2)
    client.close()
    for link in api.links:
        await api.wait_closed(link)
    assert (await records.read_one()).status == 499


async def test_the_deadline_of_the_listener_ends_the_calls(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    api.default = ()
    plan = plan_for(tier, upstream, target("weather", endpoint(api)), listener={"timeout_s": 0.4})
    said = await ask(connect, serve(plan), asking())
    assert said.status == 504
    await api.wait_closed()


async def test_when_the_model_fails_its_error_is_the_answer(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    upstream.default = (refusal("400 Bad Request", "too long"),)
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking())
    assert said.status == 400
    assert said.error["message"] == "too long"


async def test_connections_to_endpoints_are_kept(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api))))
    for _ in range(3):
        assert (await ask(connect, frontend, asking())).status == 200
    assert len(api.links) == 1


async def test_tags_and_braces_in_a_description_stay_what_they_are(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "{city}</tools>"}))
    odd = replace(target("weather", endpoint(api)), description="Weather {city} %s </tools> {{x}} </routes>")
    said = await ask(connect, serve(plan_for(tier, upstream, odd)), asking())
    assert said.status == 200
    assert tier.calls["function"][0]["tools"][0][1] == odd.description
    assert api.received[0].line == "GET /weather/%7Bcity%7D%3C%2Ftools%3E?days=1 HTTP/1.1"


# -- what the client is told of the calls, and brings back ----------------------------------------------------------


async def test_a_document_carries_the_calls_in_its_metadata(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}), raw='{"tool_calls": []}')
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking())
    metadata = said.json["metadata"]
    call = json.loads(metadata["x-arch-tool-call-message"])
    (tool_call,) = call["tool_calls"]
    assert tool_call["function"] == {"name": "weather", "arguments": '{"days":1,"city":"Bonn"}'}
    result = json.loads(metadata["x-arch-api-response-message"])
    assert result == {"role": "tool", "tool_call_id": tool_call["id"], "content": '{"sky":"blue"}'}
    assert metadata["x-arch-fc-model-response"] == '{"tool_calls": []}'
    state = json.loads(json.loads(metadata["x-arch-state"])["messages"])
    assert [message["role"] for message in state] == ["user", "assistant", "tool"]
    assert said.json["usage"]["total_tokens"] == 10


async def test_a_document_in_pieces_carries_them_too(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    whole = document("long" * 1_000)
    upstream.default = (whole[:200], whole[200:])
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking())
    assert said.json["choices"][0]["message"]["content"] == "long" * 1_000
    assert "x-arch-state" in said.json["metadata"]


async def test_a_stream_begins_with_the_calls_and_their_results(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}), ("weather", {"city": "Ulm"}))
    upstream.default = stream("Blue", " sky.")
    said = await ask(connect, serve(plan_for(tier, upstream, target("weather", endpoint(api)))), asking(stream=True))
    assert said.events[-1] == b"[DONE]"
    chunks = [json.loads(data) for data in said.events[:-1]]
    for chunk in chunks[:3]:
        assert chunk["id"].startswith("chatcmpl-")
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["created"] > 0
        assert chunk["model"] == "Arch-Function"
        assert chunk["choices"][0]["finish_reason"] is None
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:3]]
    assert [delta["role"] for delta in deltas] == ["assistant", "tool", "tool"]
    assert [call["index"] for call in deltas[0]["tool_calls"]] == [0, 1]
    assert [delta["tool_call_id"] for delta in deltas[1:]] == [call["id"] for call in deltas[0]["tool_calls"]]
    assert deltas[1]["content"] == '{"sky":"blue"}'
    assert said.text.endswith("Blue sky.")
    assert json.loads(chunks[0]["metadata"]["x-arch-state"])


async def test_state_that_comes_back_puts_hidden_calls_in_their_place(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api))))
    first = await ask(connect, frontend, asking())
    state = first.json["metadata"]["x-arch-state"]
    messages = [*ASKED, {"role": "assistant", "content": "Blue."}, {"role": "user", "content": "And tomorrow?"}]
    decide(tier, outcome="none")
    second = await ask(connect, frontend, asking(messages=messages, metadata={"x-arch-state": state}))
    asked = tier.calls["function"][1]["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "tool", "assistant", "user"]
    assert asked[2]["content"] == '{"sky":"blue"}'
    worded = upstream.received[1].json
    assert worded["messages"] == messages
    assert "metadata" not in worded
    carried = json.loads(json.loads(second.json["metadata"]["x-arch-state"])["messages"])
    assert [message["role"] for message in carried] == ["user", "assistant", "tool", "assistant", "user"]


@pytest.mark.parametrize(
    "state", ["nonsense", "[]", '{"messages": "["}', '{"messages": "[1]"}', 7, '{"messages": [{"role": "root"}]}']
)
async def test_state_that_is_none_is_the_clients_mistake(
    tier: Tier, upstream: Upstream, api: Upstream, serve: Serve, connect: Connect, state: Any
) -> None:
    frontend = serve(plan_for(tier, upstream, target("weather", endpoint(api))))
    said = await ask(connect, frontend, asking(metadata={"x-arch-state": state}))
    assert (said.status, said.error["param"]) == (400, "metadata.x-arch-state")


# -- filters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatch", [True, False])
async def test_output_filters_see_the_answer_with_its_metadata(
    tier: Tier,
    upstream: Upstream,
    api: Upstream,
    second_upstream: Upstream,
    serve: Serve,
    connect: Connect,
    dispatch: bool,
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    second_upstream.script(response("200 OK", '{"changed":true}'))
    out = FilterPlan("out", "http", f"http://127.0.0.1:{second_upstream.port}")
    plan = plan_for(
        tier,
        upstream,
        target("weather", endpoint(api), dispatch=dispatch),
        listener={"output_filters": ("out",)},
        filters=(out,),
    )
    said = await ask(connect, serve(plan), asking())
    assert said.json == {"changed": True}
    seen = second_upstream.received[0].json
    assert "x-arch-state" in seen["metadata"]
    assert seen["choices"][0]["message"]["content"] == ("Hello." if dispatch else '{"sky":"blue"}')


async def test_a_stream_passes_its_filters_from_the_first_event(
    tier: Tier, upstream: Upstream, api: Upstream, second_upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    decide(tier, ("weather", {"city": "Bonn"}))
    upstream.default = stream("Blue.")
    second_upstream.default = (response("200 OK", b"data: {}\n\n"),)
    out = FilterPlan("out", "http", f"http://127.0.0.1:{second_upstream.port}")
    plan = plan_for(
        tier, upstream, target("weather", endpoint(api)), listener={"output_filters": ("out",)}, filters=(out,)
    )
    said = await ask(connect, serve(plan), asking(stream=True))
    assert said.events == [b"{}"] * len(second_upstream.received)
    assert b"tool_calls" in second_upstream.received[0].body
    assert second_upstream.received[-1].body == b"data: [DONE]\n\n"


async def test_a_prompt_listener_without_targets_is_a_model_listener_with_a_system_prompt(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    frontend = serve(plan_for(tier, upstream, system_prompt="Be brief."))
    said = await ask(connect, frontend, render_request(chat_body("test/one")))
    assert said.status == 200
    assert upstream.received[0].json["messages"][0]["content"] == "Be brief."
    assert tier.calls["function"] == []
