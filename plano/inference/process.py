"""The inference process: entry point of the child harness.

Engines load while the loop goes on, so that pings and probes are answered; the process is ready when each has started.
One that cannot be had at the very first start is a mistake in the configuration, and ends the start of the cluster.
Later it is bad luck: the other roles go on, and it is tried again.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
from typing import Any

import zmq

from plano.config.plan import RolePlan
from plano.inference.calls import ROLES, RoleName
from plano.inference.engines.choosing import choose_engine, make_engine
from plano.inference.engines.engine import EngineError
from plano.inference.server import BindRefused, EngineSlot, InferenceServer
from plano.telemetry.inference import pack_report
from plano.workers.boot import InferenceBoot
from plano.workers.control import Control

log = logging.getLogger(__name__)

REPORT_S = 1.0
_QUEUED_REPORTS = 4  # totals: one that finds no room is made good by the next
_LAST_REPORT_LINGER_MS = 200


class InferenceProcess:
    """The server, and what it says of itself to the supervisor and to the telemetry worker."""

    def __init__(self, boot: InferenceBoot, control: Control) -> None:
        plan = boot.plan
        self._control = control
        self._expected: dict[str, tuple[str, str]] = {role: _expect(role, boot) for role in ROLES}
        slots: dict[str, EngineSlot] = {}
        for role in ROLES:
            wanted: RolePlan = getattr(plan.inference, role)
            slots[role] = EngineSlot(functools.partial(make_engine, role, plan), wanted.queue, wanted.concurrency)
        self._server = InferenceServer(slots, (boot.address,), plan.inference.curve, fatal_start=not control.proven)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._bus = self._context.socket(zmq.PUSH)
        self._bus.setsockopt(zmq.SNDHWM, _QUEUED_REPORTS)
        self._bus.setsockopt(zmq.LINGER, _LAST_REPORT_LINGER_MS)
        self._bus.connect(boot.telemetry_address)
        self._told: dict[str, Any] = {}
        self._report_trouble = ""

    async def run(self) -> None:
        """Until the supervisor asks for the drain and what was under way has ended. Raises EngineError and
        BindRefused for what keeps it from starting."""
        await self._server.start()
        reporting = asyncio.create_task(self._report_forever(), name="reports")
        try:
            if await self._load():
                await self._control.ready(**self._describe())
                await self._control.draining.wait()
                await self._server.drain(self._control.drain_deadline_s)
        finally:
            reporting.cancel()
            await asyncio.wait([reporting])
            self._report()
            await self._server.close()
            self._context.destroy()  # keeps the linger of its sockets

    async def _load(self) -> bool:
        """Whether the engines have started; not so when the drain came first. Raises EngineError."""
        loading = asyncio.create_task(self._server.loaded(), name="loading")
        draining = asyncio.create_task(self._control.draining.wait(), name="draining")
        try:
            await asyncio.wait([loading, draining], return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                return False
            loading.result()
        finally:
            for task in (loading, draining):
                task.cancel()
            await asyncio.gather(loading, draining, return_exceptions=True)
        # What was loaded stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        return True

    async def _report_forever(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(REPORT_S)

    def _report(self) -> None:
        """The numbers to the telemetry worker; the state of the roles to the supervisor, when it has changed. Never
        raises: what keeps one report from being made is logged when it changes, and the next one is tried."""
        try:
            self._send_report()
            self._report_trouble = ""
        except zmq.Again:
            log.debug("the telemetry worker does not take reports")
        except Exception as error:
            if repr(error) != self._report_trouble:
                self._report_trouble = repr(error)
                log.exception("no report")

    def _send_report(self) -> None:
        described = self._describe()
        if described != self._told:
            self._told = described
            self._control.tell(**described)
        self._bus.send(pack_report(os.getpid(), self._server.figures()), zmq.NOBLOCK)

    def _describe(self) -> dict[str, Any]:
        """What `plano-cluster status` shows: the address, and each role with its engine and model."""
        roles = {}
        for role, figures in self._server.figures()["roles"].items():
            engine, model = self._expected[role]
            roles[role] = {
                "state": figures["state"],
                "engine": figures["engine"] or engine,
                "model": figures["model"] or model,
                "error": figures["cause"],
            }
        return {"address": self._server.addresses[0], "roles": roles}


def _expect(role: RoleName, boot: InferenceBoot) -> tuple[str, str]:
    """The engine and model that a role will have, for as long as it has none."""
    try:
        choice = choose_engine(role, boot.plan)
    except EngineError:
        wanted: RolePlan = getattr(boot.plan.inference, role)
        return wanted.engine, wanted.model or ""  # making it will fail in the same way, and be told of
    return choice.engine, choice.model


async def serve(boot: InferenceBoot, control: Control) -> None:
    """The role: see `InferenceProcess`. Ends with a refusal when it cannot start."""
    try:
        await InferenceProcess(boot, control).run()
    except (EngineError, BindRefused) as error:
        await control.refuse(str(error))
