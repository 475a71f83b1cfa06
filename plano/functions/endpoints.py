"""Calling the endpoints of prompt targets: one session of kept connections for all of them (spec 6.2)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final

import aiohttp
from yarl import URL

from plano.config.plan import TargetCallPlan
from plano.functions.visits import Caller, Result, TargetFailed, Visit
from plano.upstreams.attempts import parse_retry_after
from plano.upstreams.failures import FailureKind
from plano.upstreams.tls import client_context

MAX_ANSWER_BYTES: Final = 1024 * 1024
BACKOFF_BASE_S: Final = 0.1
BACKOFF_MAX_S: Final = 2.0
RETRY_AFTER_MAX_S: Final = 5.0  # a service that asks for more is not waited for
CONNECTIONS: Final = 1_024
# Below the 5 s after which Node.js and uvicorn close idle connections: aiohttp cannot send a POST again that met one
# which was just being closed.
KEEPALIVE_S: Final = 4.0

# What a GET may be sent again after. A POST may not after 502 and 504: the service may have done its work.
_RETRYABLE: Final = {"GET": frozenset({502, 503, 504}), "POST": frozenset({503})}
_REDIRECTS: Final = range(300, 400)


class Endpoints:
    """See the module. Needs a loop with the first call only. Raises OSError and ssl.SSLError for a CA file that is
    none."""

    def __init__(self, calls: Sequence[TargetCallPlan], ca_path: str | None) -> None:
        encrypted = any(call.url.startswith("https:") for call in calls)
        self._tls = client_context(ca_path) if encrypted else None
        self._session: aiohttp.ClientSession | None = None

    async def visit(self, visits: Sequence[Visit], caller: Caller) -> list[Result]:
        """Make all calls at the same time; the results are in the order of the calls. The first one that fails ends the
        others. Raises TargetFailed."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._visit(visit, caller)) for visit in visits]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()

    async def _visit(self, visit: Visit, caller: Caller) -> Result:
        call = visit.target.call
        if call is None:
            return Result(visit, "", 200, 0.0)
        deadline_s = min(caller.deadline_s, time.monotonic() + call.timeout_s)
        tries = 0
        while True:
            tries += 1
            began_s = time.monotonic()
            try:
                return await self._try(visit, call, caller, deadline_s)
            except TargetFailed as failed:
                failed.duration_s = time.monotonic() - began_s
                delay_s = min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** (tries - 1)) * random.uniform(0.5, 1.0)
                delay_s = max(delay_s, failed.retry_after_s or 0.0)
                may_follow = isinstance(failed, _TryAgain) and tries < call.attempts
                waits = delay_s <= RETRY_AFTER_MAX_S and time.monotonic() + delay_s < deadline_s
                if not (may_follow and waits):
                    raise
            await asyncio.sleep(delay_s)

    async def _try(self, visit: Visit, call: TargetCallPlan, caller: Caller, deadline_s: float) -> Result:
        """One try. Raises TargetFailed, as _TryAgain where another one may follow."""
        began_s = time.monotonic()
        left_s = deadline_s - began_s
        late = TargetFailed(visit, FailureKind.TIMEOUT, "it did not answer in time")
        if left_s <= 0.0:
            raise late
        session = self._session or self._open()
        assert visit.placed is not None
        method = "GET" if visit.placed.body is None else "POST"
        try:
            async with session.request(
                method,
                URL(call.url + visit.placed.path, encoded=True),
                data=visit.placed.body,
                headers=render_headers(call, caller, method),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=left_s, sock_connect=call.connect_timeout_s),
            ) as response:
                text = await _read(visit, response)
                retry_after = response.headers.get("retry-after", "")
        except aiohttp.ClientConnectorCertificateError as error:
            raise TargetFailed(visit, FailureKind.CONNECT, "its certificate is not trusted") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _TryAgain(visit, FailureKind.CONNECT, "it cannot be reached") from error
        except TimeoutError as error:
            raise late from error
        except (aiohttp.ClientError, ValueError) as error:
            reason = f"the connection broke ({type(error).__name__})"
            raise (_TryAgain if method == "GET" else TargetFailed)(visit, FailureKind.RESET, reason) from error
        status = response.status
        if 200 <= status < 300:
            return Result(visit, text, status, time.monotonic() - began_s)
        kind = FailureKind.STATUS
        if status in _REDIRECTS:
            reason = f"it answered with the redirect {status}, and redirects are not followed"
            raise TargetFailed(visit, kind, reason, status=status, body=text)
        failed = _TryAgain if status in _RETRYABLE[method] else TargetFailed
        after_s = parse_retry_after(retry_after.encode("latin-1", "replace"), time.time()) if retry_after else None
        raise failed(visit, kind, f"it answered with status {status}", status=status, body=text, retry_after_s=after_s)

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS, ssl=True if self._tls is None else self._tls, keepalive_timeout=KEEPALIVE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self._session


class _TryAgain(TargetFailed):
    """Another try may go better, and does no harm."""


def render_headers(call: TargetCallPlan, caller: Caller, method: str) -> dict[str, str]:
    """The headers of a call. Those of the config come last: they replace ours, whatever their case."""
    headers = {
        "accept": "application/json",
        "accept-encoding": "identity",  # an answer has a bound, which must hold for what it is unpacked to
        "user-agent": "plano",
        "x-request-id": caller.request_id,
        "traceparent": caller.traceparent,
    }
    if method == "POST":
        headers["content-type"] = "application/json"
    if call.host is not None:
        headers["host"] = call.host
    headers.update({name.lower(): value for name, value in call.headers})
    return headers


async def _read(visit: Visit, response: aiohttp.ClientResponse) -> str:
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", ""):
        raise TargetFailed(visit, FailureKind.PROTOCOL, "its answer is compressed, which was not asked for")
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise TargetFailed(visit, FailureKind.PROTOCOL, f"its answer is larger than {MAX_ANSWER_BYTES} bytes")
        pieces.append(piece)
    body = b"".join(pieces)
    try:
        return body.decode(response.charset or "utf-8", "replace")
    except LookupError:  # a charset nobody knows
        return body.decode("utf-8", "replace")
