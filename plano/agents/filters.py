"""Filters: HTTP and MCP services that may change or stop a request or an answer (spec 5.3 to 5.5).

A chain hands the payload from one filter to the next. 2xx replaces it, 4xx ends the request with the filter's words,
anything else is a failure, which the filter's `on_failure` decides about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from plano.config.plan import FilterPlan

log = logging.getLogger(__name__)


class FilterRefused(Exception):
    """A filter has stopped the payload. `status` is 4xx, `said` the body of its answer as text."""

    def __init__(self, filter_id: str, status: int, said: str) -> None:
        super().__init__(f"filter {filter_id} answered {status}")
        self.filter_id = filter_id
        self.status = status
        self.said = said


class FilterFailed(Exception):
    """A filter that must not be passed over could not be asked. The message is safe to show a client."""

    def __init__(self, filter_id: str, reason: str) -> None:
        super().__init__(f"filter {filter_id}: {reason}")
        self.filter_id = filter_id


class FilteredRequest(NamedTuple):
    """What a filter is told about the request its payload belongs to. `lines` are the client's end-to-end headers,
    ready to be written; credentials are apart from them. `path` is the client's path with its query."""

    path: str
    lines: Sequence[bytes]
    authorization: bytes | None
    api_key: bytes | None
    request_id: bytes
    traceparent: bytes


class Filter(Protocol):
    """One filter. `plan` says what becomes of its failures."""

    plan: FilterPlan

    async def call(self, payload: bytes, request: FilteredRequest) -> bytes:
        """What the filter makes of `payload`. Raises FilterRefused and FilterFailed."""

    async def close(self) -> None:
        """End the connections."""


class FilterChain:
    """Filters in their order. `buffered`: one of them wants a stream's answer as a whole."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = tuple(filters)
        self.buffered = any(one.plan.mode == "buffered" for one in filters)

    def after(self, first: Filter) -> FilterChain:
        """This chain with `first` before it."""
        return FilterChain([first, *self._filters])

    async def apply(self, payload: bytes, request: FilteredRequest) -> bytes:
        """The payload as the last filter leaves it. Raises FilterRefused and FilterFailed."""
        for one in self._filters:
            try:
                payload = await one.call(payload, request)
            except FilterFailed as failed:
                if one.plan.on_failure == "block":
                    raise
                log.warning("%s: going on without it", failed)
        return payload


class Filters:
    """All filters of one frontend: their connections and their MCP sessions."""

    def __init__(self, plans: Sequence[FilterPlan], ca_path: str | None = None) -> None:
        self._filters: dict[str, Filter] = {}
        for plan in plans:
            if plan.type == "http":
                from plano.agents.http_filter import HttpFilter

                self._filters[plan.id] = HttpFilter(plan, ca_path)
            else:  # the SDK takes half a second and 35 MiB: only those who have such a filter pay
                from plano.agents.mcp_filter import McpFilter

                self._filters[plan.id] = McpFilter(plan, ca_path)

    def chain(self, ids: Sequence[str]) -> FilterChain | None:
        """The chain of these filters; None for none."""
        return FilterChain([self._filters[id] for id in ids]) if ids else None

    async def close(self) -> None:
        """End the sessions and close the connections."""
        await asyncio.gather(*(one.close() for one in self._filters.values()))
