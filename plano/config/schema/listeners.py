"""`listeners`: the public sockets, in the array form and in the legacy object form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from plano.config.schema.quantities import PositiveDuration
from plano.config.schema.section import NOT_BOOLEAN, Port, Section, Text


def _spell_version(value: Any) -> Any:
    # YAML reads an unquoted 1.2 as a number.
    return str(value) if isinstance(value, float) else value


class ListenerTls(Section):
    """Termination of TLS on a listener."""

    cert_file: Text = Field(description="PEM file with the certificate chain of this listener.")
    key_file: Text = Field(description="PEM file with the private key of the certificate.")
    client_ca_file: Text | None = Field(
        None, description="PEM file with the authorities that must have signed a client's certificate (mutual TLS)."
    )
    min_version: Annotated[Literal["1.2", "1.3"], BeforeValidator(_spell_version)] = Field(
        "1.2", description="Lowest TLS version that is accepted."
    )


class ListenerAgent(Section):
    """One agent that an agent listener may hand a request to."""

    id: Text = Field(description="Id of an entry of `agents`.")
    description: str = Field(description="What the agent is for. The orchestrator chooses by this text.")
    default: bool = Field(False, description="Takes the requests that no description fits. At most one per listener.")
    input_filters: list[Text] | None = Field(
        None, description="Ids of filters that see the request, in this order, before the agent does."
    )
    filter_chain: list[Text] | None = Field(None, description="Another name of `input_filters`.")
    on_failure: Literal["abort", "skip"] = Field(
        "abort",
        description="What a failed agent does to the chain: `abort` answers its error, `skip` goes on without it.",
    )

    @property
    def filters(self) -> list[str]:
        """Filter ids under whichever name they were given."""
        return self.input_filters if self.input_filters is not None else (self.filter_chain or [])


class Listener(Section):
    """One public socket and what it serves."""

    name: Text = Field(description="Unique name; a label of metrics and spans.")
    type: Literal["model", "prompt", "agent"] = Field(
        description="`model` serves model providers, `agent` orchestrates agents, `prompt` serves prompt targets."
    )
    port: Port | None = Field(
        None, description="TCP port. Default: 12000 for a model, 10000 for a prompt listener; agent listeners need one."
    )
    address: Text | None = Field(None, description="Address to bind. Default: 0.0.0.0, all interfaces.")
    timeout: PositiveDuration | None = Field(
        None,
        description="Deadline of a request, all its attempts included. Default: 300s, for agent listeners 30s.",
    )
    router: Literal["plano_orchestrator_v1"] | None = Field(
        None, description="How an agent listener chooses among its agents."
    )
    max_retries: Annotated[int, Field(ge=0, le=100), NOT_BOOLEAN] | None = Field(
        None,
        description="Retries of a failed upstream call, for providers whose `retry_policy` has no `attempts`. "
        "Absent: a call is made once.",
    )
    agents: list[ListenerAgent] | None = Field(None, description="The agents of an agent listener.")
    execution: Literal["sequential", "parallel"] = Field(
        "sequential", description="Whether the agents chosen for one request run one after the other or at once."
    )
    writer: Literal["last_agent", "default_model"] = Field(
        "last_agent",
        description="With `execution: parallel`, who writes the answer from those of the agents: the agent that was "
        "chosen last, or the default model.",
    )
    input_filters: list[Text] | None = Field(
        None, description="Ids of filters that see every request, in this order, before it is routed."
    )
    filter_chain: list[Text] | None = Field(None, description="Another name of `input_filters`.")
    output_filters: list[Text] | None = Field(
        None, description="Ids of filters that see every answer, in this order, before the client does."
    )
    tls: ListenerTls | None = Field(None, description="Serve HTTPS. Absent: plain HTTP.")

    @property
    def filters(self) -> list[str]:
        """Input filter ids under whichever name they were given."""
        return self.input_filters if self.input_filters is not None else (self.filter_chain or [])


class LegacyListener(Section):
    """One entry of the legacy object form."""

    address: Text | None = Field(None, description="Address to bind. Default: 0.0.0.0, all interfaces.")
    port: Port | None = Field(None, description="TCP port. Default: 10000 for ingress, 12000 for egress.")
    message_format: Literal["openai"] | None = Field(None, description="Dialect of the clients.")
    timeout: PositiveDuration | None = Field(
        None, description="Deadline of a request, all its attempts included. Default: 300s."
    )


class LegacyListeners(Section):
    """The legacy object form of `listeners`."""

    ingress_traffic: LegacyListener | None = Field(None, description="The prompt listener.")
    egress_traffic: LegacyListener | None = Field(None, description="The model listener.")
