"""A provider of a few lines, for what no real one can be made to do at will: real sockets, in the test's own loop.

async with PickyProvider(lambda body: (200, completion("..."))) as provider:
    engine = make_upstream_engine("orchestrator", RolePlan(), plan_for(provider.port))
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]


class PickyProvider:
    """Answers by `answer(body)`, which gives a status and a document. `bodies` and `headers` are what it was sent."""

    def __init__(self, answer: Callable[[Json], tuple[int, Any]]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self.bodies: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(web.Server(self._handle), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        self.bodies.append(json.loads(await request.read()))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        status, document = self._answer(self.bodies[-1])
        return web.json_response(document, status=status)


def completion(text: str, finish: str = "stop") -> Json:
    """A chat completion that says `text`, of 7 tokens in and 3 out."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def refusal(message: str, status: int = 400) -> tuple[int, Json]:
    """An error in OpenAI's shape."""
    return status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
