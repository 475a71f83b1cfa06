"""What the demo provider understands of a request, whatever its dialect, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
ToolChoice = Literal["auto", "none", "required", "named"]

THINKING_PREFIX = "demo-think"
REPEATING_PREFIX = "demo-repeat"


class PromptError(Exception):
    """A request the provider refuses.

    Carries the HTTP `status`, a `message` for people, and OpenAI's `param` and `code` (None where there is none).
    """

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True)
class Turn:
    """One message: its text, and how many images came with it."""

    role: Role
    text: str
    images: int = 0


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is its JSON Schema. A `custom` tool takes plain text instead."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    custom: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request for an answer, dialect removed.

    `tool_name` is set when `tool_choice` is "named". `schema` asks for an answer that is JSON valid against it. An
    empty schema asks for any JSON object. `max_tokens` is None where the client set no bound. `options` are fields of
    the body that only the dialect itself makes something of, such as those it repeats in its answer. `script` is what
    the model is to say instead of what it thinks, None where it is free.
    """

    model: str
    turns: tuple[Turn, ...]
    stream: bool = False
    include_usage: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    tool_name: str = ""
    parallel_tool_calls: bool = True
    schema: Mapping[str, Any] | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    choices: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    script: str | None = None

    @property
    def thinks(self) -> bool:
        """Whether the model shows its thoughts: those named `demo-think...` do."""
        return self.model.rpartition("/")[2].startswith(THINKING_PREFIX)

    @property
    def repeats(self) -> bool:
        """Whether the model says nothing but what the user said last, word for word, so that one sees what has become
        of it on the way: those named `demo-repeat...` do."""
        return self.model.rpartition("/")[2].startswith(REPEATING_PREFIX)

    @property
    def last(self) -> Turn:
        """The newest turn."""
        return self.turns[-1]

    @property
    def question(self) -> str:
        """The text of the newest user turn, empty where no user has spoken."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")


def require_text(body: Mapping[str, Any], key: str) -> str:
    """Return a string of a request body that must be there and not empty. Raises PromptError (400)."""
    value = body.get(key)
    if value is None or value == "":
        raise PromptError(400, f"Missing required parameter: '{key}'.", param=key, code="missing_required_parameter")
    if not isinstance(value, str):
        raise PromptError(400, f"Invalid type for '{key}': expected a string.", param=key, code="invalid_type")
    return value


def read_choice(body: Mapping[str, Any], key: str, values: tuple[str, ...]) -> str:
    """Return a string of a request body that must be one of `values`; the first where it is absent."""
    value = body.get(key)
    if value is None:
        return values[0]
    if not isinstance(value, str) or value not in values:
        text = f"Invalid value: '{value}'. Supported values are: {', '.join(map(repr, values))}."
        raise PromptError(400, text, param=key, code="invalid_value")
    return value


def require_model(body: Mapping[str, Any]) -> str:
    """Return the `model` of a request body. Raises PromptError (400) where it is missing."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise PromptError(400, "you must provide a model parameter", param="model")
    return model


def read_bool(body: Mapping[str, Any], key: str, default: bool = False) -> bool:
    """Return a boolean of a request body. Raises PromptError (400) for anything else than a boolean or null."""
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise PromptError(400, f"Invalid type for '{key}': expected a boolean.", param=key, code="invalid_type")
    return value


def read_integer(body: Mapping[str, Any], key: str, low: int, high: int | None = None) -> int | None:
    """Return an integer of a request body, None where absent. Raises PromptError (400) outside of low..high."""
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise PromptError(400, f"Invalid type for '{key}': expected an integer.", param=key, code="invalid_type")
    if value < low:
        message = f"Invalid '{key}': integer below minimum value. Expected a value >= {low}, but got {value} instead."
        raise PromptError(400, message, param=key, code="integer_below_min_value")
    if high is not None and value > high:
        message = f"Invalid '{key}': integer above maximum value. Expected a value <= {high}, but got {value} instead."
        raise PromptError(400, message, param=key, code="integer_above_max_value")
    return value


def check_number(body: Mapping[str, Any], key: str, low: float, high: float) -> None:
    """Raise PromptError (400) where a number of a request body lies outside of low..high."""
    value = body.get(key)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PromptError(400, f"Invalid type for '{key}': expected a decimal.", param=key, code="invalid_type")
    if not low <= value <= high:
        message = f"Invalid '{key}': expected a value between {low} and {high}, but got {value} instead."
        raise PromptError(400, message, param=key, code="decimal_out_of_range")
