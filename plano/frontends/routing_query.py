"""`POST /routing/v1/...`: which model would answer this request? The decision alone; no model is called (spec 2.5)."""

from __future__ import annotations

import orjson

from plano.frontends.errors import explain_unresolved
from plano.frontends.exchange import Exchange
from plano.frontends.usage import UNKNOWN_USAGE
from plano.routing.models import UNSPECIFIED
from plano.upstreams.candidate import Candidate


class RoutingQuery(Exchange):
    """A request that ends where it is decided who answers."""

    def _guards(self) -> bool:
        return False  # no model reads this prompt

    def _check_model(self) -> None:
        """The client may have models that we do not know, and name one of them."""

    def _find_chain(self) -> tuple[Candidate, ...]:
        """Those of the models that are configured, maybe none: routes of the request may name models that only the
        client can call, and so may the request itself."""
        candidates = self._listener.frontend.candidates
        if self._findings.routes:
            return candidates.rank(self._chosen_models(), self._wire.name)
        chain = candidates.chain(self._routed[1], self._wire.name)
        if not chain and (self._routed[1] is None or self._routed[1] in UNSPECIFIED):
            raise explain_unresolved(None)
        return chain

    def _proceed(self, chain: tuple[Candidate, ...]) -> None:
        candidates = self._listener.frontend.candidates
        models = []
        named = self._routed[1]
        for name in self._chosen_models() or (() if chain or named is None else (named,)):
            own = candidates.chain(name, self._wire.name)
            models.append(own[0].name if own else name)
        routes = self._findings.routes
        answer = {
            "models": list(dict.fromkeys([*models, *(candidate.name for candidate in chain)])),
            "route": routes[0] if routes else None,
            "trace_id": self._trace[0].decode(),
            "pinned": False,
            "switched": False,
        }
        body = orjson.dumps(answer)
        lines = b"x-request-id: %b\r\n%b" % (self._request_id, self._notes)
        self.connection.respond(self._request, 200, body, lines=lines)
        self._end(200, "", UNKNOWN_USAGE, len(body))
