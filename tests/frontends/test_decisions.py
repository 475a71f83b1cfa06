"""What the task-specific models say decides who answers, and whether anybody does; their silence costs only that."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plano.config.plan import ClusterPlan, GuardPlan, InferencePlan, ListenerPlan, PreferencePlan, RolePlan
from plano.inference.wire import Status
from tests.frontends.client import Response, chat_body, chat_request, render_request
from tests.frontends.conftest import Connect, Serve
from tests.frontends.plans import NO_RETRY, make_plan, make_provider
from tests.frontends.process import FrontendProcess
from tests.frontends.records import RecordSocket
from tests.frontends.tier import Tier
from tests.frontends.upstream import Upstream, document, refusal
from tests.frontends.waiting import wait_until

CODE = PreferencePlan("code", "writing and mending programs", ("test/two", "test/three"))
POEM = PreferencePlan("poem", "verse", ("test/three",))
INLINE = {"name": "law", "description": "contracts", "models": ["test/three"]}
REFUSAL = "I would rather not."


@pytest.fixture
async def tier(tmp_path: Path) -> AsyncIterator[Tier]:
    scripted = Tier(f"ipc://{tmp_path}/inference")
    yield scripted
    await scripted.close()


def plan_for(
    tier: Tier | str,
    port: int,
    *,
    guarded: bool = False,
    preferences: tuple[PreferencePlan, ...] = (CODE, POEM),
    timeout_s: float = 20.0,
    **guard: Any,
) -> ClusterPlan:
    """Three models at one upstream (`test/one` is the default), two routes, a tier that is given time."""
    models = [make_provider(port, name, default=name == "one", retry=NO_RETRY) for name in ("one", "two", "three")]
    message = REFUSAL if guarded else None
    return replace(
        make_plan(*models),
        listeners=(ListenerPlan("llm", "model", "127.0.0.1", 0, timeout_s=timeout_s, jailbreak_message=message),),
        preferences=preferences,
        inference=InferencePlan(
            orchestrator=RolePlan(timeout_s=10.0),
            guard=GuardPlan(**{"timeout_s": 10.0, **guard}),
            addresses=(tier if isinstance(tier, str) else tier.address,),
        ),
    )


async def ask(connect: Connect, frontend: FrontendProcess, request: bytes) -> Response:
    client = await connect(frontend)
    await client.send(request)
    return await client.read_response()


def sent_models(upstream: Upstream) -> list[str]:
    return [received.json["model"] for received in upstream.received]


# -- routes -----------------------------------------------------------------------------------------------------------


async def test_the_route_decides_who_answers(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.route("code", confidence=0.75)
    frontend = serve(plan_for(tier, upstream.port))
    response = await ask(connect, frontend, chat_request("test/one"))
    assert response.status == 200
    assert sent_models(upstream) == ["two"]
    assert response.header("x-plano-route") == "code"
    assert response.header("x-plano-model") == "test/two"
    assert response.header("x-plano-degraded") is None
    record = await records.read_one()
    assert (record.requested_model, record.model) == ("test/one", "test/two")
    assert record.judgement == (("code",), True, True, 0.75, None, False, False, ())


async def test_the_orchestrator_sees_the_routes_in_the_order_of_the_config_and_the_turns_as_text(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route("code")
    frontend = serve(plan_for(tier, upstream.port))
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Mend"}, {"type": "text", "text": "this."}]},
        {"role": "assistant", "content": "How?"},
        {"role": "user", "content": "Quickly."},
    ]
    request = chat_request("test/one", "traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01", messages=messages)
    await ask(connect, frontend, request)
    (call,) = tier.calls["orchestrator"]
    assert call["turns"] == [["user", "Mend\nthis."], ["assistant", "How?"], ["user", "Quickly."]]
    assert call["routes"] == [[CODE.name, CODE.description], [POEM.name, POEM.description]]
    assert tier.traceparents[0].startswith(b"00-" + b"a" * 32)


async def test_the_other_models_of_the_route_take_over(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.route("code")
    upstream.script(refusal("503 Unavailable"))
    response = await ask(connect, serve(plan_for(tier, upstream.port)), chat_request("test/one"))
    assert response.status == 200
    assert sent_models(upstream) == ["two", "three"]
    assert [attempt.model for attempt in (await records.read_one()).attempts] == ["test/two", "test/three"]


@pytest.mark.parametrize(("named", "sent"), [("test/three", "three"), (None, "one"), ("none", "one")])
async def test_where_no_route_serves_the_request_says_who_answers(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket, named: str | None, sent: str
) -> None:
    tier.route()
    response = await ask(connect, serve(plan_for(tier, upstream.port)), chat_request(named))
    assert sent_models(upstream) == [sent]
    assert response.header("x-plano-route") is None
    judgement = (await records.read_one()).judgement
    assert judgement is not None
    assert judgement[0] == ()


async def test_a_model_that_does_not_exist_is_refused_before_anybody_is_asked(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    response = await ask(connect, serve(plan_for(tier, upstream.port)), chat_request("nobody"))
    assert response.status == 404
    assert tier.calls["orchestrator"] == []


async def test_a_request_without_words_is_not_asked_about(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://images.test/a.png"}}
    request = chat_request("test/one", messages=[{"role": "user", "content": [image]}])
    assert (await ask(connect, serve(plan_for(tier, upstream.port)), request)).status == 200
    assert tier.calls["orchestrator"] == []
    assert (await records.read_one()).judgement is None


async def test_plain_endpoints_are_not_routed(tier: Tier, upstream: Upstream, serve: Serve, connect: Connect) -> None:
    body = json.dumps({"model": "test/one", "input": "Mend this.", "routing_preferences": [INLINE]}).encode()
    frontend = serve(plan_for(tier, upstream.port, guarded=True))
    assert (await ask(connect, frontend, render_request(body, target="/v1/embeddings"))).status == 200
    assert tier.calls["orchestrator"] == tier.calls["guard"] == []
    assert upstream.received[0].json == {"model": "one", "input": "Mend this."}


async def test_names_that_a_header_cannot_hold_are_encoded(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    name = "père, & Söhne\r\nx-evil: 1"
    tier.route(name)
    preference = PreferencePlan(name, "family", ("test/two",))
    response = await ask(
        connect, serve(plan_for(tier, upstream.port, preferences=(preference,))), chat_request("test/one")
    )
    assert response.header("x-evil") is None
    assert response.header("x-plano-route") == "p%C3%A8re%2C & S%C3%B6hne%0D%0Ax-evil: 1"


# -- the request's own routes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("preferences", [(CODE, POEM), ()], ids=["replacing", "alone"])
async def test_routes_of_the_request_replace_those_of_the_config_and_are_not_sent(
    tier: Tier,
    upstream: Upstream,
    serve: Serve,
    connect: Connect,
    records: RecordSocket,
    preferences: tuple[PreferencePlan, ...],
) -> None:
    tier.route("law")
    frontend = serve(plan_for(tier, upstream.port, preferences=preferences))
    request = chat_request("test/one", routing_preferences=[INLINE], user="u")
    response = await ask(connect, frontend, request)
    assert response.header("x-plano-route") == "law"
    assert tier.calls["orchestrator"][0]["routes"] == [["law", "contracts"]]
    assert upstream.received[0].json == {**json.loads(chat_body("three")), "user": "u"}
    record = await records.read_one()
    assert record.judgement is not None
    assert record.judgement[1] is False
    assert record.bytes_in == len(chat_body("test/one", routing_preferences=[INLINE], user="u"))


async def test_an_empty_list_switches_routing_off(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    frontend = serve(plan_for(tier, upstream.port))
    await ask(connect, frontend, chat_request("test/three", routing_preferences=[]))
    assert tier.calls["orchestrator"] == []
    assert "routing_preferences" not in upstream.received[0].json
    assert sent_models(upstream) == ["three"]


async def test_bad_routes_of_a_request_are_named(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    frontend = serve(plan_for(tier, upstream.port))
    response = await ask(connect, frontend, chat_request("test/one", routing_preferences=[{"name": "law"}]))
    assert response.status == 400
    assert response.error["param"] == "routing_preferences[0].description"


async def test_models_that_nobody_has_are_passed_over(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route("law")
    frontend = serve(plan_for(tier, upstream.port))
    partly = {**INLINE, "models": ["nobody", "test/two"]}
    assert (await ask(connect, frontend, chat_request(routing_preferences=[partly]))).status == 200
    assert sent_models(upstream) == ["two"]
    response = await ask(connect, frontend, chat_request(routing_preferences=[{**INLINE, "models": ["nobody"]}]))
    assert response.status == 404
    assert "nobody" in response.error["message"]


# -- the decision alone -----------------------------------------------------------------------------------------------

QUERIES = [
    pytest.param("/routing/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi."}]}, id="chat"),
    pytest.param(
        "/routing/v1/messages", {"messages": [{"role": "user", "content": "Hi."}], "max_tokens": 9}, id="messages"
    ),
    pytest.param("/routing/v1/responses", {"input": "Hi."}, id="responses"),
]


@pytest.mark.parametrize(("target", "body"), QUERIES)
async def test_the_decision_alone_calls_no_model(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, target: str, body: dict[str, Any]
) -> None:
    tier.route("code")
    frontend = serve(plan_for(tier, upstream.port, guarded=True))
    data = json.dumps({"model": "test/one", **body}).encode()
    traceparent = "traceparent: 00-" + "c" * 32 + "-" + "b" * 16 + "-01"
    response = await ask(connect, frontend, render_request(data, traceparent, target=target))
    assert response.json == {
        "models": ["test/two", "test/three"],
        "route": "code",
        "trace_id": "c" * 32,
        "pinned": False,
        "switched": False,
    }
    assert upstream.received == []
    assert tier.calls["guard"] == []


@pytest.mark.parametrize(("named", "models"), [("test/three", ["test/three"]), (None, ["test/one"])])
async def test_without_a_route_the_decision_is_what_the_request_names(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, named: str | None, models: list[str]
) -> None:
    tier.route()
    request = render_request(chat_body(named), target="/routing/v1/chat/completions")
    decision = (await ask(connect, serve(plan_for(tier, upstream.port)), request)).json
    assert (decision["models"], decision["route"]) == (models, None)


async def test_a_decision_may_name_models_that_only_the_client_has(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route("law")
    own = {**INLINE, "models": ["elsewhere/a", "two"]}
    request = render_request(chat_body(routing_preferences=[own]), target="/routing/v1/chat/completions")
    decision = (await ask(connect, serve(plan_for(tier, upstream.port)), request)).json
    assert decision["models"] == ["elsewhere/a", "test/two"]


async def test_a_decision_may_be_about_a_model_that_only_the_client_has(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.route()
    request = render_request(chat_body("elsewhere/a"), target="/routing/v1/chat/completions")
    decision = (await ask(connect, serve(plan_for(tier, upstream.port)), request)).json
    assert (decision["models"], decision["route"]) == (["elsewhere/a"], None)


# -- the guard --------------------------------------------------------------------------------------------------------


async def test_an_attack_is_answered_by_us_and_reaches_no_model(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.judge(0.99, flagged=True)
    tier.script("orchestrator", None)  # it does not matter what it would have said
    frontend = serve(plan_for(tier, upstream.port, guarded=True))
    response = await ask(connect, frontend, chat_request("test/one"))
    assert response.status == 200
    assert response.json["choices"][0]["message"]["content"] == REFUSAL
    assert response.json["choices"][0]["finish_reason"] == "stop"
    assert upstream.received == []
    record = await records.read_one()
    assert (record.status, record.provider, record.error) == (200, "", "")
    assert record.judgement is not None
    assert record.judgement[3:] == (None, 0.99, True, True, ())
    await wait_until(lambda: tier.cancelled == 1, "the orchestrator is still at it")


async def test_a_stream_is_refused_as_a_stream(tier: Tier, upstream: Upstream, serve: Serve, connect: Connect) -> None:
    tier.judge(0.99)
    frontend = serve(plan_for(tier, upstream.port, guarded=True, preferences=()))
    response = await ask(connect, frontend, chat_request("test/one", stream=True))
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert response.text == REFUSAL
    chunks = [json.loads(data) for data in response.events[:-1]]
    assert response.events[-1] == b"[DONE]"
    assert all({"id", "object", "created", "model", "choices"} <= set(chunk) for chunk in chunks)
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c.get("finish_reason")] == ["stop"]


async def test_messages_and_responses_clients_are_refused_in_their_dialects(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.judge(0.99)
    frontend = serve(plan_for(tier, upstream.port, guarded=True, preferences=()))
    body = {"model": "test/one", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}
    said = await ask(connect, frontend, render_request(json.dumps(body).encode(), target="/v1/messages"))
    assert said.json["type"] == "message"
    assert said.json["content"] == [{"type": "text", "text": REFUSAL}]
    assert said.json["stop_reason"] == "end_turn"
    data = json.dumps({"model": "test/one", "input": "Hi."}).encode()
    said = await ask(connect, frontend, render_request(data, target="/v1/responses"))
    assert said.json["status"] == "completed"
    assert said.json["output"][0]["content"][0]["text"] == REFUSAL


@pytest.mark.parametrize(("probability", "passes"), [(0.49, True), (0.5, True), (0.8, False), (1.0, False)])
async def test_the_threshold_is_the_configs(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, probability: float, passes: bool
) -> None:
    tier.judge(probability)
    frontend = serve(plan_for(tier, upstream.port, guarded=True, preferences=(), threshold=0.8))
    await ask(connect, frontend, chat_request("test/one"))
    assert bool(upstream.received) is passes


async def test_a_suspicion_is_recorded_and_passes(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.judge(0.4, flagged=True)
    frontend = serve(plan_for(tier, upstream.port, guarded=True, preferences=()))
    assert (await ask(connect, frontend, chat_request("test/one"))).json["id"] == "chatcmpl-1"
    judgement = (await records.read_one()).judgement
    assert judgement is not None
    assert judgement[4:7] == (0.4, True, False)


async def test_the_guard_sees_the_last_user_message(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.judge(0.0)
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "second"},
        {"role": "user", "content": "third"},
    ]
    frontend = serve(plan_for(tier, upstream.port, guarded=True, preferences=()))
    await ask(connect, frontend, chat_request("test/one", messages=messages))
    assert tier.calls["guard"] == [{"texts": ["third"]}]


async def test_guard_and_orchestrator_are_asked_at_the_same_time(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.script("guard", None)
    tier.script("orchestrator", None)
    client = await connect(serve(plan_for(tier, upstream.port, guarded=True)))
    await client.send(chat_request("test/one"))
    await wait_until(lambda: bool(tier.calls["guard"] and tier.calls["orchestrator"]), "one waits for the other")
    assert upstream.received == []


# -- silence ----------------------------------------------------------------------------------------------------------

MUTE = {
    "silent": None,
    "overloaded": (Status.OVERLOADED, "full"),
    "unavailable": (Status.UNAVAILABLE, "loading"),
    "failed": (Status.FAILED, "broken"),
    "nonsense": {"routes": "code", "probability": 7},
}


def hurried(plan: ClusterPlan) -> ClusterPlan:
    """The same with next to no time for the tier."""
    tier = plan.inference
    return replace(
        plan,
        inference=replace(
            tier, orchestrator=replace(tier.orchestrator, timeout_s=0.1), guard=replace(tier.guard, timeout_s=0.1)
        ),
    )


@pytest.mark.parametrize("says", MUTE.values(), ids=MUTE.keys())
async def test_without_the_orchestrator_the_named_model_answers(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket, says: Any
) -> None:
    tier.script("orchestrator", says)
    response = await ask(connect, serve(hurried(plan_for(tier, upstream.port))), chat_request("test/three"))
    assert response.status == 200
    assert sent_models(upstream) == ["three"]
    assert response.header("x-plano-degraded") == "orchestrator"
    record = await records.read_one()
    assert record.judgement is not None
    assert record.judgement[-1] == ("orchestrator",)


@pytest.mark.parametrize("says", MUTE.values(), ids=MUTE.keys())
async def test_without_the_guard_a_prompt_passes(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, says: Any
) -> None:
    tier.script("guard", says)
    frontend = serve(hurried(plan_for(tier, upstream.port, guarded=True, preferences=())))
    response = await ask(connect, frontend, chat_request("test/one"))
    assert response.status == 200
    assert response.header("x-plano-degraded") == "guard"


@pytest.mark.parametrize("says", MUTE.values(), ids=MUTE.keys())
async def test_without_the_guard_nothing_passes_where_the_config_says_so(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket, says: Any
) -> None:
    tier.script("guard", says)
    plan = plan_for(tier, upstream.port, guarded=True, preferences=(), on_failure="block")
    response = await ask(connect, serve(hurried(plan)), chat_request("test/one"))
    assert (response.status, response.error["code"]) == (503, "guard_unavailable")
    assert response.header("x-plano-degraded") == "guard"
    assert response.header("retry-after") is not None
    assert upstream.received == []
    assert (await records.read_one()).error == "guard_unavailable"


async def test_without_any_tier_requests_go_on(
    tmp_path: Path, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    plan = plan_for(f"ipc://{tmp_path}/nobody", upstream.port, guarded=True)
    response = await ask(connect, serve(hurried(plan)), chat_request("test/one"))
    assert response.status == 200
    assert response.header("x-plano-degraded") in ("guard, orchestrator", "orchestrator, guard")


async def test_a_client_that_leaves_takes_its_question_with_it(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect, records: RecordSocket
) -> None:
    tier.script("orchestrator", None)
    client = await connect(serve(plan_for(tier, upstream.port)))
    await client.send(chat_request("test/one"))
    await wait_until(lambda: bool(tier.calls["orchestrator"]), "the orchestrator was not asked")
    client.close()
    await wait_until(lambda: tier.cancelled == 1, "the question still stands")
    record = await records.read_one()
    assert (record.status, record.client_gone) == (499, True)
    assert upstream.received == []


async def test_the_deadline_of_a_request_counts_for_its_questions(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.script("orchestrator", None)
    frontend = serve(plan_for(tier, upstream.port, timeout_s=0.3))
    response = await ask(connect, frontend, chat_request("test/one"))
    assert (response.status, response.error["code"]) == (504, "deadline_exceeded")
    assert upstream.received == []


async def test_pipelined_requests_are_decided_one_after_the_other(
    tier: Tier, upstream: Upstream, serve: Serve, connect: Connect
) -> None:
    tier.script("orchestrator", lambda call: {"routes": [call["turns"][-1][1]], "confidence": None})
    client = await connect(serve(plan_for(tier, upstream.port)))
    words = ["code", "poem", "neither"]
    upstream.default = (document(),)
    await client.send(
        b"".join(chat_request("test/one", messages=[{"role": "user", "content": word}]) for word in words)
    )
    answers = [await client.read_response() for _ in words]
    assert [answer.header("x-plano-model") for answer in answers] == ["test/two", "test/three", "test/one"]
