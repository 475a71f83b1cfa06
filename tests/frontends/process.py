"""A frontend in a process of its own, without a cluster around it.

Processes are forked from a server that has imported everything once, so that a start costs milliseconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import time
from multiprocessing.connection import Connection
from typing import Any

import uvloop

import plano.frontends.prompt  # noqa: F401 - what a frontend imports itself once it serves prompt targets
from plano.config.plan import ClusterPlan
from plano.frontends.frontend import Frontend

START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 10.0

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


class FrontendProcess:
    """A running frontend; `port` is that of its listener. `end` it, however the test ends."""

    def __init__(self, plan: ClusterPlan, telemetry_address: str) -> None:
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_run, args=(plan, telemetry_address, theirs), daemon=True)
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START_TIMEOUT_S):
            self.end()
            raise TimeoutError("the frontend did not start")
        self.port: int = self._pipe.recv()
        self.pid: int = self._process.pid or 0

    def drain(self, deadline_s: float) -> None:
        """Tell it to finish within `deadline_s` seconds and to leave."""
        self._pipe.send(deadline_s)

    async def wait_ended(self, timeout_s: float = END_TIMEOUT_S) -> None:
        """Return when the process has ended of its own accord, without an error."""
        limit_s = time.monotonic() + timeout_s
        while self._process.is_alive():
            if time.monotonic() > limit_s:
                raise TimeoutError("the frontend did not end")
            await asyncio.sleep(0.005)
        assert self._process.exitcode == 0

    def rss_bytes(self) -> int:
        """The resident memory of the process."""
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self) -> None:
        """Kill the process if it still lives."""
        self._pipe.close()
        if self._process.is_alive():
            self._process.kill()
        self._process.join(END_TIMEOUT_S)


def _run(plan: ClusterPlan, telemetry_address: str, pipe: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the test runner's
    uvloop.run(_serve(plan, telemetry_address, pipe))


async def _serve(plan: ClusterPlan, telemetry_address: str, pipe: Connection) -> None:
    frontend = Frontend(0, plan, telemetry_address)
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = sock.getsockname()[1]
    await frontend.start({plan.listeners[0].name: sock.detach()})
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), told.set)
    pipe.send(port)
    await told.wait()
    asyncio.get_running_loop().remove_reader(pipe.fileno())
    try:
        drain_s = pipe.recv()
    except EOFError:
        return  # the test is gone
    await frontend.drain(time.monotonic() + drain_s)
    await frontend.close()
