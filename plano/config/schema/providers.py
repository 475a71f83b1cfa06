"""`model_providers`, `model_aliases`: the models that clients may ask for, and how each is called."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from plano.config.schema.quantities import Duration, PositiveDuration
from plano.config.schema.routing import InlinePreference
from plano.config.schema.section import NOT_BOOLEAN, HttpUrl, Section, Text

ProviderInterface = Literal[
    "openai",
    "anthropic",
    "gemini",
    "groq",
    "deepseek",
    "mistral",
    "digitalocean",
    "vercel",
    "openrouter",
    "edenai",
    "xai",
    "together_ai",
    "moonshotai",
    "zhipu",
    "xiaomi",
    "chatgpt",
    "gemini_native",
    "plano",
    "qwen",
    "azure_openai",
    "amazon_bedrock",
    "ollama",
]

Region = Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
Status = Annotated[int, Field(ge=400, le=599), NOT_BOOLEAN]


class Backoff(Section):
    """The pause before a retry: it doubles with each, and is drawn at random between half of that and all of it."""

    base: PositiveDuration | None = Field(None, description="Pause before the first retry. Default: 250ms.")
    max: PositiveDuration | None = Field(None, description="Longest pause. Default: 5s.")

    @model_validator(mode="after")
    def _check_order(self) -> Backoff:
        if self.base is not None and self.max is not None and self.base > self.max:
            raise ValueError("`base` must not be longer than `max`")
        return self


class CircuitBreaker(Section):
    """When a provider that fails again and again is passed over, and for how long."""

    failures: Annotated[int, Field(ge=0, le=1000), NOT_BOOLEAN] | None = Field(
        None,
        description="Failures in a row that open the circuit: no connection, a broken one, a time-out, a 5xx. 0: none "
        "do. Default: 10.",
    )
    open_for: PositiveDuration | None = Field(
        None,
        description="How long the provider is passed over, up to a quarter less at random. It doubles with every "
        "failed probe. Default: 5s.",
    )
    max_open_for: PositiveDuration | None = Field(None, description="Longest time between two probes. Default: 2m.")

    @model_validator(mode="after")
    def _check_order(self) -> CircuitBreaker:
        if self.open_for is not None and self.max_open_for is not None and self.open_for > self.max_open_for:
            raise ValueError("`open_for` must not be longer than `max_open_for`")
        return self


class RetryPolicy(Section):
    """How the attempts at one provider are made, and what takes over when they fail."""

    attempts: Annotated[int, Field(ge=1, le=100), NOT_BOOLEAN] | None = Field(
        None,
        description="How often a request is tried at this provider, the first time included. "
        "Default: `max_retries` of the model listener plus one, or 1.",
    )
    on_statuses: list[Status] | None = Field(
        None,
        description="Upstream statuses that count as failures. Default: 408, 429, 500, 502, 503, 504, 529; "
        "where `max_retries` of the listener is set, 408, 429 and every 5xx.",
    )
    backoff: Backoff | None = Field(None, description="The pause between attempts.")
    retry_after_max: Duration | None = Field(
        None,
        description="Longest `Retry-After` that is waited for; a longer one ends the attempts here. Default: 10s.",
    )
    per_try_timeout: PositiveDuration | None = Field(
        None, description="Longest time of one attempt until its answer has begun. Default: the listener's timeout."
    )
    first_token_timeout: PositiveDuration | None = Field(
        None, description="Longest time until the first event of a stream. Default: the listener's timeout."
    )
    idle_timeout: PositiveDuration | None = Field(
        None, description="Longest silence within an answer that has begun. Default: 60s."
    )
    circuit_breaker: CircuitBreaker | None = Field(
        None, description="When the provider is passed over because it has failed too often."
    )
    fallback_models: list[Text] | None = Field(
        None, description="Models or aliases that are tried next, in this order, when this provider has failed."
    )


class ModelProvider(Section):
    """One model, or with `provider/*` all models of a provider, and how it is called."""

    model: Text = Field(
        description="`provider/model-id`, for example `openai/gpt-4o`; `provider/*` stands for all its models."
    )
    name: Text | None = Field(None, description="Unique name that clients may ask for. Default: `model`.")
    access_key: str | None = Field(
        None, repr=False, description="API key of the provider; usually `$VARIABLE`, never the key itself."
    )
    default: bool = Field(
        False, description="Serves requests that name no model. At most one provider, and not a wildcard."
    )
    base_url: HttpUrl | None = Field(
        None,
        repr=False,
        description="Where the provider is reached, when not at its public address. A path replaces the `/v1` of the "
        "upstream path. Needed by providers without a public address and by unknown ones.",
    )
    passthrough_auth: bool = Field(
        False, description="Send the client's own credential upstream, in the provider's scheme, and not `access_key`."
    )
    http_host: Text | None = Field(None, description="Host header sent upstream. Default: the host that is called.")
    provider_interface: ProviderInterface | None = Field(
        None,
        description="Which known provider an unknown one behaves like: its paths, dialects and way to send the key. "
        "`openai` where there is nothing special, `anthropic`, `amazon_bedrock` or `gemini_native` for endpoints in "
        "their dialects. Only for unknown prefixes of `model`.",
    )
    region: Region | None = Field(
        None,
        description="AWS region that calls to Amazon Bedrock are signed for when there is no API key. Default: the one "
        "in `base_url`, else `AWS_REGION` or `AWS_DEFAULT_REGION`; without any, calls are not signed.",
    )
    headers: dict[Text, str] | None = Field(
        None, repr=False, description="Headers added to every call, last of all: they may replace the authentication."
    )
    routing_preferences: list[InlinePreference] | None = Field(
        None, description="Deprecated, use the top-level `routing_preferences`: the tasks this model is preferred for."
    )
    retry_policy: RetryPolicy | None = Field(None, description="Retries, time-outs and fallbacks of this provider.")

    @property
    def prefix(self) -> str:
        """The part of `model` before the first `/`."""
        return self.model.partition("/")[0]

    @property
    def model_id(self) -> str:
        """The part of `model` after the first `/`: what the upstream calls the model."""
        return self.model.partition("/")[2]

    @property
    def wildcard(self) -> bool:
        """Whether this stands for all models of the provider."""
        return self.model_id == "*"

    @property
    def canonical_name(self) -> str:
        """The unique name."""
        return self.name or self.model


class ModelAlias(Section):
    """A name that clients may use for a configured model."""

    target: Text = Field(description="A configured model: its `model`, or the part of it after the `/`.")
