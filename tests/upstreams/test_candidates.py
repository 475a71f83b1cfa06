"""Candidates: the head each upstream is called with, whose credential it gets, who is next when one fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from plano.config.plan import ClusterPlan, ProviderPlan, RetryPlan
from plano.upstreams.candidate import MAX_CACHED, Candidate, Candidates
from tests.upstreams.plans import chat_at, provider, speak


def candidates(*providers: ProviderPlan, **aliases: str) -> Candidates:
    names = tuple((one.name, one.owned_by) for one in providers if not one.wildcard)
    return Candidates(ClusterPlan((), providers, aliases, names))


def only(model: str = "openai/gpt-4o", **changes: Any) -> Candidate:
    """The one candidate of one provider."""
    (candidate,) = candidates(provider(model, **changes)).chain(model)
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
    ("asked", "quoted"), [("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"), ("ft:x", "ft:x"), ("%2e", "%252e")]
)
def test_a_model_named_by_a_client_cannot_leave_its_place_in_the_path(asked: str, quoted: str) -> None:
    (candidate,) = candidates(provider("acme/*", endpoints=chat_at("/m/{model}/chat"))).chain(f"acme/{asked}")
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
        assert [one.name for one in some.chain(asked)] == ["a/x", "c/z", "b/y"], asked
    assert [one.name for one in some.chain("b/y")] == ["b/y", "d/never"]
    assert some.chain("unknown") == ()


def test_nobody_is_asked_twice_and_other_dialects_are_passed_over() -> None:
    some = candidates(
        falling_back("a/x", "a/x", "b/y", "y", "m/claude", "gone"),
        provider("b/y"),
        provider("m/claude", endpoints=speak("messages")),
    )
    assert [one.name for one in some.chain("a/x")] == ["a/x", "b/y"]


def test_fallbacks_may_be_models_of_a_wildcard() -> None:
    some = candidates(falling_back("a/x", "b/new"), provider("b/*"))
    assert [(one.name, one.model) for one in some.chain("a/x")] == [("a/x", "x"), ("b/new", "new")]


def test_one_origin_has_one_pool() -> None:
    some = candidates(
        provider("a/x", host="h.test", authority="h.test"),
        provider("a/y", host="h.test", authority="h.test", access_key="other"),
        provider("a/z", host="h.test", authority="h.test", port=81),
        provider("a/w", host="h.test", authority="virtual.test"),
    )
    pools = [some.chain(f"a/{model}")[0].pool for model in "xyzw"]
    assert pools[0] is pools[1]
    assert len({id(pool) for pool in pools}) == 3
    assert len(some.pools) == 3


def test_models_that_clients_make_up_cannot_fill_the_memory() -> None:
    some = candidates(provider("a/*"))
    for number in range(MAX_CACHED + 50):
        (candidate,) = some.chain(f"a/m{number}")
        assert candidate.model == f"m{number}"
    late = some.chain("a/late")[0]
    assert late is not some.chain("a/late")[0], "prepared each time"
    assert some.chain("a/m1")[0] is some.chain("a/m1")[0]
    assert len(some.pools) == 1


def test_keys_are_not_shown() -> None:
    plan = replace(provider("a/x", access_key="sk-secret"), headers=(("x-key", "sk-secret"),))
    assert "sk-secret" not in repr(plan)
    assert "sk-secret" not in repr(candidates(plan).chain("a/x")[0])
