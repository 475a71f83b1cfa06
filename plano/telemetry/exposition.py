"""The numbers as Prometheus reads them: metric families for prometheus-client, made anew for each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from plano.telemetry import names
from plano.telemetry.cluster import ClusterPicture
from plano.telemetry.inference import InferenceNumbers
from plano.telemetry.metrics import Histogram, RequestMetrics
from plano.telemetry.names import MetricName
from plano.telemetry.record import FrontendState


class Scrape(Collector):
    """Everything one scrape shows, copied out of the worker so that a thread can render it.

    `render` is slow for many series (some 100 ms for a thousand models): keep it off the event loop.
    """

    def __init__(
        self,
        requests: RequestMetrics,
        cluster: ClusterPicture,
        malformed: int,
        version: str,
        now: float,
        inference: InferenceNumbers | None = None,
    ) -> None:
        self._requests = requests.copy()
        self._children = list(cluster.children)
        self._frontends = cluster.live_frontends(now)
        self._dropped = cluster.dropped_records()
        self._inference_totals = cluster.inference_totals()
        self._malformed = malformed
        self._version = version
        self._inference = inference.copy() if inference is not None else InferenceNumbers()

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body and content type for an Accept header: the classic text format, or OpenMetrics where asked for."""
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return encode(registry), content_type

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        yield from self._request_families()
        yield from self._model_families()
        requests = self._requests
        yield _counter(names.ATTEMPTS, requests.attempts)
        yield _counter(names.RETRIES, requests.retries)
        yield _counter(names.FAILOVERS, requests.failovers)
        yield _counter(names.CLIENT_DISCONNECTS, {(listener,): n for listener, n in requests.disconnects.items()})
        yield _counter(names.DROPPED_FIELDS, requests.dropped)
        yield _counter(names.ROUTED, requests.routed)
        yield _counter(names.GUARD_VERDICTS, requests.verdicts)
        yield _counter(names.DEGRADED, requests.degraded)
        yield _counter(names.HTTP_ERRORS, requests.errors)
        yield from self._inference_families()
        yield from self._replica_families()
        yield from self._process_families()

    def _request_families(self) -> Iterator[Metric]:
        series = self._requests.requests
        yield _counter(
            names.REQUESTS,
            {(*key, str(status)): n for key, one in series.items() for status, n in sorted(one.statuses.items())},
        )
        yield _histogram(names.REQUEST_DURATION, ((key, one.duration) for key, one in series.items()))

    def _model_families(self) -> Iterator[Metric]:
        models = self._requests.models
        yield _histogram(names.TIME_TO_FIRST_TOKEN, ((pair, one.first_token) for pair, one in models.items()))
        yield _histogram(names.TIME_PER_OUTPUT_TOKEN, ((pair, one.output_token) for pair, one in models.items()))
        yield _counter(
            names.TOKENS,
            {(*pair, kind): getattr(one, kind) for pair, one in models.items() for kind in names.TOKEN_KINDS},
        )
        yield _counter(names.USAGE_MISSING, {pair: one.usage_missing for pair, one in models.items()})

    def _inference_families(self) -> Iterator[Metric]:
        numbers = self._inference
        counters = numbers.counters
        yield _counter(names.INFERENCE_CALLS, counters.get("calls", {}))
        yield _histogram(names.INFERENCE_QUEUE, (((role,), one) for role, one in numbers.queue.items()))
        yield _histogram(names.INFERENCE_COMPUTE, (((role,), one) for role, one in numbers.compute.items()))
        # Of a process that is no more only the totals are true.
        lives = any(child["role"] == "inference" and child["pid"] == numbers.pid for child in self._children)
        roles = numbers.roles if lives else {}
        yield _gauge(names.INFERENCE_WAITING, {(role,): one.waiting for role, one in roles.items()})
        yield _gauge(names.INFERENCE_RUNNING, {(role,): one.running for role, one in roles.items()})
        ready: dict[tuple[str, ...], float] = {}
        ready |= {(role, one.engine, one.model): float(one.state == "ready") for role, one in roles.items()}
        yield _gauge(names.INFERENCE_READY, ready)
        yield _counter(names.INFERENCE_STARTS, counters.get("starts", {}))
        yield _gauge(names.INFERENCE_PEERS, {(): numbers.peers} if lives else {})
        yield _counter(names.INFERENCE_REFUSED_PEERS, counters.get("refused_peers", {}))
        yield _counter(names.INFERENCE_LOST_PEERS, counters.get("lost_peers", {}))
        yield _counter(names.INFERENCE_UNDELIVERED, counters.get("undelivered", {}))
        yield _counter(names.INFERENCE_MALFORMED, counters.get("malformed", {}))
        for name, values in sorted(numbers.engine_counters.items()):
            yield _counter(_engine_metric(name), values)
        gauges: dict[str, dict[tuple[str, ...], float]] = {}
        for role, one in roles.items():
            for name, value in one.engine_gauges.items():
                gauges.setdefault(name, {})[(role,)] = value
        for name, by_role in sorted(gauges.items()):
            if name not in numbers.engine_counters:  # one family is one kind
                yield _gauge(_engine_metric(name), by_role)

    def _replica_families(self) -> Iterator[Metric]:
        """The inference processes as the frontends see them."""
        views = [(str(state.frontend), state.inference) for state in self._frontends]
        known: dict[tuple[str, ...], float] = {}
        known |= {(frontend,): view.replicas for frontend, view in views if view is not None}
        yield _gauge(names.INFERENCE_REPLICAS, known)
        alive: dict[tuple[str, ...], float] = {}
        alive |= {(frontend,): view.alive for frontend, view in views if view is not None}
        yield _gauge(names.INFERENCE_REPLICAS_ALIVE, alive)
        totals = {
            name: {(str(index),): n for index, n in by_frontend.items()}
            for name, by_frontend in self._inference_totals.items()
        }
        yield _counter(names.INFERENCE_MOVED, totals["moved"])
        yield _counter(names.INFERENCE_LATE, totals["late"])
        yield _counter(names.INFERENCE_FAULTS, totals["faults"])
        yield _counter(names.INFERENCE_LOOKUP_FAILURES, totals["lookup_failures"])

    def _process_families(self) -> Iterator[Metric]:
        yield _gauge(names.IN_FLIGHT, _sum_by_listener(state.in_flight for state in self._frontends))
        yield _gauge(names.CONNECTIONS, _sum_by_listener(state.connections for state in self._frontends))
        yield _gauge(names.OPEN_CIRCUITS, _count_circuits(self._frontends))
        yield from _certificate_families(self._frontends)
        yield _gauge(names.LOOP_LAG, {(str(state.frontend),): state.loop_lag_s for state in self._frontends})
        yield _counter(names.DROPPED_RECORDS, {(str(index),): n for index, n in self._dropped.items()})
        yield _counter(names.CHILD_RESTARTS, {(child["name"],): child["restarts"] for child in self._children})
        up: dict[tuple[str, ...], float] = {}
        for child in self._children:
            role = (child["role"],)
            up[role] = up.get(role, 0) + (child["state"] == "ready")
        yield _gauge(names.CHILDREN_UP, up)
        yield _counter(names.BUS_MALFORMED, {(): self._malformed})
        yield _gauge(names.BUILD_INFO, {(self._version,): 1})


