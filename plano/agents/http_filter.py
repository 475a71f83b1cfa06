"""A filter behind HTTP: the payload is posted, what comes back replaces it (spec 5.3)."""

from __future__ import annotations

import ssl
from typing import Final

import aiohttp

from plano.agents.filters import FilteredRequest, FilterFailed, FilterRefused
from plano.config.plan import FilterPlan

MAX_BYTES: Final = 32 * 1024 * 1024
_JSON: Final = "application/json"
# What is said anew for the filter, or concerns the client's connection only.
_OWN: Final = frozenset({"content-type", "content-length", "accept", "accept-encoding", "host", "traceparent"})


class HttpFilter:
    """See the module. One pool of connections per filter and frontend."""

    def __init__(self, plan: FilterPlan, ca_path: str | None) -> None:
        self.plan = plan
        self._url = plan.url.rstrip("/")
        self._ca_path = ca_path
        self._session: aiohttp.ClientSession | None = None

    async def call(self, payload: bytes, request: FilteredRequest) -> bytes:
        """What the filter makes of `payload`. Raises FilterRefused and FilterFailed."""
        session = self._session or self._open()
        try:
            async with session.post(
                self._url + request.path,
                data=payload,
                headers=render_headers(self.plan, request),
                allow_redirects=False,
            ) as response:
                body = await self._read(response)
        except aiohttp.ClientError as error:
            raise FilterFailed(self.plan.id, f"it cannot be reached ({type(error).__name__})") from error
        except TimeoutError as error:
            raise FilterFailed(self.plan.id, f"no answer within {self.plan.timeout_s:g} s") from error
        if 200 <= response.status < 300:
            return body
        if 400 <= response.status < 500:
            raise FilterRefused(self.plan.id, response.status, body.decode("utf-8", "replace"))
        raise FilterFailed(self.plan.id, f"it answered with status {response.status}")

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        pieces = []
        size = 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > MAX_BYTES:
                raise FilterFailed(self.plan.id, f"its answer is larger than {MAX_BYTES} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def _open(self) -> aiohttp.ClientSession:
        self._session = open_http(self._url, self._ca_path, timeout_s=self.plan.timeout_s)
        return self._session


def open_http(url: str, ca_path: str | None, *, timeout_s: float | None) -> aiohttp.ClientSession:
    """The connections to one filter; those to https trust the authorities of `ca_path` (None: the system's). A request
    may take `timeout_s` seconds; None: its caller has a deadline."""
    tls = ssl.create_default_context(cafile=ca_path) if url.startswith("https:") else False
    return aiohttp.ClientSession(
        # Servers close what is idle, uvicorn after 5 s: better to be the first, or a request meets the end.
        connector=aiohttp.TCPConnector(limit=1_024, ssl=tls, keepalive_timeout=4.0),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    )


def render_headers(plan: FilterPlan, request: FilteredRequest) -> dict[str, str]:
    """The headers a filter gets: the client's, but credentials only where `forward_headers` names them."""
    wanted = plan.forward_headers
    headers: dict[str, str] = {}
    for line in request.lines:
        name, _, value = line.decode("latin-1").rstrip("\r\n").partition(": ")
        if name.lower() not in _OWN and (wanted is None or name.lower() in wanted):
            headers[name] = value
    if wanted is not None:
        for name, credential in (("authorization", request.authorization), ("x-api-key", request.api_key)):
            if name in wanted and credential is not None:
                headers[name] = credential.decode("latin-1")
    headers["content-type"] = headers["accept"] = _JSON
    headers["x-request-id"] = request.request_id.decode("latin-1")
    headers["traceparent"] = request.traceparent.decode("latin-1")
    return headers
