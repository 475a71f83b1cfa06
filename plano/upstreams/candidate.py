"""A candidate: one provider entry and model, ready to be called. Everything that does not change is prepared here."""

from __future__ import annotations

from urllib.parse import quote

from plano.config.plan import ClusterPlan, ProviderPlan
from plano.routing.models import ModelTable, Target
from plano.upstreams.pool import Origin, Pool
from plano.upstreams.tls import SessionReusingContext, client_context

# Models named by clients through a wildcard are prepared on first use; more of them than this are prepared each time.
MAX_CACHED = 4_096


class Candidate:
    """`request_head` ends where the per-request headers begin; `answer_head` likewise for the client's answer."""

    __slots__ = (
        "answer_head",
        "limit_s",
        "model",
        "name",
        "overrides",
        "plan",
        "pool",
        "request_head",
        "stream_limit_s",
    )

    def __init__(self, target: Target, pool: Pool) -> None:
        plan = target.provider
        self.plan = plan
        self.pool = pool
        self.model = target.upstream_model
        # How long a try may take until the answer begins; a stream is held to the stricter of its two bounds.
        self.limit_s = plan.retry.per_try_timeout_s
        bounds = [s for s in (self.limit_s, plan.retry.first_token_timeout_s) if s is not None]
        self.stream_limit_s = min(bounds, default=None)
        self.name = f"{plan.model.partition('/')[0]}/{target.upstream_model}" if plan.wildcard else plan.name
        fields = {"host": plan.authority, "content-type": "application/json", "accept-encoding": "identity"}
        if plan.access_key and not plan.passthrough_auth:
            fields["authorization"] = f"Bearer {plan.access_key}"
        configured = {name.lower(): value for name, value in plan.headers}
        fields.update(configured)
        # The client's headers of these names give way to the configured ones.
        self.overrides = frozenset(name.encode("latin-1") for name in configured)
        path = plan.path.replace("{model}", quote(target.upstream_model, safe=":"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.request_head = f"POST {path} HTTP/1.1\r\n{lines}".encode("latin-1")
        self.answer_head = f"x-plano-model: {self.name}\r\n".encode("latin-1", "replace")

    def without_overrides(self, lines: list[bytes]) -> bytes:
        """The client's header lines, less those the provider's configuration sets."""
        return b"".join(line for line in lines if line.partition(b":")[0].lower() not in self.overrides)

    def credential(self, authorization: bytes | None, api_key: bytes | None) -> bytes:
        """The header line that passes the client's credential on (`passthrough_auth`), empty when there is none.

        A client of another dialect sends `x-api-key`; the upstream gets it in its own scheme.
        """
        if b"authorization" in self.overrides:
            return b""
        if authorization is not None:
            token = authorization[7:].strip() if authorization[:7].lower() == b"bearer " else authorization
        elif api_key is not None:
            token = api_key
        else:
            return b""
        return b"authorization: Bearer %b\r\n" % token


class Candidates:
    """All candidates of a frontend, and the pools behind them (one per origin)."""

    def __init__(self, plan: ClusterPlan) -> None:
        self._plan = plan
        self._table = ModelTable(plan.providers, plan.aliases, (name for name, _ in plan.model_ids))
        self._pools: dict[tuple[str, str, int, str], Pool] = {}
        self._tls: SessionReusingContext | None = None
        self._chains: dict[str | None, tuple[Candidate, ...]] = {}
        self._ready: dict[tuple[str, str], Candidate] = {}

    def chain(self, name: str | None) -> tuple[Candidate, ...]:
        """The candidates for a model name in the order of failover; empty when the name is unknown."""
        chain = self._chains.get(name)
        if chain is None:
            chain = self._build_chain(name)
            if chain and len(self._chains) < MAX_CACHED:
                self._chains[name] = chain
        return chain

    @property
    def pools(self) -> list[Pool]:
        return list(self._pools.values())

    def _build_chain(self, name: str | None) -> tuple[Candidate, ...]:
        first = self._table.resolve(name)
        if first is None:
            return ()
        targets = [first]
        for fallback in first.provider.retry.fallback_models:
            target = self._table.resolve(fallback)
            if target is not None and target not in targets and target.provider.dialect == "chat":
                targets.append(target)
        return tuple(self._candidate(target) for target in targets)

    def _candidate(self, target: Target) -> Candidate:
        key = (target.provider.name, target.upstream_model)
        candidate = self._ready.get(key)
        if candidate is None:
            candidate = Candidate(target, self._pool(target.provider))
            if len(self._ready) < MAX_CACHED:
                self._ready[key] = candidate
        return candidate

    def _pool(self, provider: ProviderPlan) -> Pool:
        server_name = _host_of(provider.authority) or provider.host
        key = (provider.scheme, provider.host, provider.port, server_name)
        pool = self._pools.get(key)
        if pool is None:
            if provider.scheme == "https" and self._tls is None:
                self._tls = client_context(self._plan.tls_ca_path)
            tls = self._tls if provider.scheme == "https" else None
            origin = Origin(provider.host, provider.port, server_name, tls)
            pool = self._pools[key] = Pool(origin, self._plan.limits, self._plan.connect_timeout_s)
        return pool


def _host_of(authority: str) -> str:
    """The host of `host`, `host:port` or `[v6]:port`, without brackets: the name that TLS asks for."""
    return authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
