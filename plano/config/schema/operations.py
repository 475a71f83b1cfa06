"""`overrides`, `ratelimits`, `tracing`, `state_storage`: how the gateway itself is run and watched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plano.config.schema.quantities import PositiveDuration
from plano.config.schema.section import NOT_BOOLEAN, HttpUrl, Number, Scalar, Section, Text


class Overrides(Section):
    """Settings that seldom need a change."""

    prompt_target_intent_matching_threshold: Number | None = Field(None, description="Legacy; without effect.")
    optimize_context_window: bool = Field(False, description="Shorten the history the function model is given.")
    use_agent_orchestrator: bool = Field(
        False, description="Send matched prompt targets to the one configured endpoint instead of calling their APIs."
    )
    disable_signals: bool = Field(False, description="Do not look for signals of trouble in conversations.")
    upstream_connect_timeout: PositiveDuration = Field(5.0, description="Longest time to connect to an upstream.")
    upstream_tls_ca_path: Text | None = Field(
        None, description="PEM file of the authorities trusted for upstreams. Default: those of the system."
    )
    llm_routing_model: Text | None = Field(None, description="Model that matches prompts to routing preferences.")
    agent_orchestration_model: Text | None = Field(None, description="Model that chooses among agents.")
    orchestrator_model_context_length: Annotated[int, Field(ge=1), NOT_BOOLEAN] = Field(
        8192, description="Context of the orchestrator model, in tokens."
    )


class RateLimitSelector(Section):
    """Whose requests a limit counts together."""

    key: Text = Field(description="Request header that tells clients apart.")
    value: str | None = Field(None, description="The value the limit is for. Absent: each has its own.")


class TokenLimit(Section):
    """So many tokens in so much time."""

    tokens: Annotated[int, Field(ge=1), NOT_BOOLEAN] = Field(description="Tokens within one unit of time.")
    unit: Literal["second", "minute", "hour", "day"] = Field(description="Unit of time.")


class RateLimit(Section):
    """A limit on the tokens of one model."""

    model: Text = Field(description="The model that is limited.")
    selector: RateLimitSelector = Field(description="Whose requests are counted together.")
    limit: TokenLimit = Field(description="How much is allowed.")


class SpanAttributes(Section):
    """Attributes added to every span."""

    header_prefixes: list[Text] | None = Field(
        None, description="Request headers that begin with one of these become attributes, without the prefix."
    )
    static: dict[str, Scalar] | None = Field(None, description="Attributes with a fixed value.")


class TraceExporter(Section):
    """Where spans of model calls are sent, besides the collector."""

    type: Literal["posthog"] = Field(description="Kind of exporter.")
    url: HttpUrl = Field(repr=False, description="Address of the service.")
    api_key: Text = Field(repr=False, description="Key of the service; usually `$VARIABLE`.")
    distinct_id_header: Text | None = Field(None, description="Request header that identifies the user.")
    capture_messages: bool = Field(False, description="Send the messages too.")


class Tracing(Section):
    """Spans and where they go."""

    random_sampling: Annotated[int, Field(ge=0, le=100), NOT_BOOLEAN] = Field(
        0, description="Percentage of the requests that are traced; 0 is off."
    )
    trace_arch_internal: bool = Field(False, description="Trace the calls that Plano makes to itself.")
    opentracing_grpc_endpoint: Text | None = Field(
        None, repr=False, description="OTLP collector (gRPC), as http://host:port. Default: http://localhost:4317."
    )
    span_attributes: SpanAttributes | None = Field(None, description="Attributes added to every span.")
    exporters: list[TraceExporter] | None = Field(None, description="Further places that spans are sent to.")


class StateStorage(Section):
    """Where the conversations of `/v1/responses` are kept."""

    type: Literal["memory", "postgres"] = Field(description="`memory` is lost with a restart.")
    connection_string: Text | None = Field(
        None, repr=False, description="Address of Postgres; usually `$VARIABLE`. Needed by `postgres`."
    )
