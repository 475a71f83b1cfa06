"""What reached the provider: the last requests, and totals. Bounded in entries and in bytes."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_ENTRIES = 1000
MAX_BODY_BYTES = 32 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Entry:
    """One request. `connection` numbers the connections that carried requests, from 1 on. `disconnected_after_ms`
    counts from the request's head until the client was found to be gone, None while it stayed."""

    method: str
    path: str
    headers: Mapping[str, str]
    connection: int
    started_unix_s: float = field(default_factory=time.time)
    started_s: float = field(default_factory=time.monotonic)
    body: bytes = b""
    model: str = ""
    fault: str | None = None
    status: int | None = None
    chunks: int = 0
    completed: bool = False
    ended_by_fault: bool = False
    forgotten: bool = False
    disconnected_after_ms: float | None = None

    def note_disconnect(self) -> None:
        """The client is gone, and the answer was not complete."""
        if self.disconnected_after_ms is None and not self.completed and not self.ended_by_fault:
            self.disconnected_after_ms = (time.monotonic() - self.started_s) * 1000

    def describe(self) -> dict[str, Any]:
        """Return the entry as JSON-able values. `body` is the parsed JSON, else the text."""
        headers: dict[str, str] = {}
        for key, value in self.headers.items():
            lowered = key.lower()
            headers[lowered] = f"{headers[lowered]}, {value}" if lowered in headers else value
        return {
            "method": self.method,
            "path": self.path,
            "headers": headers,
            "body": _parse_body(self.body),
            "body_bytes": len(self.body),
            "model": self.model,
            "fault": self.fault,
            "connection": self.connection,
            "started_unix_s": self.started_unix_s,
            "status": self.status,
            "chunks": self.chunks,
            "completed": self.completed,
            "disconnected": self.disconnected_after_ms is not None,
            "disconnected_after_ms": self.disconnected_after_ms,
        }


class Journal:
    """The last requests, oldest first, and totals since the start."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._entries: deque[Entry] = deque()
        self._max_entries = max_entries
        self._max_body_bytes = max_body_bytes
        self._body_bytes = 0
        self.requests_total = 0
        self.completed_total = 0
        self.disconnects_total = 0
        self.chunks_total = 0
        self.connections_opened = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self._statuses: Counter[int] = Counter()
        self._faults: Counter[str] = Counter()

    def open(self, entry: Entry) -> None:
        """A request has arrived."""
        self.requests_total += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self._entries.append(entry)
        self._trim()

    def keep_body(self, entry: Entry, body: bytes) -> None:
        """The body of a request has arrived whole. An entry that was forgotten meanwhile stays without."""
        if entry.forgotten:
            return
        entry.body = body
        self._body_bytes += len(body)
        self._trim()

    def finish(self, entry: Entry) -> None:
        """A request is over, one way or another."""
        self.in_flight -= 1
        self.chunks_total += entry.chunks
        self.completed_total += entry.completed
        self.disconnects_total += entry.disconnected_after_ms is not None
        if entry.status is not None:
            self._statuses[entry.status] += 1
        if entry.fault is not None:
            self._faults[entry.fault] += 1

    def clear(self) -> None:
        """Forget the requests; the totals stay."""
        while self._entries:
            self._forget_oldest()

    def describe_requests(self) -> list[dict[str, Any]]:
        """Return the last requests as JSON-able values, oldest first."""
        return [entry.describe() for entry in self._entries]

    def describe_totals(self) -> dict[str, Any]:
        """Return the totals as JSON-able values."""
        return {
            "requests": self.requests_total,
            "completed": self.completed_total,
            "disconnects": self.disconnects_total,
            "chunks": self.chunks_total,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "connections_opened": self.connections_opened,
            "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
            "faults": dict(self._faults),
        }

    def _trim(self) -> None:
        while len(self._entries) > self._max_entries or (self._body_bytes > self._max_body_bytes and self._entries):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        entry = self._entries.popleft()
        entry.forgotten = True
        self._body_bytes -= len(entry.body)


def _parse_body(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")
