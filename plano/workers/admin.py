"""The admin port: what the cluster says about itself, over HTTP. Served by the telemetry worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from plano.telemetry.cluster import ClusterPicture
from plano.telemetry.exposition import Scrape

_PATHS = {
    "/metrics": "Prometheus metrics",
    "/healthz": "this process lives",
    "/readyz": "the cluster takes requests",
    "/cluster": "the child processes",
}


class AdminServer:
    """Routes of the admin port. `scrape` copies the current numbers."""

    def __init__(self, version: str, picture: ClusterPicture, scrape: Callable[[], Scrape]) -> None:
        self._version = version
        self._picture = picture
        self._scrape = scrape
        self._rendering = asyncio.Lock()

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application()
        app.router.add_get("/", self.index)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        app.router.add_get("/cluster", self.cluster)
        return app

    async def index(self, _: web.Request) -> web.Response:
        """What there is."""
        return web.json_response({"name": "plano", "version": self._version, "paths": _PATHS})

    async def metrics(self, request: web.Request) -> web.Response:
        """Rendered in a thread, one at a time: neither records nor other admin requests wait for a scrape."""
        async with self._rendering:
            scrape = self._scrape()
            body, content_type = await asyncio.to_thread(scrape.render, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(self, _: web.Request) -> web.Response:
        """200 for as long as this process can answer."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        """200 when requests are taken, else 503 and what is not ready. `degraded`: what they are served without."""
        picture = self._picture
        degraded = picture.degraded()
        more = {"degraded": degraded} if degraded else {}
        if picture.is_ready():
            return web.json_response({"status": "ready", **more})
        status = "draining" if picture.is_draining else "not ready"
        return web.json_response({"status": status, "not_ready": picture.not_ready(), **more}, status=503)

    async def cluster(self, _: web.Request) -> web.Response:
        """The children as the supervisor sees them, with `uptime_s` in seconds."""
        now = time.time()
        children: list[dict[str, Any]] = []
        for child in self._picture.children:
            started = child["started"]
            uptime_s = None if started is None else round(max(now - started, 0.0), 3)
            children.append({**child, "uptime_s": uptime_s})
        return web.json_response(
            {
                "version": self._version,
                "ready": self._picture.is_ready(),
                "draining": self._picture.is_draining,
                "children": children,
            }
        )
