"""What a child process is started with: pickled by the supervisor, read by the child as the first frame of its pipe.

This module is imported by every child: it must stay as light as `plano.config.plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from plano.config.plan import ClusterPlan

LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True)
class FrontendBoot:
    """A frontend's share of the cluster.

    `sockets` maps the name of a listener to a listening socket (bound, non-blocking) that this process inherited: it is
    this frontend's own SO_REUSEPORT socket and outlives it. `telemetry_address` is a ZeroMQ address to PUSH batches to.
    `inference` are the addresses of the inference processes, called with the keys of `plan.inference.curve`.
    """

    index: int
    plan: ClusterPlan
    sockets: dict[str, int]
    telemetry_address: str
    inference: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InferenceBoot:
    """`address` is where to bind, with the keys of `plan.inference.curve`; `telemetry_address` is where reports go."""

    plan: ClusterPlan
    address: str
    telemetry_address: str


@dataclass(frozen=True, slots=True)
class TelemetryBoot:
    """`address` is where to bind the PULL socket, `admin_socket` the inherited listening socket of the admin port.

    `max_model_pairs` bounds the (provider, model) pairs that become labels; `queue_batches` is the high-water mark of
    the bus in batches per frontend.
    """

    version: str
    address: str
    admin_socket: int
    max_model_pairs: int = 1_000
    queue_batches: int = 500


@dataclass(frozen=True, slots=True)
class ChildBoot:
    """The boot frame itself.

    `entry` is `module:coroutine_function`; the child awaits `entry(payload, control)` and ends with it. `title` is the
    process title, `name` the short name used in log lines ("frontend 3"). `proven`: a process with this boot frame was
    ready before, so what keeps this one from starting may pass.
    """

    entry: str
    name: str
    title: str
    payload: Any
    log_level: str = "info"
    log_format: LogFormat = "text"
    proven: bool = False
