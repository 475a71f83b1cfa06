"""The faults the provider can be told to have, and who has which.

A fault is asked for by model name (`demo-fail-503`), by a queue per model (`POST /_demo/faults`) or for good at the
start (`--fault MODEL=FAULT`). A chunk is an event that carries content (text or tool arguments); what opens a stream
(role, message_start) goes out with the first.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from plano.demo.prompts import PromptError

FaultKind = Literal[
    "fail",
    "html",
    "hang",
    "slow",
    "slow-token",
    "drop",
    "cut",
    "reset",
    "role-then-cut",
    "stall",
    "error-first",
    "error-mid",
    "error-200",
    "empty",
    "done-only",
    "no-done",
    "garbage",
    "truncate",
    "gzip",
    "comments",
    "crlf",
    "big",
    "chunks",
    "usage",
]

MODEL_PREFIX = "demo-"
ANY_MODEL = "*"

# One line per fault: what it is called, and what its numbers (in order: `number`, `second`) mean.
_FAULTS: tuple[tuple[FaultKind, re.Pattern[str]], ...] = (
    ("fail", re.compile(r"fail-([45]\d\d)(?:-after-(\d+(?:\.\d+)?))?")),  # status, seconds of Retry-After
    ("html", re.compile(r"html-([45]\d\d)")),  # status; the body is a web page, as from a proxy in between
    ("hang", re.compile(r"hang")),  # never answers
    ("slow-token", re.compile(r"slow-token-(\d+)")),  # the head at once, the first event (or the body) after ms
    ("slow", re.compile(r"slow-(\d+)")),  # ms before the head
    ("drop", re.compile(r"drop")),  # closes before the head
    ("cut", re.compile(r"cut-(\d+)")),  # closes in the middle of the event after n chunks
    ("reset", re.compile(r"reset-(\d+)")),  # as cut, by TCP reset
    ("role-then-cut", re.compile(r"role-then-cut")),  # as cut, after the events that open the stream
    ("stall", re.compile(r"stall-(\d+)")),  # silent for ever after n chunks
    ("error-first", re.compile(r"error-first")),  # 200, and the first event is an error
    ("error-mid", re.compile(r"error-mid-(\d+)")),  # an error event after n chunks
    ("error-200", re.compile(r"error-200")),  # 200, and the JSON body is an error
    ("empty", re.compile(r"empty")),  # 200 and no body
    ("done-only", re.compile(r"done-only")),  # only the end mark
    ("no-done", re.compile(r"no-done")),  # everything but the end mark
    ("garbage", re.compile(r"garbage")),  # 200 and bytes that are neither JSON nor events
    ("truncate", re.compile(r"truncate")),  # Content-Length promises more than comes
    ("gzip", re.compile(r"gzip")),  # compressed, whether the client asked for it or not
    ("comments", re.compile(r"comments")),  # comment lines before every event
    ("crlf", re.compile(r"crlf")),  # lines end in CR LF
    ("big", re.compile(r"big-(\d{1,7})")),  # KiB of text, in chunks of 4 KiB
    ("chunks", re.compile(r"chunks-(\d{1,6})-(\d+)")),  # n chunks, ms between two
    ("usage", re.compile(r"usage-(\d+)-(\d+)")),  # cached prompt tokens, reasoning tokens
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. What `number` and `second` mean depends on the kind; `second` is None where it was left out."""

    name: str
    kind: FaultKind
    number: int = 0
    second: float | None = None


def parse_fault(name: str) -> Fault | None:
    """Return the fault of that name (without `demo-`), None where there is none."""
    for kind, pattern in _FAULTS:
        if match := pattern.fullmatch(name):
            numbers = (*match.groups(), None, None)
            return Fault(name, kind, int(numbers[0] or 0), None if numbers[1] is None else float(numbers[1]))
    return None


def require_fault(name: str) -> Fault:
    """Return the fault of that name, with or without `demo-`. Raises PromptError (400) where there is none."""
    fault = parse_fault(name.removeprefix(MODEL_PREFIX))
    if fault is None:
        raise PromptError(400, f"There is no fault named '{name}'.", param="faults")
    return fault


def bare_model(model: str) -> str:
    """Return the model id without a provider prefix: a gateway may or may not have taken it off."""
    return model.rpartition("/")[2]


class FaultBook:
    """Which fault the next request of a model has: first its queue, then what was fixed at the start, then its name."""

    def __init__(self, fixed: Mapping[str, str] | None = None) -> None:
        """Take the faults fixed at the start, by model (`*` for all). Raises PromptError for an unknown name."""
        self._fixed = {bare_model(model): require_fault(name) for model, name in (fixed or {}).items()}
        self._queues: dict[str, deque[Fault | None]] = {}

    def queue(self, model: str, names: Iterable[str | None]) -> int:
        """Append to a model's queue; None is an answer without a fault. Returns the length of the queue."""
        faults = [None if name is None else require_fault(name) for name in names]
        queue = self._queues.setdefault(bare_model(model), deque())
        queue.extend(faults)
        return len(queue)

    def clear(self) -> None:
        """Forget every queue."""
        self._queues.clear()

    def pending(self) -> dict[str, list[str | None]]:
        """Return what is still queued, by model."""
        return {
            model: [fault.name if fault else None for fault in queue] for model, queue in self._queues.items() if queue
        }

    def take(self, model: str) -> Fault | None:
        """Return the fault for one request of this model and take it off the queue."""
        model = bare_model(model)
        for key in (model, ANY_MODEL):
            if queue := self._queues.get(key):
                return queue.popleft()
        for key in (model, ANY_MODEL):
            if key in self._fixed:
                return self._fixed[key]
        return parse_fault(model.removeprefix(MODEL_PREFIX)) if model.startswith(MODEL_PREFIX) else None
