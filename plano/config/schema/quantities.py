"""Durations and sizes as people write them, as pydantic types that hold seconds and bytes."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "kib": 2**10, "m": 10**6, "mb": 10**6, "mib": 2**20}
_BYTES |= {"g": 10**9, "gb": 10**9, "gib": 2**30}

_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:us|ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})\s*([a-z]*)", re.ASCII)
_LONGEST_S = 366 * 86400.0

DURATION_PATTERN = r"^\s*((\d+(\.\d*)?|\.\d+)(us|ms|s|m|h|d))+\s*$|^\s*(\d+(\.\d*)?|\.\d+)\s*$"


def parse_duration(value: Any) -> float:
    """Seconds of `300s`, `50ms`, `1m30s`, `2h`, or of a plain number of seconds.

    Raises ValueError for anything else, a negative duration, and one of more than a year.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a duration such as 300s, 50ms or 2m")
    seconds = _read_duration(value.strip()) if isinstance(value, str) else float(min(value, _LONGEST_S + 1))
    if not math.isfinite(seconds) or not 0.0 <= seconds <= _LONGEST_S:
        raise ValueError("must be a duration between 0 and 366 days")
    return seconds


def _read_duration(text: str) -> float:
    if len(text) > 64:
        raise ValueError("must be a duration such as 300s, 50ms or 2m")
    if re.fullmatch(r"\d+(?:\.\d*)?|\.\d+", text, re.ASCII):
        return float(text)
    steps = _DURATION.findall(text)
    if not steps or "".join(steps) != text:
        raise ValueError("must be a duration such as 300s, 50ms or 2m")
    total = 0.0
    for step in steps:
        unit = step.lstrip("0123456789.")
        total += float(step[: -len(unit)]) * _SECONDS[unit]
    return total


def parse_size(value: Any) -> int:
    """Bytes of `32MiB`, `64 kB`, or of a plain number of bytes. Raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is None or match.group(2) not in _BYTES:
        raise ValueError("must be a number of bytes, or a size such as 64KiB or 32MiB")
    return int(match.group(1)) * _BYTES[match.group(2)]


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"type": "number", "minimum": 0}]},
    ),
]
"""Seconds. Written as `300s`, `50ms`, `1m30s`, or as a number of seconds."""

PositiveDuration = Annotated[Duration, Field(gt=0)]
"""A duration longer than nothing."""

Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
"""Bytes, more than none. Written as `32MiB`, `64KiB`, or as a number of bytes."""
