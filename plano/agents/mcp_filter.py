"""A filter that is a tool of an MCP server: called with the payload, what it returns replaces it (spec 5.4)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent
from pydantic import ValidationError
from yarl import URL

from plano.agents.filters import FilteredRequest, FilterFailed, FilterRefused
from plano.agents.http_filter import open_http, render_headers
from plano.agents.mcp_session import McpLink
from plano.agents.mcp_wire import CALL_HEADERS, ConnectionLost, SessionLost, WireError
from plano.config.plan import FilterPlan

_ENDPOINT: Final = "/mcp"  # of a URL that names none
_OF_THE_WIRE: Final = ("mcp-", "last-event-id")


class McpFilter:
    """See the module. One session per filter and frontend."""

    def __init__(self, plan: FilterPlan, ca_path: str | None) -> None:
        self.plan = plan
        self._url = find_endpoint(plan.url)
        self._ca_path = ca_path
        self._link: McpLink | None = None

    async def call(self, payload: bytes, request: FilteredRequest) -> bytes:
        """What the tool makes of `payload`. Raises FilterRefused (isError) and FilterFailed."""
        name = self.plan.id
        arguments = {"body": self._read_payload(payload), "path": request.path}
        headers = render_headers(self.plan, request)
        headers = {key: value for key, value in headers.items() if not key.lower().startswith(_OF_THE_WIRE)}
        before = CALL_HEADERS.set(headers)
        try:
            async with asyncio.timeout(self.plan.timeout_s):
                result = await self._ask(arguments, {"traceparent": headers["traceparent"]})
        except TimeoutError as error:
            raise FilterFailed(name, f"no answer within {self.plan.timeout_s:g} s") from error
        except WireError as lost:
            raise FilterFailed(name, str(lost)) from lost
        except MCPError as refused:
            raise FilterFailed(name, f"it answered with the MCP error {refused.code}") from refused
        except ValidationError as invalid:
            raise FilterFailed(name, "its answer is not of the protocol") from invalid
        finally:
            CALL_HEADERS.reset(before)
        if result.is_error:
            raise FilterRefused(name, 400, _read_text(result) or "")
        return self._read_value(result)

    async def close(self) -> None:
        """End the session and the connections."""
        if self._link is not None:
            await self._link.close()

    async def _ask(self, arguments: dict[str, Any], meta: dict[str, str]) -> CallToolResult:
        """One call; once more when its connection is lost, and once more when its session is: a restarted server shows
        as one, then as the other."""
        link = self._link or self._open()
        reconnected = renewed = False
        while True:
            session = link.session()
            try:
                return await session.call_tool(self.plan.tool, arguments, meta)
            except SessionLost:
                link.forget(session)
                if renewed:
                    raise
                renewed = True
            except ConnectionLost:
                if reconnected:
                    raise
                reconnected = True

    def _open(self) -> McpLink:
        http = open_http(self._url, self._ca_path, timeout_s=None)
        self._link = McpLink(self._url, http, self.plan.timeout_s)
        return self._link

    def _read_payload(self, payload: bytes) -> Any:
        """JSON as it is, anything else (the events of a stream) as text. Raises FilterFailed for what is neither."""
        try:
            return orjson.loads(payload)
        except orjson.JSONDecodeError:
            pass  # an event of a stream, most likely
        try:
            return payload.decode()
        except UnicodeDecodeError as error:
            raise FilterFailed(self.plan.id, "what it is to see is neither JSON nor text") from error

    def _read_value(self, result: CallToolResult) -> bytes:
        structured = result.structured_content
        value = structured.get("result") if isinstance(structured, dict) else None
        if value is None:
            text = _read_text(result)
            if text is None:
                raise FilterFailed(self.plan.id, "its answer holds no text")
            value = orjson.loads(text) if _is_quoted(text) else text
        return value.encode() if isinstance(value, str) else orjson.dumps(value)


def find_endpoint(url: str) -> str:
    """Where the server of a filter with this `url` listens: there, or at `/mcp` when it names no path."""
    parsed = URL(url)
    return str(parsed.with_path(_ENDPOINT, keep_query=True) if parsed.path in ("", "/") else parsed)


def _read_text(result: CallToolResult) -> str | None:
    """The first text of a result; None when its first content is none."""
    first = result.content[0] if result.content else None
    return first.text if isinstance(first, TextContent) else None


def _is_quoted(text: str) -> bool:
    """Is `text` a string in JSON? What else is JSON can stay as it is written."""
    try:
        return text.startswith('"') and isinstance(orjson.loads(text), str)
    except orjson.JSONDecodeError:
        return False
