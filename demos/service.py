"""What the small services of the examples have in common: their command line, their end, and the way back to Plano.

A service is an aiohttp application; `serve` runs it until SIGTERM, or until whoever started it is gone.
"""

from __future__ import annotations

import argparse
import os
import select
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

from demos.lifeline import end_with_parent

Json = dict[str, Any]

NAME_VARIABLE = "PLANO_DEMO_NAME"
MAX_LINE_BYTES = select.PIPE_BUF - 1
MODEL_TIMEOUT_S = 60.0
MAX_BODY_BYTES = 8 * 1024 * 1024
# What makes one trace of a request and of the calls that it leads to.
_TRACE_HEADERS = ("traceparent", "tracestate", "x-request-id")


def read_options() -> argparse.Namespace:
    """`port` and `model_url` from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model-url", default="", help="the model listener of Plano, for services that ask a model")
    return parser.parse_args()


def serve(make_app: Callable[[str], web.Application]) -> None:
    """Run the application that `make_app` makes (of the URL of the model listener) until it is told to end."""
    options = read_options()
    end_with_parent()
    web.run_app(
        make_app(options.model_url),
        host="127.0.0.1",
        port=options.port,
        print=None,
        access_log=None,
        shutdown_timeout=1,
    )


def report(text: str) -> None:
    """Say what happens; the example shows it beside the name of the service."""
    name = os.environ.get(NAME_VARIABLE)
    line = f"{name}\t{text}" if name else text
    # All services of an example write into one pipe, which keeps their lines in order and, up to a length, whole.
    os.write(1, line.replace("\n", "\\n").encode()[:MAX_LINE_BYTES] + b"\n")


def find_question(messages: list[Json]) -> str:
    """The newest thing that the user has said."""
    return next((read_text(message) for message in reversed(messages) if message.get("role") == "user"), "")


def read_text(message: Json) -> str:
    """The text of a message, whether it is one string or several parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content or [] if isinstance(part, dict))


class Model:
    """A model behind Plano's model listener, which an agent has its answers written by."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"

    async def answer(self, request: web.Request, messages: list[Json], *, stream: bool) -> web.StreamResponse:
        """Pass the model's answer to these messages on as the answer to `request`, piece by piece as it comes."""
        body: Json = {"model": "none", "messages": messages, "stream": stream}  # none: Plano chooses
        headers = {name: request.headers[name] for name in _TRACE_HEADERS if name in request.headers}
        timeout = aiohttp.ClientTimeout(total=MODEL_TIMEOUT_S)
        response = web.StreamResponse()
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, json=body, headers=headers) as answer,
            ):
                response.set_status(answer.status)
                response.content_type = answer.content_type
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
        except aiohttp.ClientConnectionError as error:
            if response.prepared:
                raise  # half an answer: the connection is closed, and Plano says so
            return web.json_response({"error": {"message": f"no model can be reached: {error}"}}, status=502)
        return response
