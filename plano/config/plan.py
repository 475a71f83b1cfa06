"""The compiled configuration: what the processes of a cluster are handed.

The supervisor validates the file with pydantic (`schema.py`), resolves every default and compiles it into these plain,
frozen dataclasses. They are pickled down the control pipe, so that a frontend needs neither pydantic nor YAML in
memory. All durations are seconds, all sizes bytes. Secrets (`access_key`) live here: never log a plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

ListenerType = Literal["model", "agent", "prompt"]
DialectName = Literal["chat", "messages", "responses", "converse", "gemini"]
AuthScheme = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "sigv4"]

RETRYABLE_STATUSES: frozenset[int] = frozenset({408, 429, 500, 502, 503, 504, 529})


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """How one provider's attempts are made and when the next candidate takes over.

    `attempts` counts every try of this provider, the first included. A time-out of None means that only the listener's
    deadline applies. `breaker_failures` in a row (0: never) open a frontend's circuit to this provider for
    `breaker_open_s`, a time that doubles with every failed probe up to `breaker_max_open_s`.
    """

    attempts: int = 1
    statuses: frozenset[int] = RETRYABLE_STATUSES
    backoff_base_s: float = 0.25
    backoff_max_s: float = 5.0
    retry_after_max_s: float = 10.0
    per_try_timeout_s: float | None = None
    first_token_timeout_s: float | None = None
    idle_timeout_s: float | None = 60.0
    fallback_models: tuple[str, ...] = ()
    breaker_failures: int = 10
    breaker_open_s: float = 5.0
    breaker_max_open_s: float = 120.0


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """One dialect that an upstream speaks.

    `path` begins with a slash, carries its query and may hold `{model}`, which stands for the URL-encoded upstream
    model (`quote(model, safe="")`). `stream_path` is the one for streams: another than `path` in the converse and
    gemini dialects only. `headers` are fixed by the dialect.
    """

    dialect: DialectName
    path: str
    stream_path: str
    auth: AuthScheme = "bearer"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ProviderPlan:
    """One entry of `model_providers`, with everything a frontend needs to call it.

    `name` is the unique canonical name (what `/v1/models` shows). `upstream_model` is the bare id sent upstream, empty
    for a wildcard (then the part after the first `/` of the requested model). `authority` is the Host header.

    `endpoints` are the dialects the upstream speaks; the first is for the clients of all other dialects. Plain
    pass-through endpoints are at `base_path` + `/embeddings` + `base_query`; `base_path` may hold `{model}` as well,
    `base_query` is empty or begins with `?`. `quirks` are names of `plano.upstreams.quirks` and go to its `quirks_for`.
    `usage_in_streams`: a chat stream may be asked for `stream_options.include_usage`. `region` is AWS's, for sigv4.
    `verbatim`: an agent, which gets the client's request as it came, the client's model included.
    """

    name: str
    model: str
    provider: str
    owned_by: str
    upstream_model: str
    scheme: Literal["http", "https"]
    host: str
    port: int
    authority: str
    endpoints: tuple[EndpointPlan, ...]
    base_path: str
    base_query: str = ""
    quirks: tuple[str, ...] = ()
    usage_in_streams: bool = True
    verbatim: bool = False
    region: str | None = None
    access_key: str | None = field(default=None, repr=False)
    passthrough_auth: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    retry: RetryPlan = RetryPlan()
    wildcard: bool = False
    internal: bool = False
    default: bool = False

    def endpoint_for(self, client_dialect: str) -> EndpointPlan:
        """The endpoint for a client: of its own dialect where the upstream speaks it, else the first."""
        for endpoint in self.endpoints:
            if endpoint.dialect == client_dialect:
                return endpoint
        return self.endpoints[0]


@dataclass(frozen=True, slots=True)
class TlsPlan:
    """TLS on a listener: PEM files, read by every frontend, and again when they change. `client_ca_file`: only clients
    with a certificate signed by one of these authorities are served."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclass(frozen=True, slots=True)
