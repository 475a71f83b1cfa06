"""The metrics of Plano: names, help texts, labels and buckets. docs and dashboards follow this list."""

from __future__ import annotations

from typing import NamedTuple


class MetricName(NamedTuple):
    """One metric family. `name` of a counter is without `_total`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


REQUESTS = MetricName(
    "plano_requests", "Requests that ended, whatever happened to them.", ("listener", "provider", "model", "status")
)
REQUEST_DURATION = MetricName(
    "plano_request_duration_seconds",
    "From the first byte of the request to the last byte of the answer.",
    ("listener", "provider", "model"),
)
TIME_TO_FIRST_TOKEN = MetricName(
    "plano_time_to_first_token_seconds",
    "Streams: from the first byte of the request to the first content sent to the client.",
    ("provider", "model"),
)
TIME_PER_OUTPUT_TOKEN = MetricName(
    "plano_time_per_output_token_seconds",
    "Streams: mean time between output tokens after the first.",
    ("provider", "model"),
)
TOKENS = MetricName("plano_tokens", "Tokens that the upstreams reported.", ("provider", "model", "kind"))
USAGE_MISSING = MetricName(
    "plano_usage_missing", "Complete 2xx answers in which the upstream reported no usage.", ("provider", "model")
)
ATTEMPTS = MetricName(
    "plano_attempts",
    "Calls of upstreams. The outcome is ok, status_<code>, or the kind of failure; circuit_open: it was not called.",
    ("provider", "model", "outcome"),
)
RETRIES = MetricName(
    "plano_retries", "Attempts that followed a failed one at the same model.", ("provider", "model", "reason")
)
FAILOVERS = MetricName("plano_failovers", "Moves to the next candidate.", ("from_provider", "to_provider", "reason"))
CLIENT_DISCONNECTS = MetricName(
    "plano_client_disconnects", "Clients that left before their answer was complete.", ("listener",)
)
DROPPED_FIELDS = MetricName(
    "plano_dropped_fields", "Fields of requests that the provider's API cannot express.", ("provider", "field")
)
ROUTED = MetricName(
    "plano_routed_requests",
    "Requests by the route that was chosen for them: its name in the config, (none) when no route serves, (inline) for "
    "routes that the request brought along.",
    ("listener", "route"),
)
GUARD_VERDICTS = MetricName(
    "plano_guard_verdicts", "Prompts the guard looked at: passed, flagged or blocked.", ("listener", "verdict")
)
DEGRADED = MetricName(
    "plano_degraded_requests",
    "Requests that went on without the answer of a task-specific model.",
    ("listener", "role"),
)
HTTP_ERRORS = MetricName("plano_http_errors", "Errors as the client saw them.", ("listener", "code"))
IN_FLIGHT = MetricName("plano_in_flight_requests", "Requests being served now.", ("listener",))
CONNECTIONS = MetricName("plano_client_connections", "Open client connections.", ("listener",))
OPEN_CIRCUITS = MetricName(
    "plano_open_circuits",
    "Frontends that pass a provider entry over because it has failed too often; no line while there is none.",
    ("provider", "model"),
)
CERTIFICATE_EXPIRY = MetricName(
    "plano_certificate_expiry_timestamp_seconds",
    "When the certificate of a listener ends, as a Unix time; the earliest of all frontends.",
    ("listener",),
)
CERTIFICATES_REFUSED = MetricName(
    "plano_certificates_refused",
    "Frontends that go on with an older certificate because the files on disk cannot be used.",
    ("listener",),
)
CHILD_RESTARTS = MetricName("plano_child_restarts", "Child processes started again after a death.", ("child",))
CHILDREN_UP = MetricName("plano_children_up", "Child processes that are ready.", ("role",))
DROPPED_RECORDS = MetricName(
    "plano_dropped_records", "Request records a frontend dropped because the bus was full.", ("frontend",)
)
LOOP_LAG = MetricName(
    "plano_frontend_loop_lag_seconds", "How late the event loop of a frontend ran its last timer.", ("frontend",)
)
INFERENCE_CALLS = MetricName(
    "plano_inference_calls",
    "Calls of the task-specific models that this cluster's inference process has answered.",
    ("role", "status"),
)
INFERENCE_QUEUE = MetricName(
    "plano_inference_queue_seconds", "Answered calls: from their arrival until the engine took them.", ("role",)
)
INFERENCE_COMPUTE = MetricName(
    "plano_inference_compute_seconds", "Answered calls: how long the engine had them.", ("role",)
)
INFERENCE_WAITING = MetricName("plano_inference_waiting_calls", "Calls that wait for the engine now.", ("role",))
INFERENCE_RUNNING = MetricName("plano_inference_running_calls", "Calls that the engine works on now.", ("role",))
INFERENCE_READY = MetricName(
    "plano_inference_engine_ready", "1 while the engine of a role takes calls, else 0.", ("role", "engine", "model")
)
INFERENCE_STARTS = MetricName(
    "plano_inference_engine_starts", "Engines that were started, restarts included.", ("role",)
)
INFERENCE_PEERS = MetricName("plano_inference_peers", "Frontends that the inference process has heard of lately.")
INFERENCE_REFUSED_PEERS = MetricName("plano_inference_refused_peers", "Connections refused for their keys.")
INFERENCE_LOST_PEERS = MetricName("plano_inference_lost_peers", "Frontends that vanished with calls under way.")
INFERENCE_UNDELIVERED = MetricName("plano_inference_undelivered_answers", "Answers that no frontend took.")
INFERENCE_MALFORMED = MetricName(
    "plano_inference_malformed_frames", "Frames that the inference process could not read, or not serve.", ("kind",)
)
INFERENCE_REPLICAS = MetricName(
    "plano_inference_replicas", "Inference processes that a frontend knows of, wherever they run.", ("frontend",)
)
INFERENCE_REPLICAS_ALIVE = MetricName(
    "plano_inference_replicas_alive", "Inference processes that answer a frontend.", ("frontend",)
)
INFERENCE_MOVED = MetricName(
    "plano_inference_moved_calls", "Calls that a frontend took to a second inference process.", ("frontend",)
)
INFERENCE_LATE = MetricName(
    "plano_inference_late_answers", "Answers of inference processes that nobody waited for any more.", ("frontend",)
)
INFERENCE_FAULTS = MetricName(
    "plano_inference_faulty_answers", "What inference processes sent and a frontend could not read.", ("frontend",)
)
INFERENCE_LOOKUP_FAILURES = MetricName(
    "plano_inference_lookup_failures", "Names of inference processes that could not be looked up.", ("frontend",)
)
BUS_MALFORMED = MetricName("plano_bus_malformed", "Messages or records on the bus that could not be read.")
BUILD_INFO = MetricName("plano_build_info", "Always 1.", ("version",))

DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
FIRST_TOKEN_BUCKETS_S = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    1.5,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    60.0,
    120.0,
)
OUTPUT_TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0)

TOKEN_KINDS = ("input", "output", "cached", "reasoning")

NO_MODEL = "none"
OTHER = "other"
NO_ROUTE = "(none)"
INLINE_ROUTE = "(inline)"
