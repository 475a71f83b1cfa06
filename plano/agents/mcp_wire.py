"""MCP over streamable HTTP (MCP specification 2025-11-25, "Transports"), as a dispatcher below the session of the
official SDK: every message is one POST, whose answer is read as JSON or as server-sent events.

The SDK's own transport hands each message through four streams and three tasks, knows no bound of an answer, and has no
headers of a single call; this one asks in the task of the caller, so that its deadline and its cancellation reach the
connection. What the SDK's session makes of messages (negotiation, validation, versions) is left to it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import aiohttp
import anyio
import anyio.abc
import orjson
from mcp.shared.dispatcher import CallOptions, OnNotify, OnRequest
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types import METHOD_NOT_FOUND
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from yarl import URL

from plano.agents.http_filter import MAX_BYTES

Json = dict[str, Any]

log = logging.getLogger(__name__)

# The headers of the call under way, client's and trace's; the session between has no way to hand them on.
CALL_HEADERS: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("mcp_call_headers")

_SESSION_ID: Final = "mcp-session-id"
_FAREWELL_S: Final = 1.0  # for messages whose answer nobody waits for
_MOST_FAREWELLS: Final = 64
_MOST_REDIRECTS: Final = 2
_BOTH: Final = "application/json, text/event-stream"


class WireError(Exception):
    """No answer of the protocol came. The message is safe to show a client."""


class SessionLost(WireError):
    """The server does not know the session (any more)."""


class ConnectionLost(WireError):
    """The connection ended before the answer: another one may do better."""


class McpWire:
    """The connections of one session to the MCP server at `url`. `session_id` is None where the server has none."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = URL(url, encoded=True)
        self._http = http
        self._last_id = 0
        self._version: str | None = None
        self._farewells: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self.session_id: str | None = None

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: Any = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until the session is closed. Nothing is received here: answers come with their requests. The client of a
        filter offers no capability, so what a server may ask of it is answered without the session."""
        task_status.started()
        await self._closed.wait()

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> Json:
        """The result of one request. Raises MCPError for a JSON-RPC error and WireError."""
        options = opts or {}
        self._last_id += 1
        number = self._last_id
        message: Json = {"jsonrpc": "2.0", "id": number, "method": method}
        if params:
            message["params"] = params
        headers = options.get("headers") or {}
        self._version = headers.get(MCP_PROTOCOL_VERSION_HEADER, self._version)
        try:
            return await self._ask(message, number, headers, opening=method == "initialize")
        except asyncio.CancelledError:
            # Up to 2025-11-25 a disconnect takes nothing back; from 2026-07-28 on it is what takes back.
            if options.get("cancel_on_abandon", True) and self._version not in MODERN_PROTOCOL_VERSIONS:
                gone = {"requestId": number, "reason": "nobody waits for the answer"}
                self._say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": gone})
            raise

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Say something that has no answer. Whether it arrives is not known."""
        message: Json = {"jsonrpc": "2.0", "method": method}
        if params:
            message["params"] = params
        await self._tell(message, (opts or {}).get("headers") or {})

    async def end_session(self) -> None:
        """Tell the server that the session is over, waiting at most a second."""
        if self.session_id is None:
            return
        try:
            async with asyncio.timeout(_FAREWELL_S):
                async with self._http.delete(self._url, headers=self._render_headers({}), allow_redirects=False):
                    pass
        except (aiohttp.ClientError, TimeoutError) as error:
            log.debug("the MCP session was not ended in order: %s", type(error).__name__)

    async def close(self) -> None:
        """End `run`, and what is still being said."""
        self._closed.set()
        for task in self._farewells:
            task.cancel()
        await asyncio.gather(*self._farewells, return_exceptions=True)

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _ask(self, message: Json, number: int, headers: Mapping[str, str], *, opening: bool) -> Json:
        data = orjson.dumps(message)
        rendered = self._render_headers(headers)
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                async with self._http.post(self._url, data=data, headers=rendered, allow_redirects=False) as response:
                    if not self._follow(response):
                        return await self._read_answer(response, number, opening=opening)
        except aiohttp.ClientConnectorError as error:
            raise WireError(f"it cannot be reached ({type(error).__name__})") from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError) as error:
            raise ConnectionLost(f"the connection was lost ({type(error).__name__})") from error
        except aiohttp.ClientError as error:
            raise WireError(f"it cannot be reached ({type(error).__name__})") from error
        raise WireError("it redirects without an end")

    def _follow(self, response: aiohttp.ClientResponse) -> bool:
        """Does the server name another path of itself for the endpoint (mostly one with a slash more)? It is used from
        now on. Other hosts are not ours to tell what the client has said."""
        location = response.headers.get("location")
        if response.status not in (307, 308) or location is None:
            return False
        target = self._url.join(URL(location))
        if target.origin() != self._url.origin():
            return False
        self._url = target
        return True

    async def _read_answer(self, response: aiohttp.ClientResponse, number: int, *, opening: bool) -> Json:
        status = response.status
        if status == 404 and self.session_id is not None:
            raise SessionLost("it does not know the session")
        form = response.content_type
        if status >= 300:
            if form == "application/json":
                self._read_refusal(response.status, await self._read(response))
            raise WireError(f"it answered with status {status}")
        if opening:
            self.session_id = response.headers.get(_SESSION_ID)
        if form == "application/json":
            messages = _parse(await self._read(response))
            for message in messages if isinstance(messages, list) else [messages]:
                result = self._take(message, number)
                if result is not None:
                    return result
            raise WireError("it answered something else")
        if form == "text/event-stream":
            return await self._read_events(response, number)
        raise WireError("it answered with neither JSON nor events")

    def _read_refusal(self, status: int, body: bytes) -> None:
        """Raises what the JSON-RPC error in `body` stands for; returns when there is none."""
        try:
            code, text = _read_error(orjson.loads(body))
        except (orjson.JSONDecodeError, WireError):
            return
        # Servers before the specification had a status for it, and some still, answer 400.
        if status == 400 and ("session" in text.lower() or "initialized" in text.lower()):
            raise SessionLost("it does not know the session")
        raise MCPError(code=code, message=text)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        pieces = []
        size = 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > MAX_BYTES:
                raise WireError(f"its answer is larger than {MAX_BYTES} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def _read_events(self, response: aiohttp.ClientResponse, number: int) -> Json:
        events = EventReader()
        size = 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > MAX_BYTES:
                raise WireError(f"its answer is larger than {MAX_BYTES} bytes")
            for data in events.feed(piece):
                result = self._take(_parse(data), number)
                if result is not None:
                    return result
        raise ConnectionLost("its events ended before the answer")

    def _take(self, message: Any, number: int) -> Json | None:
        """The result in `message` when it answers request `number`; None for anything else it may say meanwhile."""
        if type(message) is not dict or message.get("jsonrpc") != "2.0":
            raise WireError("it answered something that is not JSON-RPC")
        if "method" in message:
            if "id" in message:
                self._answer(message)
            return None
        if "error" in message and message.get("id") in (number, str(number), None):
            code, text = _read_error(message)
            raise MCPError(code=code, message=text)
        if message.get("id") not in (number, str(number)):
            return None
        result = message.get("result")
        if type(result) is not dict:
            raise WireError("its answer holds no result")
        return result

    def _answer(self, asked: Json) -> None:
        """Servers may ask whether we are there (`ping`); for more they would need a capability that we do not offer."""
        answer: Json = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["method"] == "ping":
            answer["result"] = {}
        else:
            answer["error"] = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        self._say(answer)

    def _say(self, message: Json) -> None:
        """Send in a task of its own, or not at all when there are too many of them."""
        if self._closed.is_set() or len(self._farewells) >= _MOST_FAREWELLS:
            log.debug("an MCP message without an answer was not sent")
            return
        task = asyncio.get_running_loop().create_task(self._tell(message, {}))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _tell(self, message: Json, headers: Mapping[str, str]) -> None:
        rendered = self._render_headers(headers)
        data = orjson.dumps(message)
        try:
            async with asyncio.timeout(_FAREWELL_S):
                async with self._http.post(self._url, data=data, headers=rendered, allow_redirects=False):
                    pass
        except (aiohttp.ClientError, TimeoutError) as error:
            log.debug("an MCP message without an answer was lost: %s", type(error).__name__)

    def _render_headers(self, own: Mapping[str, str]) -> dict[str, str]:
        headers = {**CALL_HEADERS.get({}), "content-type": "application/json", "accept": _BOTH}
        if self.session_id is not None:
            headers[_SESSION_ID] = self.session_id
        if self._version is not None:
            headers[MCP_PROTOCOL_VERSION_HEADER] = self._version
        headers.update(own)
        return headers


class EventReader:
    """The data of server-sent events (WHATWG HTML, 9.2.6), from pieces of any size."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of every event that `piece` completes."""
        if b"\n" not in piece:
            self._rest.append(piece)
            return
        lines = b"".join((*self._rest, piece)).split(b"\n")
        self._rest = [lines.pop()]
        for line in lines:
            text = line.removesuffix(b"\r")
            if text.startswith(b"data:"):
                self._data.append(text[5:].removeprefix(b" "))
            elif not text and self._data:
                data = b"\n".join(self._data)
                self._data.clear()
                if data:  # an empty one only carries the id to resume from
                    yield data


def _parse(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise WireError("it answered something that is not JSON") from error


def _read_error(message: Any) -> tuple[int, str]:
    """Code and text of a JSON-RPC error. Raises WireError when `message` is none."""
    error = message.get("error") if type(message) is dict else None
    if type(error) is not dict or type(error.get("code")) is not int:
        raise WireError("it answered something that is not JSON-RPC")
    return error["code"], str(error.get("message", ""))
