"""What every section of the Plano file has in common, and the scalar types its keys are made of."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)


class Section(BaseModel):
    """One mapping of the file. Unknown keys are refused; a key without a value counts as absent."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        # Keys such as `model_providers` are the file's, not pydantic's.
        protected_namespaces=(),
        use_attribute_docstrings=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_empty_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def _refuse_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _check_scalar(value: Any) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool):
        raise ValueError("must be text, a number, or true or false")
    return value


def _check_http_url(value: str) -> str:
    # The value is not repeated in the messages: a URL may carry credentials.
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError("is not a valid URL") from error
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError("must start with http:// or https://")
    if not parts.hostname or not parts.hostname.isascii() or any(c.isspace() for c in value) or port == 0:
        raise ValueError("is not a valid URL")
    return value


Text = Annotated[str, StringConstraints(min_length=1)]
"""Text that is not empty."""

NOT_BOOLEAN = BeforeValidator(_refuse_boolean)
"""Keeps `true` from being read as 1. Stands last in an annotation: bounds before it reach the JSON Schema."""

Number = Annotated[float, NOT_BOOLEAN]
Port = Annotated[int, Field(ge=1, le=65535), NOT_BOOLEAN]

Scalar = Annotated[
    str | int | float | bool,
    PlainValidator(_check_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
"""Any YAML scalar, kept as it was written."""

HttpUrl = Annotated[
    str, AfterValidator(_check_http_url), WithJsonSchema({"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://.+"})
]
"""An http or https URL."""
