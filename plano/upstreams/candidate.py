"""A candidate: one provider entry and model, ready to be called. Everything that does not change is prepared here."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from plano.config.plan import ClusterPlan, EndpointPlan, ProviderPlan
from plano.dialects.conversation import BadRequest
from plano.dialects.identity.plain import COUNT_TOKENS
from plano.routing.models import ModelTable, Target
from plano.upstreams.breaker import Breaker, is_answer, is_fault
from plano.upstreams.failures import Failure
from plano.upstreams.pool import Origin, Pool
from plano.upstreams.quirks import quirks_for
from plano.upstreams.signer import RequestSigner
from plano.upstreams.tls import SessionReusingContext, client_context

log = logging.getLogger(__name__)

# Models named by clients through a wildcard are prepared on first use; more of them than this are prepared each time.
MAX_CACHED = 4_096

# The header that carries the key, and what stands before it. Requests signed for AWS carry none.
_KEY_HEADERS: dict[str, tuple[str, str]] = {
    "bearer": ("authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "api-key": ("api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
}

_COLON: Final = 0x3A


class Candidate:
    """One provider entry and model as the clients of one dialect call it. `dialect` is what the upstream is spoken to
    in. `request_head` and `stream_head` end where the per-request headers begin, `answer_head` likewise for the
    client's answer. `asks_for_usage`: a chat stream is asked for its usage. `plain`: an endpoint that is passed
    through; it is called in no dialect, and with the client's Content-Type, which its request brings along. `breaker`
    is shared by all candidates of a provider entry.
    """

    __slots__ = (
        "_credential_line",
        "_signer",
        "_urls",
        "always_streams",
        "answer_head",
        "asks_for_usage",
        "breaker",
        "dialect",
        "limit_s",
        "model",
        "name",
        "overrides",
        "passthrough_auth",
        "plain",
        "plan",
        "pool",
        "provider",
        "quirks",
        "request_head",
        "signed",
        "stream_head",
        "stream_limit_s",
        "verbatim",
    )

    def __init__(
        self,
        target: Target,
        endpoint: EndpointPlan,
        pool: Pool,
        breaker: Breaker,
        signer: RequestSigner | None,
        *,
        plain: bool = False,
    ) -> None:
        plan = target.provider
        self.plan = plan
        self.provider = plan.provider
        self.passthrough_auth = plan.passthrough_auth
        self.pool = pool
        self.breaker = breaker
        self.model = target.upstream_model
        self.plain = plain
        self.verbatim = plan.verbatim
        self.dialect: str = "plain" if plain else endpoint.dialect
        self.quirks = () if plain else quirks_for(plan.quirks, target.upstream_model)
        self.always_streams = any(quirk.always_streams for quirk in self.quirks)
        usable = plan.usage_in_streams and all(quirk.usage_in_streams for quirk in self.quirks)
        self.asks_for_usage = self.dialect == "chat" and usable
        self.signed = signer is not None
        self._signer = signer
        # How long a try may take until the answer begins; a stream is held to the stricter of its two bounds.
        self.limit_s = plan.retry.per_try_timeout_s
        bounds = [s for s in (self.limit_s, plan.retry.first_token_timeout_s) if s is not None]
        self.stream_limit_s = min(bounds, default=None)
        self.name = f"{plan.model.partition('/')[0]}/{target.upstream_model}" if plan.wildcard else plan.name
        self.answer_head = f"x-plano-model: {self.name}\r\n".encode("latin-1", "replace")

        key_header, key_prefix = _KEY_HEADERS.get(endpoint.auth, ("authorization", "Bearer "))
        fields = {"host": plan.authority, "content-type": "application/json", "accept-encoding": "identity"}
        if plain:
            del fields["content-type"]
        fields.update(endpoint.headers)
        if plan.access_key and not plan.passthrough_auth:
            fields[key_header] = f"{key_prefix}{plan.access_key}"
        configured = {name.lower(): value for name, value in plan.headers}
        fields.update(configured)
        # The client's headers of these names give way to the configured ones, and to those the dialect fixes.
        fixed = [name.lower() for name, _ in endpoint.headers]
        self.overrides = tuple(dict.fromkeys(name.encode("latin-1") for name in (*configured, *fixed)))
        self._credential_line = b"" if key_header in configured else f"{key_header}: {key_prefix}".encode("latin-1")
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        model = quote(target.upstream_model, safe="")
        paths = [path.replace("{model}", model) for path in (endpoint.path, endpoint.stream_path)]
        self._urls = [f"{plan.scheme}://{plan.authority}{path}" for path in paths]
        self.request_head = f"POST {paths[0]} HTTP/1.1\r\n{lines}".encode("latin-1")
        self.stream_head = f"POST {paths[1]} HTTP/1.1\r\n{lines}".encode("latin-1")

    def note_success(self) -> None:
        """The upstream has answered."""
        if self.breaker.succeed():
            log.info("the circuit of %s is closed: it answers again", self.plan.name)

    def note_failure(self, failure: Failure, now_s: float, dice: float) -> None:
        """An attempt has ended in `failure`, at monotonic time `now_s`; `dice` is uniform in [0, 1)."""
        breaker = self.breaker
        if is_fault(failure):
            was_open = breaker.open_until_s != 0.0
            open_s = breaker.fail(now_s, dice)
            if open_s > 0.0 and not was_open:
                count, name, kind = breaker.failures, self.plan.name, failure.kind.value
                message = "the circuit of %s is open for %.1f s, after %d failures in a row, the last of kind %s"
                log.warning(message, name, open_s, count, kind if not failure.status else f"{kind} {failure.status}")
        elif is_answer(failure):
            self.note_success()

    def without_overrides(self, lines: list[bytes]) -> bytes:
        """The client's header lines, less those the provider's configuration sets."""
        return b"".join([line for line in lines if not self._overrides(line)])

    def _overrides(self, line: bytes) -> bool:
        for name in self.overrides:
            size = len(name)
            if len(line) > size and line[size] == _COLON and line[:size].lower() == name:
                return True
        return False

    def credential(self, authorization: bytes | None, api_key: bytes | None) -> bytes:
        """The header line that passes the client's credential on (`passthrough_auth`), empty when there is none.

        Clients of different dialects send it in different headers; the upstream gets it in its own scheme.
        """
        if not self._credential_line:
            return b""
        if authorization is not None:
            token = authorization[7:].strip() if authorization[:7].lower() == b"bearer " else authorization
        elif api_key is not None:
            token = api_key
        else:
            return b""
        return b"%b%b\r\n" % (self._credential_line, token)

    def sign(self, body: bytes, stream: bool) -> bytes:
        """The header lines that sign this request. Raises SigningError."""
        assert self._signer is not None
        return self._signer.lines(self._urls[1 if stream else 0], body)


class Candidates:
    """All candidates of a frontend, and the pools behind them (one per origin)."""

    def __init__(self, plan: ClusterPlan) -> None:
        self._plan = plan
        self._table = ModelTable(plan.providers, plan.aliases, (name for name, _ in plan.model_ids))
        self._pools: dict[tuple[str, str, int, str], Pool] = {}
        self._tls: SessionReusingContext | None = None
        self._breakers: dict[tuple[str, str], Breaker] = {}  # by provider and name, which agents have too
        self._signers: dict[str, RequestSigner] = {}
        self._chains: dict[tuple[str, str | None], tuple[Candidate, ...]] = {}
        self._ready: dict[tuple[str, str, str, str], Candidate] = {}
        for provider in plan.providers:
            if any(endpoint.auth == "sigv4" for endpoint in provider.endpoints):
                region = provider.region or ""
                self._signers.setdefault(region, RequestSigner(region))

    def chain(self, name: str | None, dialect: str) -> tuple[Candidate, ...]:
        """The candidates for a model name in the order of failover, as clients of `dialect` call them; empty when the
        name is unknown. The path of a plain endpoint stands for a dialect too. Raises BadRequest when the model's
        provider does not serve that."""
        chain = self._chains.get((dialect, name))
        if chain is None:
            chain = self._build_chain(name, dialect)
            if chain and len(self._chains) < MAX_CACHED:
                self._chains[dialect, name] = chain
        return chain

    def agent(self, provider: ProviderPlan, dialect: str) -> Candidate:
        """The candidate that an agent is, for clients of `dialect`. No client can name it."""
        return self._candidate(Target(provider, provider.upstream_model), dialect)

    def rank(self, names: tuple[str, ...], dialect: str) -> tuple[Candidate, ...]:
        """The candidates for several models, the best first: they themselves, then what they fall back on. Unknown
        names are left out."""
        chains = [chain for name in names if (chain := self.chain(name, dialect))]
        ranked = [chain[0] for chain in chains]
        for chain in chains:
            ranked += chain[1:]
        return tuple(dict.fromkeys(ranked))

    async def refresh_credentials(self) -> None:
        """Find or renew what requests are signed with."""
        for signer in self._signers.values():
            await signer.refresh()

    def open_circuits(self) -> list[tuple[str, str]]:
        """Provider and name of the entries that are passed over, or would be if there were requests for them."""
        return [called for called, breaker in self._breakers.items() if breaker.open_until_s != 0.0]

    @property
    def pools(self) -> list[Pool]:
        return list(self._pools.values())

    def _build_chain(self, name: str | None, dialect: str) -> tuple[Candidate, ...]:
        first = self._table.resolve(name)
        if first is None:
            return ()
        if not _serves(first.provider, dialect):
            message = f"The provider of this model, {first.provider.provider}, does not serve {dialect}."
            raise BadRequest(message, "model")
        targets = [first]
        for fallback in first.provider.retry.fallback_models:
            target = self._table.resolve(fallback)
            if target is not None and target not in targets and _serves(target.provider, dialect):
                targets.append(target)
        return tuple(self._candidate(target, dialect) for target in targets)

    def _candidate(self, target: Target, dialect: str) -> Candidate:
        provider = target.provider
        key = (provider.provider, provider.name, target.upstream_model, dialect)
        candidate = self._ready.get(key)
        if candidate is None:
            plain = dialect.startswith("/")
            endpoint = _plain_endpoint(provider, dialect) if plain else provider.endpoint_for(dialect)
            signer = self._signers[provider.region or ""] if endpoint.auth == "sigv4" else None
            called = (provider.provider, provider.name)
            breaker = self._breakers.get(called)
            if breaker is None:
                breaker = self._breakers[called] = Breaker(provider.retry)
            candidate = Candidate(target, endpoint, self._pool(provider), breaker, signer, plain=plain)
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


def _find_neighbour(provider: ProviderPlan, path: str) -> EndpointPlan | None:
    """The endpoint that a plain one stands beside and shares its key with: Anthropic's counting of tokens that of
    messages, all others, which are OpenAI's, that of chat or responses. None when the provider has no such thing."""
    beside = ("messages",) if path == COUNT_TOKENS else ("chat", "responses")
    return next((endpoint for endpoint in provider.endpoints if endpoint.dialect in beside), None)


def _serves(provider: ProviderPlan, dialect: str) -> bool:
    """Every dialect is served, by translation where need be; a plain endpoint is there or not."""
    return not dialect.startswith("/") or _find_neighbour(provider, dialect) is not None


def _plain_endpoint(provider: ProviderPlan, path: str) -> EndpointPlan:
    beside = _find_neighbour(provider, path)
    assert beside is not None  # candidates are made of providers that serve it
    whole = f"{provider.base_path}{path}{provider.base_query}"
    return replace(beside, path=whole, stream_path=whole)


def _host_of(authority: str) -> str:
    """The host of `host`, `host:port` or `[v6]:port`, without brackets: the name that TLS asks for."""
    return authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
