"""The session with the MCP server of one filter: initialised when it is first needed, kept, replaced when it is lost.

A session of the SDK belongs to the task that entered it, so each has a task of its own, which waits until it is over;
calls may come from any task.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import aiohttp
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION, CallToolRequest, CallToolResult, Implementation
from mcp_types import CallToolRequestParams as Params
from pydantic import ValidationError

from plano.agents.mcp_wire import CALL_HEADERS, McpWire, WireError

Json = dict[str, Any]

log = logging.getLogger(__name__)


class McpSession:
    """One session. `opened` is done when it can be used, or with why it cannot."""

    def __init__(self, url: str, http: aiohttp.ClientSession, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._wire = McpWire(url, http)
        self._timeout_s = timeout_s
        self._over = asyncio.Event()
        self._kept = True
        self.opened: asyncio.Future[ClientSession] = loop.create_future()
        # In a context of its own: the credentials of the call that opens the session end with the handshake.
        handshake = self._own(CALL_HEADERS.get({}))
        self._owner = loop.create_task(handshake, context=contextvars.Context())
        self._owner.add_done_callback(self._settle)

    @property
    def usable(self) -> bool:
        """Is it being opened, or open?"""
        if self._over.is_set() or self._owner.done():
            return False
        return not self.opened.done() or self.opened.exception() is None

    async def call_tool(self, tool: str, arguments: Json, meta: Any) -> CallToolResult:
        """The result of one call. Raises MCPError, WireError and ValidationError (not of the protocol)."""
        # Shielded: others wait for the same session.
        session = await asyncio.shield(self.opened)
        request = CallToolRequest(params=Params(name=tool, arguments=arguments, _meta=meta))
        # Not `call_tool`: that asks for the list of tools first, to check the result against a schema; what a filter
        # makes is checked against what it is needed for.
        return await session.send_request(request, CallToolResult)

    def drop(self) -> None:
        """The server has forgotten it: nothing is to be ended there."""
        self._kept = False
        self._over.set()

    async def close(self) -> None:
        """End it, here and at the server."""
        self._over.set()
        if not self.opened.done():
            self._owner.cancel()
        await asyncio.gather(self._owner, return_exceptions=True)

    async def _own(self, headers: Mapping[str, str]) -> None:
        try:
            client = Implementation(name="plano", version=metadata.version("plano-cluster"))
            async with ClientSession(dispatcher=self._wire, client_info=client) as session:
                # Within the block: a task group makes a group of every error that leaves it.
                before = CALL_HEADERS.set(headers)
                welcome = await self._greet(session)
                CALL_HEADERS.reset(before)
                if welcome:
                    self.opened.set_result(session)
                    await self._over.wait()
            if self._kept:
                await self._wire.end_session()
        finally:
            await self._wire.close()

    async def _greet(self, session: ClientSession) -> bool:
        """Is the session initialised? If not, `opened` knows why."""
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    await session.initialize()
                except MCPError as error:
                    # A server that speaks only what came after sessions (2026-07-28) says so.
                    if error.code not in (METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION):
                        raise
                    await session.discover()
        except TimeoutError:
            self.opened.set_exception(WireError(f"no session within {self._timeout_s:g} s"))
        except (MCPError, WireError, ValidationError) as error:
            self.opened.set_exception(error)
        except RuntimeError as error:  # the SDK's word for versions that do not meet
            log.warning("an MCP session could not be initialised: %s", error)
            self.opened.set_exception(WireError("it speaks no version of the protocol that we do"))
        return not self.opened.done()

    def _settle(self, owner: asyncio.Task[None]) -> None:
        if not owner.cancelled() and owner.exception() is not None:
            log.error("an MCP session ended with an error", exc_info=owner.exception())
        if not self.opened.done():
            self.opened.set_exception(WireError("no session"))
        self.opened.exception()  # seen, should nobody have waited


class McpLink:
    """The way to one filter's server: at most one session at a time, and one handshake."""

    def __init__(self, url: str, http: aiohttp.ClientSession, timeout_s: float) -> None:
        self._url = url
        self._http = http
        self._timeout_s = timeout_s
        self._session: McpSession | None = None
        self._closed = False

    def session(self) -> McpSession:
        """The session to call, opened or being opened. Raises WireError once closed."""
        if self._closed:
            raise WireError("the gateway ends")
        if self._session is None or not self._session.usable:
            self._session = McpSession(self._url, self._http, self._timeout_s)
        return self._session

    def forget(self, lost: McpSession) -> None:
        """`lost` is of no use any more. When others have found that before, there is a new one already, which stays."""
        lost.drop()

    async def close(self) -> None:
        """End the session and the connections."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
        await self._http.close()
