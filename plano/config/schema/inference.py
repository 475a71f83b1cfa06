"""`inference`: which engine runs each of the task-specific models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from plano.config.schema.quantities import PositiveDuration
from plano.config.schema.section import NOT_BOOLEAN, Section, Text

Engine = Literal["auto", "vllm", "embedded", "upstream"]


def _check_address(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in ("tcp", "ipc") or not rest:
        raise ValueError("must start with tcp:// or ipc://")
    if scheme == "tcp" and not rest.rpartition(":")[2].isdigit():
        raise ValueError("must name a port, as in tcp://inference:5570")
    return value


class Role(Section):
    """One task-specific model."""

    engine: Engine = Field(
        "auto",
        description="What runs the model: `vllm` on a GPU, `embedded` small weights on the CPU, `upstream` a "
        "configured model provider. `auto` takes `vllm` where there is a GPU, else `embedded`.",
    )
    model: Text | None = Field(
        None, description="Model that is loaded; with `engine: upstream`, the configured model that does the work."
    )
    engine_args: dict[str, Any] | None = Field(None, description="Arguments of the engine, as vLLM names them.")
    timeout: PositiveDuration | None = Field(None, description="Deadline of a call; then the request goes on without.")
    prompt_template: str | None = Field(None, description="Exact text of a model card's prompt, in place of ours.")


class GuardRole(Role):
    """The guard model."""

    threshold: Annotated[float, Field(ge=0, le=1), NOT_BOOLEAN] = Field(
        0.5, description="Probability from which a prompt counts as an attack."
    )
    on_failure: Literal["allow", "block"] = Field(
        "allow", description="What happens to a request when the guard gives no answer in time."
    )


class Inference(Section):
    """The tier of the task-specific models."""

    address: Annotated[Text, AfterValidator(_check_address)] | None = Field(
        None, description="Where the inference process is reached. Absent: it is started beside the frontends."
    )
    orchestrator: Role | None = Field(None, description="Chooses routes and agents.")
    guard: GuardRole | None = Field(None, description="Finds attacks in prompts.")
    function: Role | None = Field(None, description="Turns prompts into calls of prompt targets.")
