"""What the telemetry worker knows of the processes of the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from plano.telemetry.cluster import SILENT_AFTER_S, ClusterPicture
from plano.telemetry.exposition import Scrape
from plano.telemetry.metrics import RequestMetrics
from plano.telemetry.record import FrontendState


def child(role: str, index: int | None, pid: int | None, state: str = "ready", restarts: int = 0) -> dict[str, Any]:
    name = role if index is None else f"{role} {index}"
    return {"name": name, "role": role, "index": index, "pid": pid, "state": state, "restarts": restarts}


def report(picture: ClusterPicture, frontend: int, pid: int, dropped: int = 0, now: float = 0.0) -> None:
    picture.report(FrontendState(frontend, pid, {"egress": 2}, {"egress": 5}, dropped, 0.01), now)


def expose(picture: ClusterPicture, now: float = 0.0) -> str:
    return Scrape(RequestMetrics(), picture, 0, "1.2.3", now).render("")[0].decode()


def test_gauges_are_summed_over_frontends() -> None:
    picture = ClusterPicture()
    report(picture, 0, 100)
    report(picture, 1, 101)
    text = expose(picture)
    assert 'plano_in_flight_requests{listener="egress"} 4.0' in text
    assert 'plano_client_connections{listener="egress"} 10.0' in text
    assert 'plano_frontend_loop_lag_seconds{frontend="1"} 0.01' in text


def test_open_circuits_are_counted_over_frontends() -> None:
    picture = ClusterPicture()
    for index, circuits in enumerate([[("openai", "openai/gpt-4o")], [("openai", "openai/gpt-4o"), ("xai", "xai/*")]]):
        picture.report(FrontendState(index, 100 + index, {}, {}, 0, 0.0, circuits), 0.0)
    text = expose(picture)
    assert 'plano_open_circuits{model="openai/gpt-4o",provider="openai"} 2.0' in text
    assert 'plano_open_circuits{model="xai/*",provider="xai"} 1.0' in text
    for index in range(2):
        picture.report(FrontendState(index, 100 + index, {}, {}, 0, 0.0, []), 1.0)
    assert "plano_open_circuits{" not in expose(picture, 1.0)


def test_the_certificate_that_ends_first_and_those_that_are_refused_are_told() -> None:
    picture = ClusterPicture()
    for index, told in enumerate([(2_000_000_000.0, False), (1_900_000_000.0, True)]):
        picture.report(FrontendState(index, 100 + index, {}, {}, 0, 0.0, [], {"llm": told}), 0.0)
    text = expose(picture)
    assert 'plano_certificate_expiry_timestamp_seconds{listener="llm"} 1.9e+09' in text
    assert 'plano_certificates_refused{listener="llm"} 1.0' in text


def test_the_gauges_of_a_dead_frontend_disappear_and_its_totals_stay() -> None:
    picture = ClusterPicture()
    report(picture, 0, 100, dropped=7)
    picture.update([child("frontend", 0, None, "waiting", restarts=1)], is_draining=False)
    text = expose(picture)
    assert 'plano_in_flight_requests{listener="egress"}' not in text
    assert 'plano_frontend_loop_lag_seconds{frontend="0"}' not in text
    assert 'plano_dropped_records_total{frontend="0"} 7.0' in text
    assert 'plano_child_restarts_total{child="frontend 0"} 1.0' in text


def test_what_the_predecessors_of_a_frontend_dropped_is_kept() -> None:
    picture = ClusterPicture()
    report(picture, 0, 100, dropped=7)
    report(picture, 0, 200, dropped=1)
    report(picture, 0, 200, dropped=2)
    assert picture.dropped_records() == {0: 9}


def test_an_idle_frontend_keeps_its_gauges_while_the_supervisor_vouches_for_it() -> None:
    picture = ClusterPicture()
    report(picture, 0, 100, now=0.0)
    assert picture.live_frontends(SILENT_AFTER_S + 1) == []
    picture.update([child("frontend", 0, 100)], is_draining=False)
    assert [state.pid for state in picture.live_frontends(SILENT_AFTER_S + 1)] == [100]


def test_children_up_counts_by_role() -> None:
    picture = ClusterPicture()
    picture.update(
        [child("telemetry", None, 9), child("frontend", 0, 1), child("frontend", 1, 2, "starting")], is_draining=False
    )
    text = expose(picture)
    assert 'plano_children_up{role="frontend"} 1.0' in text
    assert 'plano_children_up{role="telemetry"} 1.0' in text


def test_ready_means_every_frontend_is_and_none_drains() -> None:
    picture = ClusterPicture()
    assert not picture.is_ready()
    picture.update([child("frontend", 0, 1), child("frontend", 1, 2, "starting")], is_draining=False)
    assert not picture.is_ready()
    assert picture.not_ready() == [{"child": "frontend 1", "state": "starting"}]
    picture.update([child("frontend", 0, 1), child("frontend", 1, 2)], is_draining=False)
    assert picture.is_ready()
    picture.update([child("frontend", 0, 1), child("frontend", 1, 2)], is_draining=True)
    assert not picture.is_ready()


@pytest.mark.parametrize(
    "state",
    [
        (0, 1, {}, {}, 0),
        ("0", 1, {}, {}, 0, 0.0),
        (0, 1, {"egress": "many"}, {}, 0, 0.0),
        (0, 1, [], {}, 0, 0.0),
        (0, 1, {}, {}, -1, 0.0),
        (0, 1, {}, {}, 0, "late"),
        (0, 1, {}, {}, 0, 0.0, [["openai", 1]]),
        (0, 1, {}, {}, 0, 0.0, [["openai"]]),
        (0, 1, {}, {}, 0, 0.0, [], {"llm": ["soon", False]}),
        (0, 1, {}, {}, 0, 0.0, [], {"llm": 5}),
        5,
    ],
)
def test_what_is_no_state_is_refused(state: Any) -> None:
    picture = ClusterPicture()
    with pytest.raises((ValueError, TypeError, AttributeError)):
        picture.report(state, 0.0)
    assert picture.live_frontends(0.0) == []
