"""The model listener: three dialects in, any configured model out, and the list of models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import orjson

from plano.config.plan import ListenerPlan
from plano.dialects.identity.forms import is_form
from plano.dialects.identity.plain import PLAIN_WIRES, FormWire, PlainWire
from plano.dialects.identity.wire import CHAT, MESSAGES, RESPONSES, Wire
from plano.frontends.exchange import Exchange
from plano.frontends.http1 import ClientConnection
from plano.frontends.listener import Listener
from plano.frontends.request import Request
from plano.frontends.routing_query import RoutingQuery

if TYPE_CHECKING:
    from plano.frontends.frontend import Frontend


class ModelListener(Listener):
    """`POST /v1/chat/completions`, `/v1/messages` and `/v1/responses`, the same under `/routing` for the decision
    alone, the endpoints of `dialects/plain.py`, `GET /v1/models`, `GET /healthz`."""

    def __init__(self, frontend: Frontend, plan: ListenerPlan) -> None:
        super().__init__(frontend, plan)
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in frontend.plan.model_ids
        ]
        self._models = orjson.dumps({"object": "list", "data": models})
        self.routes[b"/v1/chat/completions"] = {b"POST": self._begin_chat}
        self.routes[b"/v1/messages"] = {b"POST": self._begin_messages}
        self.routes[b"/v1/responses"] = {b"POST": self._begin_responses}
        self.routes[b"/routing/v1/chat/completions"] = {b"POST": partial(self._begin_query, CHAT)}
        self.routes[b"/routing/v1/messages"] = {b"POST": partial(self._begin_query, MESSAGES)}
        self.routes[b"/routing/v1/responses"] = {b"POST": partial(self._begin_query, RESPONSES)}
        for wire in PLAIN_WIRES:
            self.routes[b"/v1" + wire.name.encode()] = {b"POST": partial(self._begin_plain, wire)}
        self.routes[b"/v1/models"] = {b"GET": self._list_models, b"OPTIONS": self.answer_preflight}

    def explain_unknown(self, path: str) -> str:
        known = ", ".join(route.decode() for route in self.routes)
        return f"There is nothing at {path}. This listener answers {known}."

    def guess_dialect(self, request: Request) -> str:
        told = any(line[:18].lower() == b"anthropic-version:" for line in request.lines)
        return "messages" if told or request.target.startswith(b"/v1/messages") else "chat"

    def _begin_chat(self, connection: ClientConnection, request: Request) -> None:
        Exchange(self, connection, request, CHAT).start()

    def _begin_messages(self, connection: ClientConnection, request: Request) -> None:
        request.dialect = "messages"
        Exchange(self, connection, request, MESSAGES).start()

    def _begin_responses(self, connection: ClientConnection, request: Request) -> None:
        Exchange(self, connection, request, RESPONSES).start()

    def _begin_query(self, wire: Wire, connection: ClientConnection, request: Request) -> None:
        request.dialect = wire.errors
        RoutingQuery(self, connection, request, wire).start()

    def _begin_plain(self, plain: PlainWire, connection: ClientConnection, request: Request) -> None:
        request.dialect = plain.errors
        content_type = request.content_type
        wire: Wire = plain
        if is_form(content_type):
            wire = FormWire(plain, content_type)
        elif b"json" not in content_type:  # what is read as JSON is sent as JSON, whatever the client calls it
            content_type = b"application/json"
        request.lines.append(b"content-type: %b\r\n" % content_type)
        Exchange(self, connection, request, wire).start()

    def _list_models(self, connection: ClientConnection, request: Request) -> None:
        self.answer(connection, request, self._models, lines=b"access-control-allow-origin: *\r\n")
