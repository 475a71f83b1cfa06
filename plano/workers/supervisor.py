"""The supervisor: owns the life of the cluster, from the first socket to the last record.

Signals are only queued by their handlers; `run` takes them from the queue. `shutdown` is the order in which a cluster
ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from plano.config.plan import ClusterPlan
from plano.workers.boot import ChildBoot, FrontendBoot, InferenceBoot, LogFormat, TelemetryBoot
from plano.workers.failures import StartError
from plano.workers.restarts import SupervisionPolicy
from plano.workers.rundir import ClusterInfo, RunDir
from plano.workers.slots import Slot
from plano.workers.sockets import BoundListener, bind_admin, bind_listeners, close_listeners

log = logging.getLogger(__name__)

FRONTEND_ENTRY = "plano.frontends.process:serve"
INFERENCE_ENTRY = "plano.inference.process:serve"
TELEMETRY_ENTRY = "plano.workers.telemetry:serve"
DEFAULT_POLICY = SupervisionPolicy()


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """What to run. `admin` is (host, port); `workers` the number of frontends; `config_path` only for show.

    An inference process is started beside the frontends where `plan.inference` has no addresses of others. With
    `inference_bind` it is started there, for frontends elsewhere; then `workers` may be 0.
    """

    plan: ClusterPlan = field(repr=False)
    workers: int
    admin: tuple[str, int]
    run_dir: Path
    version: str
    inference_bind: str | None = None
    config_path: str | None = None
    log_level: str = "info"
    log_format: LogFormat = "text"
    policy: SupervisionPolicy = DEFAULT_POLICY
    frontend_entry: str = FRONTEND_ENTRY
    inference_entry: str = INFERENCE_ENTRY
    telemetry_entry: str = TELEMETRY_ENTRY


class Supervisor:
    """Runs one cluster in this process' event loop, in the main thread.

    `on_ready` is called (and awaited, beside the cluster) once everything is ready; until then `on_wait`, every second,
    with the description of each child that is not (as in /cluster, and `waited_s`). `request_stop` ends the cluster as
    SIGTERM does.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        on_ready: Callable[[ClusterInfo], Awaitable[None]],
        on_wait: Callable[[list[dict[str, Any]]], None] | None = None,
    ) -> None:
        self._spec = spec
        self._on_ready = on_ready
        self._on_wait = on_wait
        self._run_dir = RunDir(spec.run_dir)
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._listeners: list[BoundListener] = []
        self._frontends: list[Slot] = []
        self._inference: Slot | None = None
        self._telemetry: Slot | None = None
        self._admin_socket: socket.socket | None = None
        self._draining = False

    async def run(self) -> int:
        """Starts the cluster, keeps it and ends it. Returns the exit status: 0 after an orderly end, 1 after a second
        signal. Raises StartError, with nothing left behind."""
        self._listen_to_signals()
        self._run_dir.acquire()
        try:
            info = self._start()
            if not await self._until_ready():
                return await self._shutdown_or_give_up()
            info = self._with_inference(info)
            self._run_dir.publish(info)
            return await self._until_stopped(info)
        finally:
            self._release()

    def request_stop(self) -> None:
        """What SIGTERM does."""
        self._signals.put_nowait(signal.SIGTERM)

    async def shutdown(self) -> None:
        """The orderly end: nothing accepted is lost, and the last records are counted."""
        self._draining = True
        self._tell_telemetry()
        close_listeners(self._listeners)
        await self._drain_frontends()
        await self._drain_inference()
        await self._drain_telemetry()

    # -- start

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signals.put_nowait, number)

    def _start(self) -> ClusterInfo:
        spec = self._spec
        self._admin_socket, admin = bind_admin(*spec.admin)
        self._listeners = bind_listeners(spec.plan.listeners, spec.workers)
        ipc_dir = self._run_dir.make_ipc_dir()
        bus = f"ipc://{ipc_dir / 'telemetry'}"
        self._telemetry = self._telemetry_slot(TelemetryBoot(spec.version, bus, self._admin_socket.fileno()))
        plan, addresses = spec.plan, spec.plan.inference.addresses
        if spec.inference_bind is not None:
            self._inference = self._inference_slot(InferenceBoot(plan, spec.inference_bind, bus))
        elif not addresses:
            # Nothing leaves the folder that only this user may enter: no keys.
            plan = replace(plan, inference=replace(plan.inference, curve=None))
            addresses = (f"ipc://{ipc_dir / 'inference'}",)
            self._inference = self._inference_slot(InferenceBoot(plan, addresses[0], bus))
        self._frontends = [self._frontend_slot(index, plan, bus, addresses) for index in range(spec.workers)]
        # Telemetry first, for it imports the most.
        for slot in self._slots():
            slot.start()
        return ClusterInfo(
            pid=os.getpid(),
            version=spec.version,
            started=time.time(),
            config=spec.config_path,
            workers=spec.workers,
            admin=admin.url(),
            ipc_dir=str(ipc_dir),
            listeners=[
                {
                    "name": listener.plan.name,
                    "type": listener.plan.type,
                    "address": listener.address.host,
                    "port": listener.address.port,
                    "url": listener.url,
                }
                for listener in self._listeners
            ],
        )

    def _with_inference(self, info: ClusterInfo) -> ClusterInfo:
        """The description with where the inference processes are, and what one of our own says that it runs."""
        child = self._inference.child if self._inference else None
        said = child.info if child is not None else {}
        bind = self._spec.inference_bind
        # It may have taken a free port.
        addresses = self._spec.plan.inference.addresses if bind is None else (str(said.get("address") or bind),)
        models = {
            name: " ".join(part for part in (role.get("engine"), role.get("model")) if part)
            for name, role in said.get("roles", {}).items()
        }
        return replace(info, inference=list(addresses), models=models)

    def _frontend_slot(self, index: int, plan: ClusterPlan, bus: str, inference: tuple[str, ...]) -> Slot:
        sockets = {listener.plan.name: listener.sockets[index].fileno() for listener in self._listeners}
        payload = FrontendBoot(index, plan, sockets, bus, inference)
        boot = self._boot(self._spec.frontend_entry, f"frontend {index}", payload)
        return Slot("frontend", index, boot, list(sockets.values()), self._spec.policy, self._slot_changed)

    def _inference_slot(self, payload: InferenceBoot) -> Slot:
        boot = self._boot(self._spec.inference_entry, "inference", payload)
        return Slot("inference", None, boot, [], self._spec.policy.for_inference(), self._slot_changed)

    def _telemetry_slot(self, payload: TelemetryBoot) -> Slot:
        boot = self._boot(self._spec.telemetry_entry, "telemetry", payload)
        return Slot("telemetry", None, boot, [payload.admin_socket], self._spec.policy, self._slot_changed)

    def _boot(self, entry: str, name: str, payload: Any) -> ChildBoot:
        return ChildBoot(entry, name, f"plano: {name}", payload, self._spec.log_level, self._spec.log_format)

    async def _until_ready(self) -> bool:
        """Waits for the first readiness of every child. Returns False when a signal came first; raises StartError."""
        everyone = asyncio.create_task(self._first_readiness(), name="first readiness")
        signalled = asyncio.create_task(self._signals.get(), name="signal during start")
        while True:
            done, _ = await asyncio.wait([everyone, signalled], timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
            self._tell_who_is_awaited()
        if not everyone.done():
            everyone.cancel()
            return False
        if signalled.done():
            self._signals.put_nowait(signalled.result())
        signalled.cancel()
        try:
            everyone.result()
        except StartError:
            await self._kill_everyone()
            raise
        return True

    def _tell_who_is_awaited(self) -> None:
        if self._on_wait is not None:
            now = time.monotonic()
            awaited = [slot for slot in self._slots() if slot.state != "ready"]
            self._on_wait([{**slot.describe(), "waited_s": now - slot.waiting_since} for slot in awaited])

    async def _first_readiness(self) -> None:
        await asyncio.gather(*(slot.was_ready for slot in self._slots()))

    # -- life

    def _slots(self) -> list[Slot]:
        return [slot for slot in (self._telemetry, self._inference, *self._frontends) if slot is not None]

    def _slot_changed(self, slot: Slot) -> None:
        log.debug("%s is %s", slot.name, slot.state)
        self._tell_telemetry()

    def _tell_telemetry(self) -> None:
        """The telemetry worker answers for the cluster on the admin port, so it always has the newest picture."""
        if self._telemetry is not None:
            children = [slot.describe() for slot in self._slots()]
            self._telemetry.send({"type": "cluster", "draining": self._draining, "children": children})

    async def _until_stopped(self, info: ClusterInfo) -> int:
        announced = asyncio.create_task(self._announce(info), name="announce readiness")
        try:
            received = await self._signals.get()
            log.info("%s: draining", received.name)
            return await self._shutdown_or_give_up()
        finally:
            announced.cancel()
            await asyncio.wait([announced])

    async def _announce(self, info: ClusterInfo) -> None:
        try:
            await self._on_ready(info)
        except Exception:
            # What is said about the cluster must not end it.
            log.exception("the announcement of readiness failed")

    async def _shutdown_or_give_up(self) -> int:
        """The orderly end, cut short by a second signal."""
        orderly = asyncio.create_task(self.shutdown(), name="shutdown")
        signalled = asyncio.create_task(self._signals.get(), name="second signal")
        await asyncio.wait([orderly, signalled], return_when=asyncio.FIRST_COMPLETED)
        if orderly.done():
            signalled.cancel()
            orderly.result()
            log.info("stopped")
            return 0
        log.warning("%s again: ending at once", signalled.result().name)
        await self._kill_everyone()
        await orderly
        return 1

    # -- end

    async def _drain_frontends(self) -> None:
        deadline_s = self._spec.plan.limits.drain_timeout_s
        await asyncio.gather(*(slot.drain(deadline_s) for slot in self._frontends))

    async def _drain_inference(self) -> None:
        """After the frontends, whose last requests still ask it. Frontends elsewhere are given as long as ours are."""
        if self._inference is not None:
            alone = self._spec.inference_bind is not None
            limits = self._spec.plan.limits
            await self._inference.drain(limits.drain_timeout_s if alone else self._spec.policy.inference_drain_s)

    async def _drain_telemetry(self) -> None:
        """Last: the frontends' last records are on its queue."""
        if self._telemetry is not None:
            await self._telemetry.drain(self._spec.policy.telemetry_drain_s)

    async def _kill_everyone(self) -> None:
        for slot in self._slots():
            slot.kill()
        await asyncio.gather(*(slot.drain(0.0) for slot in self._slots()))

    def _release(self) -> None:
        close_listeners(self._listeners)
        if self._admin_socket is not None:
            self._admin_socket.close()
        self._run_dir.release()
