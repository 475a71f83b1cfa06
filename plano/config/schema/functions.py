"""`endpoints`, `prompt_targets`, `prompt_guards`: prompts that become API calls, and what guards them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from plano.config.schema.quantities import PositiveDuration
from plano.config.schema.section import Scalar, Section, Text

EndpointName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


def _check_authority(value: str) -> str:
    host, colon, port = value.rpartition(":") if not value.endswith("]") else (value, "", "")
    if not colon:
        host = value
    elif not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise ValueError("must be `host` or `host:port`")
    if not host or "/" in host or any(c.isspace() for c in host):
        raise ValueError("must be `host` or `host:port`")
    return value


class Endpoint(Section):
    """A service whose API prompt targets call."""

    endpoint: Annotated[Text, AfterValidator(_check_authority)] = Field(description="`host` or `host:port`.")
    connect_timeout: PositiveDuration | None = Field(None, description="Longest time to connect. Default: 5s.")
    protocol: Literal["http", "https"] | None = Field(
        None, description="`https` means port 443 where none is given. Default: http."
    )
    http_host: Text | None = Field(None, description="Host header sent to the service. Default: its host.")
    prefix_affinity: bool = Field(
        False, description="Send requests that share a prompt prefix to the same one of the host's addresses."
    )


class Parameter(Section):
    """One parameter of a prompt target."""

    name: Text = Field(description="Name of the parameter.")
    description: str = Field(description="What it means. The function model fills it by this text.")
    type: Text = Field(description="int, float, bool, str, list, tuple, set, dict, or a type name of JSON Schema.")
    required: bool = Field(False, description="Whether a call without it is impossible.")
    default: Scalar | None = Field(None, description="Value that is sent when the prompt names none.")
    enum: list[Scalar] | None = Field(None, description="The values it may have.")
    in_path: bool = Field(False, description="Whether it fills a `{placeholder}` of the endpoint's path.")
    format: str | None = Field(None, description="Format of the value, for example YYYY-MM-DD.")
    items: dict[str, Any] | None = Field(None, description="JSON Schema of the elements of a list.")


class TargetEndpoint(Section):
    """The call that a prompt target makes."""

    name: Text = Field(description="Name of an entry of `endpoints` or id of an agent.")
    path: Text = Field(description="Path of the call; `{name}` stands for a parameter with `in_path`.")
    http_method: Literal["GET", "POST"] = Field("GET", description="Method of the call.")
    http_headers: dict[Text, str] | None = Field(None, repr=False, description="Headers of the call.")


class PromptTarget(Section):
    """A task that prompts are turned into: a function with parameters."""

    name: Text = Field(description="Name of the function.")
    description: str = Field(description="What it does. The function model chooses by this text.")
    default: bool = Field(False, description="Takes the prompts that no target fits.")
    auto_llm_dispatch_on_response: bool = Field(
        True, description="Have a model word the answer from the API's result; `false` returns the result itself."
    )
    system_prompt: str | None = Field(None, description="System prompt of this target, in place of the global one.")
    parameters: list[Parameter] | None = Field(None, description="What the function takes.")
    endpoint: TargetEndpoint | None = Field(None, description="The call that is made.")


class OnException(Section):
    """What is answered when a guard has found something."""

    message: str = Field(description="Text of the answer.")


class JailbreakGuard(Section):
    """Guard against prompts that try to lift a model's rules."""

    on_exception: OnException | None = Field(
        None, description="What is answered to such a prompt. Absent: a short refusal."
    )
    listeners: list[Text] | None = Field(
        None,
        description="Which listeners it guards: their types (`agent`, `prompt`, `model`) or names. Default: every "
        "prompt and agent listener.",
    )


class InputGuards(Section):
    """Guards of what comes in."""

    jailbreak: JailbreakGuard | None = Field(None, description="Guard against jailbreak attempts.")


class PromptGuards(Section):
    """Guards of prompts."""

    input_guards: InputGuards | None = Field(None, description="Guards of what comes in.")
