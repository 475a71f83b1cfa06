"""The Plano file: its top-level keys, and the JSON Schema that documents them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from plano.config.schema.agents import Agent, Filter
from plano.config.schema.functions import Endpoint, EndpointName, PromptGuards, PromptTarget
from plano.config.schema.inference import Inference
from plano.config.schema.listeners import LegacyListeners, Listener
from plano.config.schema.operations import Overrides, RateLimit, StateStorage, Tracing
from plano.config.schema.providers import ModelAlias, ModelProvider
from plano.config.schema.routing import MetricsSource, PromptCaching, Routing, RoutingPreference
from plano.config.schema.section import Section

Version = Literal["v0.1", "v0.1.0", "0.1-beta", "0.2.0", "v0.3.0", "v0.4.0"]
NEWEST_VERSION: Version = "v0.4.0"


def _tell_form(value: Any) -> str:
    return "object" if isinstance(value, dict | LegacyListeners) else "array"


Listeners = Annotated[
    Annotated[list[Listener], Tag("array")] | Annotated[LegacyListeners, Tag("object")],
    Discriminator(_tell_form),
]

TAGGED_DEPTHS = {"listeners": 1, "model_metrics_sources": 2}
"""Where pydantic puts the name of a union's member into the location of an error, by top-level key."""


class PlanoFile(Section):
    """A Plano file as it was written. `plano.config.migration.migrate` brings any version into the newest form."""

    version: Version = Field(description="Version of this file's format.")
    listeners: Listeners = Field(
        description="The public sockets. Where no model listener is declared, one is added on 127.0.0.1:12000."
    )
    model_providers: list[ModelProvider] | None = Field(None, description="The models that clients may ask for.")
    llm_providers: list[ModelProvider] | None = Field(None, description="Old name of `model_providers`.")
    model_aliases: dict[str, ModelAlias] | None = Field(
        None, description="Names that clients may use, each with the model it stands for."
    )
    agents: list[Agent] | None = Field(None, description="Agents that listeners and prompt targets refer to.")
    filters: list[Filter] | None = Field(None, description="Filters that listeners and agents refer to.")
    endpoints: dict[EndpointName, Endpoint] | None = Field(
        None, description="Services whose APIs prompt targets call, by name."
    )
    prompt_targets: list[PromptTarget] | None = Field(None, description="Tasks that prompts are turned into.")
    system_prompt: str | None = Field(None, description="System prompt of the prompt listener.")
    prompt_guards: PromptGuards | None = Field(None, description="Guards of prompts.")
    routing_preferences: list[RoutingPreference] | None = Field(
        None, description="Kinds of tasks, and the models that serve each best."
    )
    model_metrics_sources: list[MetricsSource] | None = Field(
        None, description="Where prices and speed of models come from: at most one source of each."
    )
    routing: Routing | None = Field(None, description="Sessions and the cost of changing models within one.")
    prompt_caching: PromptCaching | None = Field(None, description="Use of the providers' prompt caches.")
    overrides: Overrides | None = Field(None, description="Settings that seldom need a change.")
    ratelimits: list[RateLimit] | None = Field(None, description="Limits on the tokens of a model.")
    tracing: Tracing | None = Field(None, description="Spans and where they go.")
    state_storage: StateStorage | None = Field(
        None, description="Where the conversations of `/v1/responses` are kept. Absent: they are not."
    )
    inference: Inference | None = Field(None, description="Which engine runs each task-specific model.")
    mode: Literal["llm", "prompt"] | None = Field(None, description="Legacy; without effect.")

    @property
    def providers(self) -> list[ModelProvider]:
        """The model providers under whichever name they were given."""
        return (self.model_providers if self.model_providers is not None else self.llm_providers) or []

    @property
    def providers_key(self) -> str:
        """The name under which the model providers were given."""
        return "llm_providers" if self.model_providers is None and self.llm_providers is not None else "model_providers"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the Plano file, with a description of every key."""
    schema = PlanoFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Plano configuration file"}
