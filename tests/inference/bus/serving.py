"""A server for tests that kill and stop it: `python -m tests.inference.bus.serving ADDRESS SECONDS`.

Its engine answers after SECONDS. It ends when its parent does.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

import uvloop

from plano.inference.engines.engine import Engine, Job
from plano.inference.server import EngineSlot, InferenceServer

_PR_SET_PDEATHSIG = 1


class PacedEngine(Engine):
    """Answers after a while, with the number of its process. A body with "die" in it ends the process."""

    name = "paced"
    concurrency = 1_000

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s

    async def start(self) -> None:
        return

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if "die" in job.request:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = {"pid": os.getpid()}
            if self._after_s:
                asyncio.get_running_loop().call_later(self._after_s, job.finish, answer)
            else:
                job.finish(answer)


async def serve(address: str, after_s: float) -> None:
    server = InferenceServer({"guard": EngineSlot(lambda: PacedEngine(after_s))}, (address,))
    await server.start()
    await server.loaded()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    uvloop.run(serve(sys.argv[1], float(sys.argv[2])))
