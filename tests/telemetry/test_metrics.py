"""Records in, exposition text out."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from plano.telemetry.cluster import ClusterPicture
from plano.telemetry.exposition import Scrape
from plano.telemetry.metrics import MalformedRecord, RequestMetrics
from plano.telemetry.record import Attempt, Judgement, Record

PLAIN = Record(
    request_id="r1",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    parent_span_id="",
    span_id="00f067aa0ba902b7",
    listener="egress",
    method=b"POST",
    path="/v1/chat/completions",
    requested_model="fast",
    provider="openai",
    model="openai/gpt-4o",
    status=200,
    error="",
    streaming=False,
    client_gone=False,
    started_unix_s=1.7e9,
    duration_s=0.3,
    ttft_s=0.3,
    bytes_in=100,
    bytes_out=200,
    tokens_in=10,
    tokens_out=20,
    tokens_cached=4,
    tokens_reasoning=None,
    attempts=(),
)
STREAM = PLAIN._replace(streaming=True, duration_s=2.2, ttft_s=0.2, tokens_out=101)


def expose(metrics: RequestMetrics, picture: ClusterPicture | None = None, now: float = 0.0) -> dict[str, float]:
    """Every sample as `name{label="value",...}`, as a scraper would read it off the text."""
    body, _ = Scrape(metrics, picture or ClusterPicture(), 0, "1.2.3", now).render("text/plain")
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def count(*records: Record, max_model_pairs: int = 1_000) -> dict[str, float]:
    metrics = RequestMetrics(max_model_pairs)
    for record in records:
        # As it comes off the wire: a tuple without names, lists within it.
        metrics.add(tuple(msgpack.unpackb(msgpack.packb(record))))
    return expose(metrics)


def test_requests_are_counted_by_listener_provider_model_and_status() -> None:
    samples = count(PLAIN, PLAIN, PLAIN._replace(status=429, error="rate_limit_exceeded"))
    labels = 'listener="egress",model="openai/gpt-4o",provider="openai"'
    assert samples[f'plano_requests_total{{{labels},status="200"}}'] == 2
    assert samples[f'plano_requests_total{{{labels},status="429"}}'] == 1
    assert samples['plano_http_errors_total{code="rate_limit_exceeded",listener="egress"}'] == 1


def test_durations_fall_into_cumulative_buckets() -> None:
    samples = count(PLAIN._replace(duration_s=0.005), PLAIN._replace(duration_s=0.3), PLAIN._replace(duration_s=1e4))
    labels = 'listener="egress",model="openai/gpt-4o",provider="openai"'

    def bucket(bound: str) -> float:
        return samples[f'plano_request_duration_seconds_bucket{{le="{bound}",{labels}}}']

    assert [bucket(bound) for bound in ("0.005", "0.25", "0.5", "300.0", "+Inf")] == [1, 1, 2, 2, 3]
    assert samples[f"plano_request_duration_seconds_count{{{labels}}}"] == 3
    assert samples[f"plano_request_duration_seconds_sum{{{labels}}}"] == pytest.approx(10_000.305)


def test_first_token_and_token_times_are_those_of_streams_only() -> None:
    pair = 'model="openai/gpt-4o",provider="openai"'
    assert f"plano_time_to_first_token_seconds_count{{{pair}}}" not in count(PLAIN)
    samples = count(PLAIN, STREAM)
    assert samples[f"plano_time_to_first_token_seconds_sum{{{pair}}}"] == pytest.approx(0.2)
    assert samples[f"plano_time_per_output_token_seconds_sum{{{pair}}}"] == pytest.approx(0.02)  # 2.0 s / 100


@pytest.mark.parametrize("tokens_out", [None, 0, 1])
def test_a_stream_of_at_most_one_token_has_no_time_per_token(tokens_out: int | None) -> None:
    samples = count(STREAM._replace(tokens_out=tokens_out))
    assert not any(name.startswith("plano_time_per_output_token_seconds_count") for name in samples)


def test_tokens_are_summed_by_kind() -> None:
    samples = count(PLAIN, PLAIN._replace(tokens_reasoning=7))
    totals = {
        kind: samples[f'plano_tokens_total{{kind="{kind}",model="openai/gpt-4o",provider="openai"}}']
        for kind in ("input", "output", "cached", "reasoning")
    }
    assert totals == {"input": 20, "output": 40, "cached": 8, "reasoning": 7}


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({}, 1),
        ({"status": 503, "error": "upstream_error"}, 0),
        ({"client_gone": True}, 0),
        ({"tokens_out": 3}, 0),
        ({"method": b"GET", "provider": "", "model": ""}, 0),
    ],
)
def test_usage_is_missed_only_in_complete_good_answers(change: dict[str, Any], missing: int) -> None:
    samples = count(PLAIN._replace(**{"tokens_in": None, "tokens_out": None, "tokens_cached": None, **change}))
    assert sum(value for name, value in samples.items() if name.startswith("plano_usage_missing_total")) == missing


def test_attempts_retries_and_failovers_come_from_the_order_of_attempts() -> None:
    failed = Attempt("openai", "openai/gpt-4o", 503, "status", 0.1)
    timed_out = Attempt("openai", "openai/gpt-4o", 0, "timeout", 1.0)
    served = Attempt("anthropic", "anthropic/claude", 200, "", 0.4)
    samples = count(
        PLAIN._replace(provider="anthropic", model="anthropic/claude", attempts=(failed, timed_out, served))
    )
    first, second = 'model="openai/gpt-4o",', 'provider="openai"'
    assert samples[f'plano_attempts_total{{{first}outcome="status_503",{second}}}'] == 1
    assert samples[f'plano_attempts_total{{{first}outcome="timeout",{second}}}'] == 1
    assert samples['plano_attempts_total{model="anthropic/claude",outcome="ok",provider="anthropic"}'] == 1
    assert samples[f'plano_retries_total{{{first}{second},reason="status_503"}}'] == 1
    assert samples['plano_failovers_total{from_provider="openai",reason="timeout",to_provider="anthropic"}'] == 1
    assert sum(value for name, value in samples.items() if name.startswith("plano_attempts_total")) == 3


def test_an_empty_list_of_attempts_is_one_that_succeeded() -> None:
    assert count(PLAIN)['plano_attempts_total{model="openai/gpt-4o",outcome="ok",provider="openai"}'] == 1


def test_a_request_that_reached_no_model_is_counted_under_none() -> None:
    samples = count(PLAIN._replace(provider="", model="", status=404, error="model_not_found", requested_model="x"))
    assert samples['plano_requests_total{listener="egress",model="none",provider="none",status="404"}'] == 1
    assert not any(name.startswith("plano_attempts_total") for name in samples)


def test_the_requested_model_is_no_label() -> None:
    samples = count(PLAIN._replace(requested_model="attacker-chosen"))
    assert not any("attacker-chosen" in name for name in samples)


def test_clients_that_leave_are_counted() -> None:
    assert count(PLAIN, PLAIN._replace(client_gone=True))['plano_client_disconnects_total{listener="egress"}'] == 1


def test_models_beyond_the_bound_become_other() -> None:
    records = [PLAIN._replace(model=f"openai/m{number}") for number in range(10)]
    samples = count(*records, *records, max_model_pairs=3)
    requests = {name: value for name, value in samples.items() if name.startswith("plano_requests_total")}
    assert len(requests) == 4
    labels = 'listener="egress",model="other",provider="openai",status="200"'
    assert requests[f"plano_requests_total{{{labels}}}"] == 14
    assert sum(requests.values()) == 20


def test_memory_stays_bounded_whatever_the_labels() -> None:
    metrics = RequestMetrics(max_model_pairs=5)
    for number in range(2_000):
        attempts = (Attempt(f"p{number}", f"m{number}", 0, f"kind{number}", 0.1),)
        metrics.add(
            PLAIN._replace(
                listener=f"l{number}", provider=f"p{number}", model=f"m{number}", error=f"e{number}", attempts=attempts
            )
        )
    assert len(metrics.models) <= 5 + 201
    assert len(metrics.errors) <= 201 * 201
    assert len(metrics.requests) <= 201 * 206


NOT_RECORDS: list[Any] = [
    [],
    ["half", "a", "record"],
    7,
    None,
    "a string of exactly some length!",
    PLAIN._replace(duration_s="0.3"),  # type: ignore[arg-type]
    PLAIN._replace(duration_s=-1.0),
    PLAIN._replace(duration_s=float("nan")),
    PLAIN._replace(duration_s=float("inf")),
    PLAIN._replace(status="200"),  # type: ignore[arg-type]
    PLAIN._replace(status=-5),
    PLAIN._replace(model=None),  # type: ignore[arg-type]
    PLAIN._replace(listener=["egress"]),  # type: ignore[arg-type]
    PLAIN._replace(tokens_in="10"),  # type: ignore[arg-type]
    PLAIN._replace(tokens_out=-1),
    PLAIN._replace(error={"code": "x"}),  # type: ignore[arg-type]
    PLAIN._replace(attempts=(("openai",),)),  # type: ignore[arg-type]
    PLAIN._replace(attempts=(("openai", 5, 0, "timeout", 0.1),)),  # type: ignore[arg-type]
    PLAIN._replace(attempts=5),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("record", NOT_RECORDS, ids=range(len(NOT_RECORDS)))
def test_what_is_no_record_is_refused_and_nothing_of_it_is_counted(record: Any) -> None:
    metrics = RequestMetrics()
    metrics.add(PLAIN)
    before = expose(metrics)
    with pytest.raises(MalformedRecord):
        metrics.add(record)
    after = expose(metrics)
    assert {name: value for name, value in after.items() if value} == {n: v for n, v in before.items() if v}


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(Record._fields), _values, max_size=4))
def test_arbitrary_fields_never_break_the_worker_or_its_text(changes: dict[str, Any]) -> None:
    metrics = RequestMetrics()
    with contextlib.suppress(MalformedRecord):
        metrics.add(PLAIN._replace(**changes))
    expose(metrics)


def test_fields_that_a_newer_frontend_appends_are_ignored() -> None:
    metrics = RequestMetrics()
    metrics.add((*PLAIN, "new", 1))
    assert any(name.startswith("plano_requests_total") for name in expose(metrics))


def test_openmetrics_is_served_where_it_is_asked_for() -> None:
    metrics = RequestMetrics()
    metrics.add(STREAM)
    scrape = Scrape(metrics, ClusterPicture(), 2, "1.2.3", 0.0)
    body, content_type = scrape.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(body.decode())}
    assert families["plano_requests"].type == "counter"
    assert families["plano_bus_malformed"].samples[0].value == 2


def test_a_scrape_is_a_copy() -> None:
    metrics = RequestMetrics()
    metrics.add(PLAIN)
    scrape = Scrape(metrics, ClusterPicture(), 0, "1.2.3", 0.0)
    metrics.add(PLAIN)
    body, _ = scrape.render("")
    labels = 'listener="egress",model="openai/gpt-4o",provider="openai",status="200"'
    assert f"plano_requests_total{{{labels}}} 1.0" in body.decode()


def test_fields_that_were_left_out_are_counted_without_their_indexes() -> None:
    dropped = PLAIN._replace(dropped=("logit_bias", "tools[0].strict", "tools[3].strict"))
    samples = count(dropped, dropped, PLAIN)
    assert samples['plano_dropped_fields_total{field="logit_bias",provider="openai"}'] == 2
    assert samples['plano_dropped_fields_total{field="tools[].strict",provider="openai"}'] == 4


def test_names_of_fields_cannot_flood_the_labels() -> None:
    samples = count(*(PLAIN._replace(dropped=(f"made_up_{number}",)) for number in range(500)))
    named = [name for name in samples if name.startswith("plano_dropped_fields_total")]
    assert len(named) <= 201
    assert samples['plano_dropped_fields_total{field="other",provider="openai"}'] == 300


CHOSEN = Judgement(("code",), True, True, 0.9, None, False, False, ())


def test_routes_are_counted_by_the_names_of_the_config() -> None:
    samples = count(
        PLAIN._replace(judgement=CHOSEN),
        PLAIN._replace(judgement=CHOSEN._replace(routes=("anybody's words",), configured=False)),
        PLAIN._replace(judgement=CHOSEN._replace(routes=())),
        PLAIN._replace(judgement=CHOSEN._replace(routes=(), degraded=("orchestrator",))),
        PLAIN,
    )
    routed = {name: value for name, value in samples.items() if name.startswith("plano_routed_requests_total")}
    assert routed == {
        'plano_routed_requests_total{listener="egress",route="code"}': 1,
        'plano_routed_requests_total{listener="egress",route="(inline)"}': 1,
        'plano_routed_requests_total{listener="egress",route="(none)"}': 1,
    }
    assert samples['plano_degraded_requests_total{listener="egress",role="orchestrator"}'] == 1


@pytest.mark.parametrize(
    ("flagged", "blocked", "verdict"), [(False, False, "passed"), (True, False, "flagged"), (True, True, "blocked")]
)
def test_verdicts_of_the_guard_are_counted(flagged: bool, blocked: bool, verdict: str) -> None:
    judgement = Judgement((), True, False, None, 0.4, flagged, blocked, ())
    samples = count(PLAIN._replace(judgement=judgement))
    assert samples[f'plano_guard_verdicts_total{{listener="egress",verdict="{verdict}"}}'] == 1
    assert not any(name.startswith("plano_routed") for name in samples)


@pytest.mark.parametrize("judgement", [(), ("code",), 7, (7, True, True, None, None, False, False, ())])
def test_a_broken_judgement_makes_the_record_none(judgement: Any) -> None:
    metrics = RequestMetrics()
    with pytest.raises(MalformedRecord):
        metrics.add((*PLAIN[:-1], judgement))
    assert metrics.requests == {} or not any(series.statuses for series in metrics.requests.values())


def test_a_step_that_follows_one_that_went_well_is_no_failover() -> None:
    record = PLAIN._replace(
        attempts=(Attempt("target", "weather", 200, "", 0.1), Attempt("openai", "openai/gpt-4o", 200, "", 0.2))
    )
    samples = count(record)
    assert not any("failover" in name or "retries" in name for name, value in samples.items() if value)
