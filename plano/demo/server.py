"""The listening side of the demo provider: which request gets which answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from plano.demo import anthropic, gemini, openai
from plano.demo.control import CONTROL_PREFIX, Control
from plano.demo.delivery import Call, answer_call, make_error, make_json
from plano.demo.dialect import Dialect
from plano.demo.faults import FaultBook, bare_model
from plano.demo.journal import Entry, Journal
from plano.demo.multipart import parse_form
from plano.demo.prompts import PromptError, require_model
from plano.demo.routes import ANTHROPIC, GEMINI, OPENAI, Route, find_route, guess_dialect
from plano.demo.scripts import ScriptBook

MAX_BODY_BYTES = 256 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 512
BACKLOG = 4096
SHUTDOWN_TIMEOUT_S = 1.0
MISSING_MODEL_PREFIX = "missing"


class DemoProvider:
    """A listening provider; `start_provider` makes one. `url` has no path and no trailing slash."""

    def __init__(self, chunk_delay_ms: float, require_key: str | None, faults: Mapping[str, str] | None) -> None:
        self.url = ""
        self.journal = Journal()
        self.faults = FaultBook(faults)
        self.scripts = ScriptBook()
        self._control = Control(self.faults, self.scripts, self.journal)
        self._chunk_delay_s = chunk_delay_ms / 1000
        self._require_key = require_key
        self._listener: asyncio.Server | None = None
        self._server: _Connections | None = None
        self._closing = False

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Bind and listen; port 0 takes a free one. Raises OSError where the address cannot be bound."""
        self._server = _Connections(
            self._handle,
            request_factory=_make_request,
            # A client that leaves ends its request here, as it does at a real provider.
            handler_cancellation=True,
            access_log=None,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._server, host, port, ssl=tls, backlog=BACKLOG)
        bound = self._listener.sockets[0].getsockname()
        name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"{'https' if tls else 'http'}://{name}:{bound[1]}"

    async def close(self) -> None:
        """Stop listening and end every connection, answered or not."""
        self._closing = True
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            for connection in self._server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
            await self._server.shutdown(SHUTDOWN_TIMEOUT_S)
        if self._listener is not None:
            await self._listener.wait_closed()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith(CONTROL_PREFIX):
            try:
                return await self._control.handle(request)
            except PromptError as error:
                return make_error(OPENAI, error)
        if request.path == "/healthz":
            return make_json(b'{"status":"ok"}')
        entry = Entry(request.method, request.path, request.headers, self._number_connection(request))
        self.journal.open(entry)
        try:
            response = await self._answer(request, entry)
            await response.prepare(request)
            await response.write_eof()
            entry.status = response.status
            entry.completed = True
            return response
        except asyncio.CancelledError:
            if not self._closing:
                entry.note_disconnect()
            raise
        except ConnectionError:
            # A write found the client gone. aiohttp will find the same when it sends this, and end the connection
            # without a word; an exception it would log.
            entry.note_disconnect()
            return web.Response()
        finally:
            self.journal.finish(entry)

    async def _answer(self, request: web.BaseRequest, entry: Entry) -> web.StreamResponse:
        route = find_route(request.raw_path)
        dialect = guess_dialect(request.path, request.headers) if route is None else route.dialect
        try:
            body = await _read_body(request)
            self.journal.keep_body(entry, body)
            self._check_key(dialect, request)
            if request.method == "GET" and request.path.endswith("/models"):
                return make_json(_render_models(dialect))
            if request.method == "POST" and route is not None:
                return await answer_call(self._read_call(request, entry, route, body))
            raise PromptError(404, f"Invalid URL ({request.method} {request.path})")
        except PromptError as error:
            return make_error(dialect, error)

    def _read_call(self, request: web.BaseRequest, entry: Entry, route: Route, body: bytes) -> Call:
        parsed = {**_parse_body(request, body), **route.fields}
        # Moderations are the one API with a model of its own choice.
        entry.model = require_model(parsed) if "model" in parsed else route.dialect.parse_prompt(parsed).model
        if bare_model(entry.model).startswith(MISSING_MODEL_PREFIX):
            text = f"The model `{entry.model}` does not exist or you do not have access to it."
            raise PromptError(404, text, code="model_not_found")
        prompt = route.dialect.parse_prompt(parsed)
        fault = self.faults.take(entry.model)
        entry.fault = None if fault is None else fault.name
        if fault is None:  # a fault takes nothing off the script
            prompt = replace(prompt, script=self.scripts.take(entry.model))
        return Call(request, entry, route.dialect, prompt, fault, self._chunk_delay_s)

    def _check_key(self, dialect: Dialect, request: web.BaseRequest) -> None:
        if self._require_key is None:
            return
        key = dialect.read_key(request.headers)
        if key != self._require_key:
            text = "You didn't provide an API key." if key is None else "Incorrect API key provided."
            raise PromptError(401, text, code="invalid_api_key")

    def _number_connection(self, request: web.BaseRequest) -> int:
        # Numbered by their first request: those that only ask for the journal must not change what it says.
        numbers = self._server.numbers if self._server is not None else {}
        if request.protocol not in numbers:
            self.journal.connections_opened += 1
            numbers[request.protocol] = self.journal.connections_opened
        return numbers[request.protocol]


class _Connections(web.Server):
    """aiohttp's connections, and the numbers of those that carried a request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.numbers: dict[RequestHandler, int] = {}

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.numbers.pop(handler, None)


async def start_provider(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    chunk_delay_ms: float = 0.0,
    require_key: str | None = None,
    faults: Mapping[str, str] | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> DemoProvider:
    """Return a provider that listens; `await provider.close()` ends it.

    `chunk_delay_ms` lies between two chunks of every stream, `require_key` is the only key let in, `faults` gives
    models a fault for good. Raises OSError for an address or TLS file that cannot be used, PromptError for a fault
    there is not.
    """
    provider = DemoProvider(chunk_delay_ms, require_key, faults)
    tls = None
    if tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(tls_cert, tls_key)
        tls.set_alpn_protocols(["http/1.1"])
    await provider.listen(host, port, tls)
    return provider


def _make_request(message: object, payload: object, protocol: object, writer: object, task: object) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)  # type: ignore[arg-type]


async def _read_body(request: web.BaseRequest) -> bytes:
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        # aiohttp leaves this to its application layer, which we go without.
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise PromptError(413, "Request body is too large.") from error


def _parse_body(request: web.BaseRequest, body: bytes) -> dict[str, Any]:
    content_type = request.headers.get("Content-Type", "")
    if content_type.lower().startswith("multipart/form-data"):
        return dict(parse_form(content_type, body))
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PromptError(400, "We could not parse the JSON body of your request.") from error
    if not isinstance(parsed, dict):
        raise PromptError(400, "We could not parse the JSON body of your request: it must be a JSON object.")
    return parsed


def _render_models(dialect: Dialect) -> bytes:
    if dialect is ANTHROPIC:
        return anthropic.render_models()
    return gemini.render_models() if dialect is GEMINI else openai.render_models()
