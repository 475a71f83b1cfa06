"""A public listener of one frontend: its connections, their bounds, and who answers which path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from plano.config.plan import ListenerPlan
from plano.frontends.deadlines import DeadlineTable
from plano.frontends.errors import GatewayError
from plano.frontends.http1 import ClientConnection
from plano.frontends.request import Request
from plano.frontends.tls import Terminator
from plano.frontends.trace import choose_request_id, make_trace

if TYPE_CHECKING:
    from plano.frontends.frontend import Frontend

SWEEP_S = 1.0  # how exactly the time-outs of connections are kept
# In a drain, connections that are or become idle get this long for a request already on its way.
DRAIN_GRACE_S = 1.0

# Browsers ask for the list of models (spec 2.1).
_CORS = (
    b"allow: GET, OPTIONS\r\n"
    b"access-control-allow-origin: *\r\n"
    b"access-control-allow-headers: Authorization, Content-Type\r\n"
    b"access-control-allow-methods: GET, POST, OPTIONS\r\n"
)

Route = Callable[[ClientConnection, Request], None]


class Listener:
    """The ground all listener types stand on; subclasses add their routes.

    `routes` maps a path to the methods it knows.
    """

    def __init__(self, frontend: Frontend, plan: ListenerPlan) -> None:
        self.frontend = frontend
        self.name = plan.name
        self.timeout_s = plan.timeout_s
        self.limits = limits = frontend.limits
        # Looked at for every request: attributes of a compiled class cost nothing, those of the plan do.
        self.max_header_bytes = limits.max_header_bytes
        self.max_body_bytes = limits.max_body_bytes
        self.max_in_flight = limits.max_in_flight
        self.keepalive_timeout_s = limits.keepalive_timeout_s
        self.jailbreak_message = plan.jailbreak_message
        self.preferences = frontend.plan.preferences
        self.input_filters = frontend.filters.chain(plan.input_filters) if plan.input_filters else None
        self.output_filters = frontend.filters.chain(plan.output_filters) if plan.output_filters else None
        # The short cut of requests that the task-specific models have nothing to say about.
        self.deliberates = bool(self.preferences) or self.jailbreak_message is not None
        self.tls = Terminator(plan.name, plan.tls) if plan.tls is not None else None
        self.draining = False
        self.in_flight = 0
        self._connections: DeadlineTable[ClientConnection] = DeadlineTable(SWEEP_S)
        self.connections = self._connections.live
        self.routes: dict[bytes, dict[bytes, Route]] = {b"/healthz": {b"GET": self._answer_health}}
        self._unserved = f"Listeners of type {plan.type} do not answer requests in this version of Plano."

    # -- connections ---------------------------------------------------------------------------------------------

    def make_connection(self) -> asyncio.Protocol:
        """The protocol factory of the server."""
        return cast(asyncio.Protocol, ClientConnection(self))

    def connected(self, connection: ClientConnection) -> None:
        connection.deadline_s = time.monotonic() + self.limits.keepalive_timeout_s
        self._connections.watch(connection)
        if len(self.connections) > self.limits.max_connections:
            message = "The gateway is at its limit of connections."
            error = GatewayError(503, "too_many_connections", message, retry_after_s=1.0, close=True)
            connection.refuse_connection(error)

    def disconnected(self, connection: ClientConnection) -> None:
        self.connections.pop(connection, None)

    def close_idle(self) -> None:
        """Part of a drain: connections that have been without a request for a while are closed.

        Not those whose answer has just ended: their client was told that the connection is kept (the head of a stream
        is written long before its end), and its next request may be on its way.
        """
        idle_since_s = time.monotonic() - DRAIN_GRACE_S
        for connection in list(self.connections):
            if connection.closed:
                continue
            if connection.idle and connection.deadline_s - self.limits.keepalive_timeout_s <= idle_since_s:
                connection.leave()

    # -- requests ------------------------------------------------------------------------------------------------

    def handle(self, connection: ClientConnection, request: Request) -> None:
        """Hand a parsed request to whoever answers its path."""
        path = request.target
        methods = self.routes.get(path)
        if methods is None and b"?" in path:
            methods = self.routes.get(path.partition(b"?")[0])
        if methods is None and path.startswith(b"http"):  # absolute form (RFC 9112, 3.2.2)
            methods = self.routes.get(b"/" + path.partition(b"://")[2].partition(b"/")[2].partition(b"?")[0])
        if methods is not None:
            route = methods.get(request.method)
            if route is None and request.method == b"HEAD":
                route = methods.get(b"GET")
            if route is not None:
                route(connection, request)
                return
            allow = ", ".join(method.decode() for method in methods)
            message = f"{request.method.decode('latin-1')} is not answered here. Try {allow}."
            request.error = GatewayError(405, "method_not_allowed", message, allow=allow)
        else:
            shown = path[:256].decode("latin-1")
            request.error = GatewayError(404, "unknown_path", self.explain_unknown(shown))
        request.dialect = self.guess_dialect(request)
        self.refuse(connection, request)

    def guess_dialect(self, request: Request) -> str:
        """The dialect of a client whose path says nothing: it gets the errors of that one."""
        return "chat"

    def explain_unknown(self, path: str) -> str:
        return self._unserved

    def refuse(self, connection: ClientConnection, request: Request) -> None:
        """Answer `request.error`, and record it."""
        error = request.error
        assert error is not None
        trace = make_trace(request.traceparent)
        request_id = choose_request_id(request.request_id, trace[0])
        connection.fail(request, error, lines=b"x-request-id: %b\r\n" % request_id)
        self.frontend.recorder.add_local(self.name, request, request_id, trace, error.status, error.code)
        connection.finish(request)

    def answer(
        self, connection: ClientConnection, request: Request, body: bytes, *, status: int = 200, lines: bytes = b""
    ) -> None:
        """Answer with a document of our own, and record it."""
        trace = make_trace(request.traceparent)
        request_id = choose_request_id(request.request_id, trace[0])
        connection.respond(request, status, body, lines=b"x-request-id: %b\r\n%b" % (request_id, lines))
        self.frontend.recorder.add_local(self.name, request, request_id, trace, status, "")
        connection.finish(request)

    def answer_preflight(self, connection: ClientConnection, request: Request) -> None:
        """Answer a browser that asks whether it may ask."""
        self.answer(connection, request, b"", status=204, lines=_CORS)

    def _answer_health(self, connection: ClientConnection, request: Request) -> None:
        # Not recorded: probes would drown the requests. A draining frontend still answers 200, it takes no new
        # connections and what it has it finishes.
        connection.respond(request, 200, b'{"status":"ok"}')
        connection.finish(request)
