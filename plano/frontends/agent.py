"""The agent listener: requests in three dialects, answered by agents, and the list of agents."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import orjson

from plano.agents.filters import FilterChain
from plano.config.plan import AgentPlan, ListenerPlan
from plano.dialects.identity.wire import CHAT, MESSAGES, RESPONSES, Wire
from plano.frontends.agent_exchange import AgentExchange
from plano.frontends.http1 import ClientConnection
from plano.frontends.listener import Listener
from plano.frontends.request import Request
from plano.inference.calls import Route
from plano.upstreams.candidate import Candidate

if TYPE_CHECKING:
    from plano.frontends.frontend import Frontend

_WIRES = {b"/v1/chat/completions": CHAT, b"/v1/messages": MESSAGES, b"/v1/responses": RESPONSES}


class Agent:
    """One agent, ready to be called: a candidate for clients of each dialect, and its filters."""

    def __init__(self, plan: AgentPlan, candidates: dict[str, Candidate], filters: FilterChain | None) -> None:
        self.plan = plan
        self.candidates = candidates
        self.filters = filters


class AgentListener(Listener):
    """`POST /v1/chat/completions`, `/v1/messages` and `/v1/responses`, `GET /v1/models`, `GET /healthz`.

    `agent_routes` is what the orchestrator chooses from: nothing where there is no choice. `parallel`: the agents
    chosen for one request are asked at the same time; `model_writes`: the default model makes one answer of theirs.
    """

    def __init__(self, frontend: Frontend, plan: ListenerPlan) -> None:
        super().__init__(frontend, plan)
        self.parallel = plan.execution == "parallel"
        self.model_writes = self.parallel and plan.writer == "default_model"
        self.agents = [self._prepare(agent) for agent in plan.agents]
        self.agent_routes: list[Route] = []
        if len(self.agents) > 1:
            self.agent_routes = [Route(agent.id, agent.description) for agent in plan.agents]
        self._by_id = {agent.plan.id: agent for agent in self.agents}
        self._fallback = [agent for agent in self.agents if agent.plan.default][:1] or self.agents[:1]
        models = [
            {"id": agent.id, "object": "model", "created": 0, "owned_by": "agent", "description": agent.description}
            for agent in plan.agents
        ]
        self._models = orjson.dumps({"object": "list", "data": models})
        for path, wire in _WIRES.items():
            self.routes[path] = {b"POST": partial(self._begin, wire)}
        self.routes[b"/v1/models"] = {b"GET": self._list_agents, b"OPTIONS": self.answer_preflight}

    def choose_agents(self, ids: Sequence[str]) -> list[Agent]:
        """The agents of these ids in their order; the default one where there is none."""
        return [self._by_id[id] for id in ids] or self._fallback

    def explain_unknown(self, path: str) -> str:
        known = ", ".join(route.decode() for route in self.routes)
        return f"There is nothing at {path}. This listener answers {known}."

    def guess_dialect(self, request: Request) -> str:
        return "messages" if request.target.startswith(b"/v1/messages") else "chat"

    def _begin(self, wire: Wire, connection: ClientConnection, request: Request) -> None:
        request.dialect = wire.errors
        AgentExchange(self, connection, request, wire).start()

    def _list_agents(self, connection: ClientConnection, request: Request) -> None:
        self.answer(connection, request, self._models, lines=b"access-control-allow-origin: *\r\n")

    def _prepare(self, plan: AgentPlan) -> Agent:
        candidates = {wire.name: self.frontend.candidates.agent(plan.provider, wire.name) for wire in _WIRES.values()}
        filters = self.frontend.filters.chain(plan.filters) if plan.filters else None
        return Agent(plan, candidates, filters)
