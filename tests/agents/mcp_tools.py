"""MCP servers made with the official SDK behind one port: `/json/mcp`, `/sse/mcp`, `/stateless/mcp`, `/mcp`.

    python -m tests.agents.mcp_tools FD        listens on the inherited socket FD

`GET /seen` tells what has come: method, path, session and headers of every message; `DELETE /seen` forgets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, ImageContent, TextContent
from starlette.applications import Starlette
from starlette.routing import Mount

Json = dict[str, Any]
Body = Json | str


def mark(body: Body, path: str) -> Body:
    """What every tool makes of what it is given."""
    return body.replace("secret", "[gone]") if isinstance(body, str) else {**body, "user": path}


async def structured(body: Body, path: str) -> CallToolResult:
    return CallToolResult(content=[], structured_content={"result": mark(body, path)})


async def text(body: Body, path: str) -> str:
    made = mark(body, path)
    return made if isinstance(made, str) else json.dumps(made)


async def quoted(body: Body, path: str) -> str:
    return json.dumps(mark(body, path) if isinstance(body, str) else "words")


async def refuse(body: Body, path: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text="not in this house")], is_error=True)


async def fail(body: Body, path: str) -> str:
    raise RuntimeError("broken")


async def hang(body: Body, path: str) -> str:
    await asyncio.sleep(300)
    return "late"


async def image(body: Body, path: str) -> CallToolResult:
    return CallToolResult(content=[ImageContent(data="AA==", mime_type="image/png")])


async def huge(body: Body, path: str) -> str:
    return "x" * 34_000_000


async def empty(body: Body, path: str) -> str:
    return ""


def make_server() -> MCPServer[Any]:
    """A server with all the tools."""
    server: MCPServer[Any] = MCPServer("tests", log_level="CRITICAL")
    for tool in (structured, text, quoted, refuse, fail, hang, image, huge, empty):
        server.add_tool(tool, structured_output=False)
    return server


def make_app() -> Recorder:
    """All kinds of servers behind one recorder."""
    apps = {
        "/json": make_server().streamable_http_app(json_response=True),
        "/sse": make_server().streamable_http_app(json_response=False),
        "/stateless": make_server().streamable_http_app(json_response=True, stateless_http=True),
        "": make_server().streamable_http_app(json_response=True),
    }

    @contextlib.asynccontextmanager
    async def live(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    return Recorder(Starlette(routes=[Mount(path, app) for path, app in apps.items()], lifespan=live))


class Recorder:
    """Remembers every message on its way to `app`."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._seen: list[Json] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] == "/seen":
            answer = json.dumps(self._seen).encode()
            if scope["method"] == "DELETE":
                self._seen.clear()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": answer})
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        said = json.loads(body) if body else {}
        method = said.get("method") if scope["method"] == "POST" else scope["method"]
        self._seen.append(
            {
                "path": scope["path"],
                "method": method,
                "params": said.get("params"),
                "session": headers.get("mcp-session-id"),
                "headers": headers,
            }
        )
        first = True

        async def replay() -> Any:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self._app(scope, replay, send)


if __name__ == "__main__":
    uvicorn.run(make_app(), fd=int(sys.argv[1]), log_level="error", access_log=False)
