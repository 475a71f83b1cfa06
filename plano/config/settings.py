"""Settings of the processes themselves: the environment variables `PLANO_*`, and what a command line puts over them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from plano.config.addresses import check_address as check_inference_address
from plano.config.addresses import check_bind_address
from plano.config.keys import check_key
from plano.config.plan import LimitsPlan
from plano.config.problems import ConfigError, Problem, suggest
from plano.config.schema.quantities import PositiveDuration, Size
from plano.config.schema.section import NOT_BOOLEAN

_DEFAULTS = LimitsPlan()

Count = Annotated[int, Field(ge=1), NOT_BOOLEAN]
InferenceAddress = Annotated[str, AfterValidator(check_inference_address)]
InferenceBind = Annotated[str, AfterValidator(check_bind_address)]
CurveKey = Annotated[str, AfterValidator(check_key)]


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises ValueError for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 <= int(port[:6]) <= 65535:
        raise ValueError("must be HOST:PORT")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host or (":" in host) != bracketed or any(c.isspace() or c == "/" for c in host):
        raise ValueError("must be HOST:PORT")
    return host, int(port)


def _check_address(address: str) -> str:
    split_address(address)
    return address


def _split_list(value: Any) -> Any:
    # One variable or option, several values: separated by commas, which neither an address nor a key may hold.
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _count_cores() -> int:
    # What this process may use, not what the machine has: containers are often pinned.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """Settings of a cluster's processes. Durations read as `30s`, sizes as `32MiB`; see `LimitsPlan` for the limits."""

    model_config = SettingsConfigDict(
        env_prefix="PLANO_", extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    workers: Annotated[int, Field(ge=1, le=1024), NOT_BOOLEAN] = Field(
        default_factory=_count_cores, description="Frontend processes. Default: one per CPU core."
    )
    admin: Annotated[str, AfterValidator(_check_address)] = Field(
        "127.0.0.1:19901", description="HOST:PORT of the admin server: metrics, health. Port 0 takes a free one."
    )
    run_dir: Path = Field(
        Path("~/.plano/run"), validate_default=True, description="Folder of the running cluster's files."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="How log lines look.")

    inference: Annotated[tuple[InferenceAddress, ...], NoDecode, BeforeValidator(_split_list)] = Field(
        (),
        description="Addresses of inference processes elsewhere, separated by commas. Default: those of the config "
        "file; without any, one is started beside the frontends.",
    )
    inference_bind: InferenceBind = Field(
        "tcp://127.0.0.1:5570", description="Where `plano-cluster inference` listens; port 0 takes a free one."
    )
    inference_public_key: CurveKey | None = Field(
        None, description="Own public CURVE key. Default: computed from the secret one."
    )
    inference_secret_key: CurveKey | None = Field(None, repr=False, description="Own secret CURVE key.")
    inference_server_public_key: CurveKey | None = Field(
        None, description="Frontends: public CURVE key of the inference processes."
    )
    inference_client_public_keys: Annotated[tuple[CurveKey, ...], NoDecode, BeforeValidator(_split_list)] = Field(
        (), description="Inference process: public CURVE keys of the frontends it admits, separated by commas."
    )

    max_body_bytes: Size = Field(_DEFAULTS.max_body_bytes, description="Largest request body.")
    max_header_bytes: Size = Field(_DEFAULTS.max_header_bytes, description="Largest head of a request.")
    max_connections: Count = Field(_DEFAULTS.max_connections, description="Client connections of one frontend.")
    max_in_flight: Count = Field(_DEFAULTS.max_in_flight, description="Requests in flight in one frontend.")
    header_timeout_s: PositiveDuration = Field(
        _DEFAULTS.header_timeout_s, description="Longest wait for a request's head."
    )
    body_timeout_s: PositiveDuration = Field(
        _DEFAULTS.body_timeout_s, description="Longest silence within a request body."
    )
    keepalive_timeout_s: PositiveDuration = Field(
        _DEFAULTS.keepalive_timeout_s, description="How long a client connection may idle."
    )
    drain_timeout_s: PositiveDuration = Field(
        _DEFAULTS.drain_timeout_s, description="How long requests in flight may go on when the cluster stops."
    )
    upstream_idle_connections: Count = Field(
        _DEFAULTS.upstream_idle_connections, description="Idle connections that one frontend keeps to one upstream."
    )
    upstream_max_connections: Count = Field(
        _DEFAULTS.upstream_max_connections, description="Connections of one frontend to one upstream."
    )
    upstream_keepalive_s: PositiveDuration = Field(
        _DEFAULTS.upstream_keepalive_s, description="How long an upstream connection is kept idle."
    )
    dns_refresh_s: PositiveDuration = Field(_DEFAULTS.dns_refresh_s, description="How long a DNS answer is used.")

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("run_dir")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))

    @property
    def admin_address(self) -> tuple[str, int]:
        """Host and port of the admin server."""
        return split_address(self.admin)

    @property
    def limits(self) -> LimitsPlan:
        """The bounds of one frontend."""
        return LimitsPlan(**{name: getattr(self, name) for name in LimitsPlan.__dataclass_fields__})


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment. `overrides` win over it; those that are None count as not given.

    Raises ConfigError naming every variable that is wrong, and never its value.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    unknown = given.keys() - Settings.model_fields.keys()
    if unknown:
        raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = [_explain(dict(details), given) for details in error.errors(include_url=False)]
    raise ConfigError(problems)


def _explain(details: dict[str, Any], given: dict[str, Any]) -> Problem:
    name = str(details["loc"][0])
    context = details.get("ctx", {})
    message, hint = str(details["msg"]), None
    match details["type"]:
        case "value_error":
            message = str(context["error"])
        case "literal_error":
            choices = [choice.strip("' ") for choice in str(context["expected"]).replace(" or ", ",").split(",")]
            message, hint = f"must be one of {', '.join(choices)}", suggest(str(details["input"]), choices)
        case "greater_than_equal":
            message = f"must be at least {context['ge']}"
        case "greater_than":
            message = f"must be more than {context['gt']}"
        case "less_than_equal":
            message = f"must be at most {context['le']}"
        case "int_parsing" | "int_type" | "int_from_float":
            message = "must be a whole number"
    if name in given:
        return Problem("command line", None, f"--{name.replace('_', '-')}", message, hint)
    return Problem("environment", None, f"PLANO_{name.upper()}", message, hint)
