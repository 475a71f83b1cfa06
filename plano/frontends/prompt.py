"""The prompt listener: prompts that become API calls, answered by a model, by the API itself, or by agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from plano.config.plan import ListenerPlan
from plano.dialects.identity.wire import Wire
from plano.frontends.agent import AgentListener
from plano.frontends.http1 import ClientConnection
from plano.frontends.prompt_exchange import PromptExchange
from plano.frontends.request import Request
from plano.functions.endpoints import Endpoints
from plano.functions.targets import Targets

if TYPE_CHECKING:
    from plano.frontends.frontend import Frontend


class PromptListener(AgentListener):
    """`POST /v1/chat/completions`, `/v1/messages` and `/v1/responses`, `GET /v1/models`, `GET /healthz`.

    `targets` are tried first. What none of them fits goes to the agents of the listener where it has some, else to the
    models. `system_prompt` is for models, where a target has none of its own.
    """

    def __init__(self, frontend: Frontend, plan: ListenerPlan, endpoints: Endpoints) -> None:
        super().__init__(frontend, plan)
        self.targets = Targets(frontend.plan.targets)
        self.endpoints = endpoints
        self.system_prompt = frontend.plan.system_prompt
        models: list[dict[str, Any]] = orjson.loads(self._models)["data"]
        models += [
            {"id": name, "object": "model", "created": 0, "owned_by": owner} for name, owner in frontend.plan.model_ids
        ]
        self._models = orjson.dumps({"object": "list", "data": models})

    def _begin(self, wire: Wire, connection: ClientConnection, request: Request) -> None:
        request.dialect = wire.errors
        PromptExchange(self, connection, request, wire).start()
