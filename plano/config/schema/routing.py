"""`routing_preferences`, `model_metrics_sources`, `routing`, `prompt_caching`: how a model is chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plano.config.schema.section import NOT_BOOLEAN, HttpUrl, Section, Text

Seconds = Annotated[int, Field(ge=1), NOT_BOOLEAN]


class InlinePreference(Section):
    """A task, written at the provider that is preferred for it (deprecated)."""

    name: Text = Field(description="Name of the task.")
    description: str = Field(description="What the task is. The router chooses by this text.")


class SelectionPolicy(Section):
    """How the models of a preference are ranked."""

    prefer: Literal["cheapest", "fastest", "none"] = Field(
        description="`cheapest` and `fastest` rank by `model_metrics_sources`; `none` keeps the order of `models`."
    )


class RoutingPreference(Section):
    """A kind of task, and the models that serve it best."""

    name: Text = Field(description="Unique name of the task.")
    description: str = Field(description="What the task is. The router chooses by this text.")
    models: list[Text] = Field(min_length=1, description="Configured models for the task, the best first.")
    selection_policy: SelectionPolicy | None = Field(
        None, description="How the models are ranked. Absent: in the order of `models`."
    )


class CostSource(Section):
    """Where the prices of models come from."""

    type: Literal["cost"] = Field(description="Prices of models.")
    provider: Literal["digitalocean", "models.dev"] = Field(description="Whose price list is read.")
    url: HttpUrl | None = Field(None, repr=False, description="Address of the price list. Default: the public one.")
    refresh_interval: Seconds | None = Field(
        None, description="Seconds between two reads. Absent: read once, at the start."
    )
    model_aliases: dict[str, Text] | None = Field(
        None, description="Names of the price list, each with the configured model it stands for."
    )


class LatencySource(Section):
    """Where the measured speed of models comes from."""

    type: Literal["latency"] = Field(description="Measured latency of models.")
    provider: Literal["prometheus"] = Field(description="What answers the query.")
    url: HttpUrl = Field(repr=False, description="Address of the Prometheus server.")
    query: Text = Field(description="PromQL query; its series carry a label `model_name`.")
    refresh_interval: Seconds | None = Field(
        None, description="Seconds between two reads. Absent: read once, at the start."
    )


MetricsSource = Annotated[CostSource | LatencySource, Field(discriminator="type")]


class SessionCache(Section):
    """Where it is remembered which model serves a session."""

    type: Literal["memory", "redis"] = Field("memory", description="`redis` shares sessions among replicas.")
    url: Text | None = Field(None, repr=False, description="Address of Redis, redis:// or rediss://.")
    tenant_header: Text | None = Field(
        None, description="Request header that names the tenant; sessions of different tenants never meet."
    )


class RoutingBudget(Section):
    """How much may be spent on leaving a model whose prompt cache is warm."""

    max_switch_spend_pct: Annotated[float, Field(ge=0, le=100), NOT_BOOLEAN] = Field(
        description="Ceiling of the spend on switches, in percent of what the session costs without them."
    )
    replenish_on_rebind: bool = Field(True, description="Start the totals anew when a session is bound afresh.")
    cache_read_discount: Annotated[float, Field(ge=0, le=1), NOT_BOOLEAN] = Field(
        0.1, description="Price of a cached token as a fraction of an input token, where the price list has none."
    )
    record_counterfactual: bool = Field(False, description="Record the route that a veto prevented.")


class Routing(Section):
    """Sessions and the cost of changing models within one."""

    llm_provider: str | None = Field(None, description="Legacy: provider of the routing model.")
    model: str | None = Field(None, description="Legacy: the routing model.")
    session_ttl_seconds: Seconds = Field(600, description="How long a session keeps its model after its last request.")
    session_max_entries: Annotated[int, Field(ge=1, le=10000), NOT_BOOLEAN] = Field(
        10000, description="How many sessions are remembered in memory."
    )
    session_cache: SessionCache | None = Field(None, description="Where sessions are remembered.")
    routing_budget: RoutingBudget | None = Field(None, description="Bound on the cost of switches. Absent: none.")
    route_on_user_only: bool = Field(
        False, description="Choose a model for user turns only; tool results stay with the model of their turn."
    )


class PromptCaching(Section):
    """Use of the providers' prompt caches."""

    enabled: bool = Field(False, description="Master switch of this section.")
    session_affinity: bool = Field(True, description="Keep a conversation on the model whose cache is warm.")
    inject_cache_control: bool = Field(True, description="Mark the stable prefix for providers that need a mark.")
    min_prefix_tokens: Annotated[int, Field(ge=1), NOT_BOOLEAN] = Field(
        1024, description="Shortest prefix, in tokens, that is marked."
    )
    session_ttl_seconds: Seconds | None = Field(
        None, description="How long a session keeps its model. Default: the value of `routing`."
    )
