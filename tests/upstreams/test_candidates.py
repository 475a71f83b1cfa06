"""Candidates: the head each upstream is called with, whose credential it gets, who is next when one fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plano.config.plan import AuthScheme, ClusterPlan, DialectName, ProviderPlan, RetryPlan
from plano.upstreams.candidate import MAX_CACHED, Candidate, Candidates
from tests.upstreams.plans import chat_at, provider, speak


def candidates(*providers: ProviderPlan, **aliases: str) -> Candidates:
    names = tuple((one.name, one.owned_by) for one in providers if not one.wildcard)
    return Candidates(ClusterPlan((), providers, aliases, names))


def only(model: str = "openai/gpt-4o", **changes: Any) -> Candidate:
    """The one candidate of one provider."""
    (candidate,) = candidates(provider(model, **changes)).chain(model, "chat")
    return candidate


def head_lines(candidate: Candidate) -> list[bytes]:
    assert candidate.request_head.endswith(b"\r\n")
    assert not candidate.request_head.endswith(b"\r\n\r\n"), "headers of the request follow"
    return candidate.request_head.split(b"\r\n")[:-1]


# -- the head


def test_the_head_of_a_call() -> None:
    candidate = only(authority="api.test:8443", access_key="sk-1")
    assert head_lines(candidate) == [
        b"POST /v1/chat/completions HTTP/1.1",
        b"host: api.test:8443",
        b"content-type: application/json",
        b"accept-encoding: identity",
        b"authorization: Bearer sk-1",
    ]
    assert candidate.answer_head == b"x-plano-model: openai/gpt-4o\r\n"


@pytest.mark.parametrize(
    ("dialect", "path", "stream_path", "own"),
    [
        ("chat", "/v1/chat/completions", "/v1/chat/completions", {b"authorization: Bearer sk-1"}),
        ("responses", "/v1/responses", "/v1/responses", {b"authorization: Bearer sk-1"}),
        ("messages", "/v1/messages", "/v1/messages", {b"x-api-key: sk-1", b"anthropic-version: 2023-06-01"}),
        (
            "converse",
            "/v1/model/m-v1%3A0/converse",
            "/v1/model/m-v1%3A0/converse-stream",
            {b"authorization: Bearer sk-1"},
        ),
        (
            "gemini",
            "/v1/models/m-v1%3A0:generateContent",
            "/v1/models/m-v1%3A0:streamGenerateContent?alt=sse",
            {b"x-goog-api-key: sk-1"},
        ),
    ],
)
def test_the_head_of_each_dialect(dialect: DialectName, path: str, stream_path: str, own: set[bytes]) -> None:
    candidate = only("acme/m-v1:0", access_key="sk-1", endpoints=speak(dialect))
    lines = head_lines(candidate)
    assert lines[0] == f"POST {path} HTTP/1.1".encode()
    shared = {b"host: acme.test", b"content-type: application/json", b"accept-encoding: identity"}
    assert set(lines[1:]) == shared | own
    assert candidate.stream_head.split(b"\r\n")[:-1] == [f"POST {stream_path} HTTP/1.1".encode(), *lines[1:]]


def test_the_version_a_dialect_fixes_stands_once() -> None:
    candidate = only("acme/m", endpoints=speak("messages"))
    assert candidate.without_overrides([b"Anthropic-Version: 2021-01-01\r\n", b"x-other: 1\r\n"]) == b"x-other: 1\r\n"
    configured = only("acme/m", endpoints=speak("messages"), headers=(("Anthropic-Version", "2030-01-01"),))
    assert head_lines(configured).count(b"anthropic-version: 2030-01-01") == 1
    assert not any(b"2023-06-01" in line for line in head_lines(configured))


def test_without_a_key_no_credential_is_sent() -> None:
    assert not any(line.startswith(b"authorization") for line in head_lines(only()))
    assert not any(b"sk-1" in line for line in head_lines(only(access_key="sk-1", passthrough_auth=True)))


def test_configured_headers_have_the_last_word() -> None:
    candidate = only(access_key="sk-1", headers=(("Authorization", "Token t"), ("X-Team", "a"), ("Host", "other.test")))
    lines = head_lines(candidate)
    assert {b"authorization: Token t", b"x-team: a", b"host: other.test"} <= set(lines)
    names = [line.partition(b":")[0] for line in lines[1:]]
    assert len(names) == len(set(names))
    sent = [b"X-TEAM: mine\r\n", b"x-other: 1\r\n", b"x-team-2: 2\r\n"]
    assert candidate.without_overrides(sent) == b"x-other: 1\r\nx-team-2: 2\r\n"


def test_the_path_may_name_the_model() -> None:
    path = "/openai/deployments/{model}/chat/completions?api-version=1"
    assert head_lines(only("azure_openai/gpt-4o", endpoints=chat_at(path)))[0] == (
        b"POST /openai/deployments/gpt-4o/chat/completions?api-version=1 HTTP/1.1"
    )


@pytest.mark.parametrize(
    ("asked", "quoted"), [("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"), ("ft:x", "ft%3Ax"), ("%2e", "%252e")]
)
def test_a_model_named_by_a_client_cannot_leave_its_place_in_the_path(asked: str, quoted: str) -> None:
    (candidate,) = candidates(provider("acme/*", endpoints=chat_at("/m/{model}/chat"))).chain(f"acme/{asked}", "chat")
    assert head_lines(candidate)[0] == f"POST /m/{quoted}/chat HTTP/1.1".encode()
    assert candidate.model == asked
    assert candidate.name == f"acme/{asked}"


@pytest.mark.parametrize(
    ("retry", "limit_s", "stream_limit_s"),
    [
        (RetryPlan(), None, None),
        (RetryPlan(per_try_timeout_s=9.0), 9.0, 9.0),
        (RetryPlan(first_token_timeout_s=3.0), None, 3.0),
        (RetryPlan(per_try_timeout_s=9.0, first_token_timeout_s=3.0), 9.0, 3.0),
        (RetryPlan(per_try_timeout_s=2.0, first_token_timeout_s=3.0), 2.0, 2.0),
    ],
)
def test_time_limits_of_a_try(retry: RetryPlan, limit_s: float | None, stream_limit_s: float | None) -> None:
    candidate = only(retry=retry)
    assert (candidate.limit_s, candidate.stream_limit_s) == (limit_s, stream_limit_s)


# -- the client's own credential


@pytest.mark.parametrize(
    ("authorization", "api_key", "sent"),
    [
        (b"Bearer sk-c", None, b"Bearer sk-c"),
        (b"bearer  sk-c ", None, b"Bearer sk-c"),
        (b"sk-c", None, b"Bearer sk-c"),
        (None, b"sk-x", b"Bearer sk-x"),
        (b"Bearer sk-c", b"sk-x", b"Bearer sk-c"),
    ],
)
def test_the_clients_credential_is_sent_in_the_upstreams_scheme(
    authorization: bytes | None, api_key: bytes | None, sent: bytes
) -> None:
    candidate = only(passthrough_auth=True)
    assert candidate.credential(authorization, api_key) == b"authorization: %b\r\n" % sent


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        ("x-api-key", b"x-api-key: sk-c\r\n"),
        ("api-key", b"api-key: sk-c\r\n"),
        ("x-goog-api-key", b"x-goog-api-key: sk-c\r\n"),
        ("bearer", b"authorization: Bearer sk-c\r\n"),
    ],
)
def test_every_scheme_has_its_header(auth: AuthScheme, sent: bytes) -> None:
    endpoints = tuple(replace(endpoint, auth=auth) for endpoint in speak("chat"))
    passing = only(passthrough_auth=True, endpoints=endpoints)
    assert passing.credential(b"Bearer sk-c", None) == passing.credential(None, b"sk-c") == sent
    assert sent.rstrip() in head_lines(only(access_key="sk-c", endpoints=endpoints))
    name = sent.partition(b":")[0].decode()
    assert only(passthrough_auth=True, endpoints=endpoints, headers=((name, "own"),)).credential(None, b"sk-c") == b""


def test_where_the_client_has_no_credential_none_is_sent() -> None:
    assert only(passthrough_auth=True).credential(None, None) == b""


def test_a_configured_credential_is_stronger_than_the_clients() -> None:
    candidate = only(passthrough_auth=True, headers=(("Authorization", "Token t"),))
    assert candidate.credential(b"Bearer sk-c", None) == b""


# -- chains and pools


def falling_back(model: str, *fallbacks: str, **changes: Any) -> ProviderPlan:
    return provider(model, retry=RetryPlan(fallback_models=fallbacks), **changes)


def test_the_chain_is_the_model_and_its_fallbacks_in_order() -> None:
    some = candidates(
        falling_back("a/x", "c/z", "b/y", default=True),
        falling_back("b/y", "d/never"),
        provider("c/z"),
        provider("d/never"),
        quick="a/x",
    )
    for asked in ("a/x", "x", "quick", None, "none"):
        assert [one.name for one in some.chain(asked, "chat")] == ["a/x", "c/z", "b/y"], asked
    assert [one.name for one in some.chain("b/y", "chat")] == ["b/y", "d/never"]
    assert some.chain("unknown", "chat") == ()


def test_nobody_is_asked_twice() -> None:
    some = candidates(falling_back("a/x", "a/x", "b/y", "y", "gone"), provider("b/y"))
    assert [one.name for one in some.chain("a/x", "chat")] == ["a/x", "b/y"]


def test_each_of_a_chain_is_called_in_the_clients_dialect_or_its_own() -> None:
    some = candidates(
        falling_back("a/x", "m/claude", "v/all", endpoints=speak("chat", "responses")),
        provider("m/claude", endpoints=speak("messages")),
        provider("v/all", endpoints=speak("chat", "messages", "responses")),
    )
    spoken = {
        client: [one.dialect for one in some.chain("a/x", client)] for client in ("chat", "messages", "responses")
    }
    assert spoken == {
        "chat": ["chat", "messages", "chat"],
        "messages": ["chat", "messages", "messages"],
        "responses": ["responses", "messages", "responses"],
    }
    assert len(some.pools) == 3, "a provider's dialects share its connections"


def test_fallbacks_may_be_models_of_a_wildcard() -> None:
    some = candidates(falling_back("a/x", "b/new"), provider("b/*"))
    assert [(one.name, one.model) for one in some.chain("a/x", "chat")] == [("a/x", "x"), ("b/new", "new")]


def test_one_origin_has_one_pool() -> None:
    some = candidates(
        provider("a/x", host="h.test", authority="h.test"),
        provider("a/y", host="h.test", authority="h.test", access_key="other"),
        provider("a/z", host="h.test", authority="h.test", port=81),
        provider("a/w", host="h.test", authority="virtual.test"),
    )
    pools = [some.chain(f"a/{model}", "chat")[0].pool for model in "xyzw"]
    assert pools[0] is pools[1]
    assert len({id(pool) for pool in pools}) == 3
    assert len(some.pools) == 3


def test_models_that_clients_make_up_cannot_fill_the_memory() -> None:
    some = candidates(provider("a/*"))
    for number in range(MAX_CACHED + 50):
        (candidate,) = some.chain(f"a/m{number}", "chat")
        assert candidate.model == f"m{number}"
    late = some.chain("a/late", "chat")[0]
    assert late is not some.chain("a/late", "chat")[0], "prepared each time"
    assert some.chain("a/m1", "chat")[0] is some.chain("a/m1", "chat")[0]
    assert len(some.pools) == 1


def test_keys_are_not_shown() -> None:
    plan = replace(provider("a/x", access_key="sk-secret"), headers=(("x-key", "sk-secret"),))
    assert "sk-secret" not in repr(plan)
    assert "sk-secret" not in repr(candidates(plan).chain("a/x", "chat")[0])