def _engine_metric(name: str) -> MetricName:
    """A metric of the engine's own making: which there are depends on the engine."""
    return MetricName(f"plano_inference_engine_{name}", "As the engine reports it.", ("role",))


def _counter(name: MetricName, values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(name.name, name.help, labels=name.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _gauge(name: MetricName, values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name.name, name.help, labels=name.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(name: MetricName, series: Iterable[tuple[tuple[str, ...], Histogram]]) -> Metric:
    family = HistogramMetricFamily(name.name, name.help, labels=name.labels)
    for labels, histogram in series:
        bounds = [*map(str, histogram.bounds), "+Inf"]
        cumulative = list(accumulate(histogram.counts))
        if cumulative[-1]:
            family.add_metric(labels, list(zip(bounds, cumulative, strict=True)), histogram.total)
    return family


def _count_circuits(frontends: Iterable[FrontendState]) -> dict[tuple[str, ...], float]:
    counts: dict[tuple[str, ...], float] = {}
    for state in frontends:
        for provider, model in state.open_circuits:
            counts[provider, model] = counts.get((provider, model), 0) + 1
    return counts


def _certificate_families(frontends: Iterable[FrontendState]) -> Iterator[Metric]:
    ends: dict[tuple[str, ...], float] = {}
    refused: dict[tuple[str, ...], float] = {}
    for state in frontends:
        for listener, (ends_unix_s, is_refused) in state.certificates.items():
            key = (listener,)
            ends[key] = min(ends.get(key, ends_unix_s), ends_unix_s)
            refused[key] = refused.get(key, 0) + is_refused
    yield _gauge(names.CERTIFICATE_EXPIRY, ends)
    yield _gauge(names.CERTIFICATES_REFUSED, refused)


def _sum_by_listener(gauges: Iterable[Mapping[str, int]]) -> dict[tuple[str, ...], float]:
    totals: dict[tuple[str, ...], float] = {}
    for gauge in gauges:
        for listener, value in gauge.items():
            totals[(listener,)] = totals.get((listener,), 0) + value
    return totals
