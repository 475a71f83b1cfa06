"""The frontend process: entry point of the child harness."""

from __future__ import annotations

import gc
import time
from dataclasses import replace

from plano.frontends.frontend import Frontend
from plano.workers.boot import FrontendBoot
from plano.workers.control import Control


async def serve(boot: FrontendBoot, control: Control) -> None:
    """Serve until the supervisor says drain; return when every request has been answered or cut."""
    inference = replace(boot.plan.inference, addresses=boot.inference)
    frontend = Frontend(boot.index, replace(boot.plan, inference=inference), boot.telemetry_address)
    await frontend.start(boot.sockets)
    # What lives now lives until the end: the collector need not look at it with every pass.
    gc.collect()
    gc.freeze()
    # Requests leave no cycles behind; with the default threshold the collector would look for some every few requests.
    gc.set_threshold(20_000, 20, 20)
    await control.ready()
    await control.draining.wait()
    await frontend.drain(time.monotonic() + control.drain_deadline_s)
    await frontend.close()
