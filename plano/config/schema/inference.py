"""`inference`: which engine runs each of the task-specific models, and where."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from plano.config.addresses import check_address
from plano.config.curve import Key
from plano.config.schema.quantities import PositiveDuration
from plano.config.schema.section import NOT_BOOLEAN, Section, Text

Engine = Literal["auto", "vllm", "embedded", "upstream"]
Count = Annotated[int, Field(ge=1), NOT_BOOLEAN]


def _make_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Address = Annotated[Text, AfterValidator(check_address)]
_ADDRESS_SCHEMA = {"type": "string", "pattern": "^(tcp://.+:[0-9]+|ipc://.+)$"}
Addresses = Annotated[
    list[Address],
    BeforeValidator(_make_list),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [_ADDRESS_SCHEMA, {"type": "array", "minItems": 1, "items": _ADDRESS_SCHEMA}]}),
]
"""One address or several."""


class Role(Section):
    """One task-specific model."""

    engine: Engine = Field(
        "auto",
        description="What runs the model: `vllm` on a GPU, `embedded` small weights on the CPU, `upstream` a "
        "configured model provider. `auto` takes `vllm` where there is a GPU, else `embedded`.",
    )
    model: Text | None = Field(
        None,
        description="Model that is loaded; with `engine: upstream`, the configured model that does the work, by "
        "default the default provider's.",
    )
    engine_args: dict[str, Any] | None = Field(None, description="Arguments of the engine, as vLLM names them.")
    timeout: PositiveDuration | None = Field(
        None,
        description="Deadline of a call; then the request goes on without. Default: 2s for the orchestrator, 250ms for "
        "the guard (both 5s where a model provider does it), 20s for the function model.",
    )
    prompt_template: str | None = Field(None, description="Exact text of a model card's prompt, in place of ours.")
    concurrency: Count | None = Field(
        None, description="Calls that the engine works on at once. Default: what the engine is good at."
    )
    queue: Count = Field(1024, description="Calls that may wait beside those; the next one is answered at once.")
    context_length: Annotated[int, Field(ge=256), NOT_BOOLEAN] | None = Field(
        None,
        description="Longest prompt, in tokens; older turns are left out. Default: 8192, for the orchestrator "
        "`overrides.orchestrator_model_context_length`.",
    )


class GuardRole(Role):
    """The guard model."""

    threshold: Annotated[float, Field(ge=0, le=1), NOT_BOOLEAN] = Field(
        0.5, description="Probability from which a prompt counts as an attack."
    )
    on_failure: Literal["allow", "block"] = Field(
        "allow", description="What happens to a request when the guard gives no answer in time."
    )
    scope: Literal["last_user", "all", "all_and_tools"] = Field(
        "last_user",
        description="What is looked at: the last user message, every message, or the results of tools as well.",
    )


class FunctionRole(Role):
    """The function model."""

    entropy: Annotated[float, Field(ge=0), NOT_BOOLEAN] = Field(
        0.35,
        description="Entropy in bits; where this and `varentropy` are exceeded a required value counts as guessed.",
    )
    varentropy: Annotated[float, Field(ge=0), NOT_BOOLEAN] = Field(
        1.7, description="Variance of the information of a token; see `entropy`."
    )


class Curve(Section):
    """CurveZMQ keys of the connection to an inference process; `plano-cluster keys` makes them."""

    public_key: Key | None = Field(None, description="Own public key. Default: computed from `secret_key`.")
    secret_key: Key | None = Field(
        None,
        repr=False,
        description="Own secret key; usually `$VARIABLE`. Needed by the inference process, and by frontends where it "
        "admits only known ones.",
    )
    server_public_key: Key | None = Field(None, description="Frontends: public key of the inference process.")
    client_public_keys: list[Key] | None = Field(
        None, description="Inference process: the frontends it admits. Absent: all that know its public key."
    )


class Inference(Section):
    """The tier of the task-specific models."""

    address: Addresses | None = Field(
        None,
        description="Where inference processes are reached: tcp://HOST:PORT or ipc://PATH, one or several. Absent: one "
        "is started beside the frontends.",
    )
    curve: Curve | None = Field(
        None, description="Keys for tcp:// addresses of other machines. `PLANO_INFERENCE_*` settings come before them."
    )
    orchestrator: Role | None = Field(None, description="Chooses routes and agents.")
    guard: GuardRole | None = Field(None, description="Finds attacks in prompts.")
    function: FunctionRole | None = Field(None, description="Turns prompts into calls of prompt targets.")