class ListenerPlan:
    """One public socket. `timeout_s` is the deadline of a request, all attempts included. Without `tls` it speaks plain
    HTTP.

    `jailbreak_message` is what an attack on the model's rules is answered with; None: the listener is not guarded.
    `serves_targets`: the prompt targets of the cluster are tried before the agents or models of this listener.
    """

    name: str
    type: ListenerType
    address: str
    port: int
    timeout_s: float = 300.0
    jailbreak_message: str | None = None
    agents: tuple[AgentPlan, ...] = ()
    execution: Literal["sequential", "parallel"] = "sequential"
    writer: Literal["last_agent", "default_model"] = "last_agent"
    input_filters: tuple[str, ...] = ()
    output_filters: tuple[str, ...] = ()
    serves_targets: bool = False
    tls: TlsPlan | None = None


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """One agent of a listener. `provider` is how it is called: an entry that no client can name, with an endpoint for
    every dialect of clients at the agent's own path; its upstream model is empty, for the agent gets the client's.
    `filters` see its requests first. An agent that fails ends the chain, or is passed over (`skip`)."""

    id: str
    description: str
    provider: ProviderPlan
    default: bool = False
    filters: tuple[str, ...] = ()
    on_failure: Literal["abort", "skip"] = "abort"


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """A service that may change or stop a request or an answer. `tool` is the MCP tool. `forward_headers` are lower
    case; None: all but credentials and cookies."""

    id: str
    type: Literal["http", "mcp"]
    url: str = field(repr=False)
    tool: str = ""
    on_failure: Literal["allow", "block"] = "block"
    mode: Literal["event", "buffered"] = "event"
    forward_headers: tuple[str, ...] | None = None
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ParameterPlan:
    """One parameter of a prompt target. `schema` is the JSON Schema of its value; `default` is None for none."""

    name: str
    schema: dict[str, Any]
    required: bool = False
    in_path: bool = False
    default: str | int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class TargetCallPlan:
    """The HTTP call of a prompt target. `url` is scheme and authority, `path` may hold `{parameter}`."""

    name: str
    url: str
    path: str
    method: Literal["GET", "POST"] = "GET"
    host: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    connect_timeout_s: float = 5.0
    timeout_s: float = 30.0
    attempts: int = 3


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """A task that prompts are turned into. `dispatch`: a model words the answer from the call's result; else the result
    itself is the answer."""

    name: str
    description: str
    parameters: tuple[ParameterPlan, ...] = ()
    call: TargetCallPlan | None = None
    default: bool = False
    dispatch: bool = True
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class PreferencePlan:
    """A kind of task and the models for it, canonical names, the best first."""

    name: str
    description: str
    models: tuple[str, ...]
    prefer: Literal["none", "cheapest", "fastest"] = "none"


@dataclass(frozen=True, slots=True)
class RolePlan:
    """One task-specific model, for whoever runs it and whoever asks it.

    `timeout_s` is a caller's deadline; then the request goes on without. `concurrency` calls are in the engine at once
    (None: the engine's own choice), `queue` more may wait. `context_tokens` bounds the prompt.
    """

    engine: Literal["auto", "vllm", "embedded", "upstream"] = "auto"
    model: str | None = None
    engine_args: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 2.0
    prompt_template: str | None = None
    concurrency: int | None = None
    queue: int = 1_024
    context_tokens: int = 8_192


@dataclass(frozen=True, slots=True)
class GuardPlan(RolePlan):
    """`scope`: which messages are looked at: the last user message, all of them, or tools' results as well."""

    timeout_s: float = 0.25
    threshold: float = 0.5
    on_failure: Literal["allow", "block"] = "allow"
    scope: Literal["last_user", "all", "all_and_tools"] = "last_user"


@dataclass(frozen=True, slots=True)
class FunctionPlan(RolePlan):
    """Above both `entropy` (bits) and `varentropy`, over the ten likeliest tokens, the first token of a required value
    counts as guessed, and the user is asked instead."""

    timeout_s: float = 20.0
    entropy: float = 0.35
    varentropy: float = 1.7


@dataclass(frozen=True, slots=True)
class CurvePlan:
    """CurveZMQ keys, Z85 text. A frontend's process has `server_public_key` and a pair of its own; an inference process
    has its own pair, and the callers it admits in `client_public_keys` (empty: whoever knows its public key)."""

    public_key: str
    secret_key: str = field(repr=False)
    server_public_key: str | None = None
    client_public_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InferencePlan:
    """The tier of the task-specific models. `addresses` are inference processes elsewhere; empty: one is started beside
    the frontends."""

    orchestrator: RolePlan = RolePlan()
    guard: GuardPlan = GuardPlan()
    function: FunctionPlan = FunctionPlan()
    addresses: tuple[str, ...] = ()
    curve: CurvePlan | None = None


@dataclass(frozen=True, slots=True)
class LimitsPlan:
    """Bounds of one frontend process (settings `PLANO_*`)."""

    max_body_bytes: int = 32 * 1024 * 1024
    max_header_bytes: int = 64 * 1024
    max_connections: int = 16_384
    max_in_flight: int = 8_192
    header_timeout_s: float = 15.0
    body_timeout_s: float = 60.0
    keepalive_timeout_s: float = 75.0
    drain_timeout_s: float = 30.0
    upstream_idle_connections: int = 512
    upstream_max_connections: int = 8_192
    upstream_keepalive_s: float = 60.0
    dns_refresh_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """Everything a frontend is started with."""

    listeners: tuple[ListenerPlan, ...]
    providers: tuple[ProviderPlan, ...]
    aliases: dict[str, str]
    model_ids: tuple[tuple[str, str], ...]  # (id, owned_by), wildcards expanded: the body of GET /v1/models
    connect_timeout_s: float = 5.0
    tls_ca_path: str | None = None
    limits: LimitsPlan = LimitsPlan()
    preferences: tuple[PreferencePlan, ...] = ()
    filters: tuple[FilterPlan, ...] = ()
    targets: tuple[TargetPlan, ...] = ()
    system_prompt: str | None = None
    inference: InferencePlan = InferencePlan()
