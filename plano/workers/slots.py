"""A slot: the place of one child in the cluster, kept filled for as long as the cluster runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from plano.workers.boot import ChildBoot
from plano.workers.children import Child, describe_exit
from plano.workers.failures import StartError
from plano.workers.frames import Message
from plano.workers.restarts import RestartBackoff, Signs, SupervisionPolicy, find_reason_to_kill

log = logging.getLogger(__name__)

SlotState = Literal["starting", "ready", "draining", "waiting", "stopped"]


class Slot:
    """Supervises one child: starts it, watches its life, starts it again when it dies.

    `on_change` is called with every change that `describe` would show. `restarts` counts from 0; `waiting_since` is the
    monotonic time since which the child has not been ready.
    """

    def __init__(
        self,
        role: str,
        index: int | None,
        boot: ChildBoot,
        inherited: Sequence[int],
        policy: SupervisionPolicy,
        on_change: Callable[[Slot], None],
    ) -> None:
        self.role = role
        self.index = index
        self.name = boot.name
        self.state: SlotState = "starting"
        self.restarts = 0
        self.waiting_since = time.monotonic()
        self.child: Child | None = None
        self.was_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._boot = boot
        self._inherited = tuple(inherited)
        self._policy = policy
        self._backoff = RestartBackoff(policy)
        self._on_change = on_change
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to supervise. `was_ready` then ends with the first readiness, or with a StartError."""
        self._task = asyncio.create_task(self._supervise(), name=f"supervise {self.name}")

    def describe(self) -> dict[str, Any]:
        """This child for /cluster. `started` is a Unix time in seconds."""
        child = self.child
        return {
            "name": self.name,
            "role": self.role,
            "index": self.index,
            "state": self.state,
            "pid": child.pid if child else None,
            "started": child.spawned_unix_s if child else None,
            "restarts": self.restarts,
            "proven": self._is_proven(),
            "info": child.info if child else {},
        }

    def _is_proven(self) -> bool:
        """Whether any child of this slot was ever ready."""
        return self.was_ready.done() and not self.was_ready.cancelled() and self.was_ready.exception() is None

    def send(self, message: Message) -> None:
        """To the child, if there is one now."""
        if self.child is not None:
            self.child.send(message)

    async def drain(self, deadline_s: float) -> bool:
        """Lets the child finish within this time, then kills it. Returns whether it ended by itself."""
        self._stopping.set()
        child = self.child
        if child is None:
            await self._join()
            return True
        self._set_state("draining")
        child.send({"type": "drain", "deadline_s": deadline_s})
        in_time = await child.exits_within(deadline_s + self._policy.kill_grace_s)
        if not in_time:
            log.warning("%s (pid %d) did not finish within %.0f s: killing it", self.name, child.pid, deadline_s)
            child.kill()
        await self._join()
        return in_time

    def kill(self) -> None:
        """Ends the child at once, for good."""
        self._stopping.set()
        if self.child is not None:
            self.child.kill()

    async def _join(self) -> None:
        if self._task is not None:
            await self._task
        self._set_state("stopped")

    def _set_state(self, state: SlotState) -> None:
        if state != self.state:
            self.state = state
            self._on_change(self)

    async def _supervise(self) -> None:
        try:
            while not self._stopping.is_set():
                delay_s = await self._live_once()
                if not self._stopping.is_set():
                    self._set_state("waiting")
                    await self._rest(delay_s)
        except StartError as error:
            self._fail(error)
        except Exception as error:
            log.exception("the supervision of %s failed", self.name)
            self._fail(StartError(f"the supervision of {self.name} failed: {error}"))

    async def _live_once(self) -> float:
        """One life of a child, from spawn to exit. Returns the seconds to rest before the next."""
        try:
            boot = replace(self._boot, proven=self._is_proven())
            child = await Child.spawn(boot, self._inherited, self._hear)
        except OSError as error:
            if not self.was_ready.done():
                raise StartError(f"{self.name} could not be started: {error}") from error
            log.error("%s could not be started: %s", self.name, error)
            return self._policy.backoff_max_s
        self.child = child
        if self._stopping.is_set():
            child.kill()
        self.state = "starting"
        self._on_change(self)
        status = await self._watch(child)
        self.child = None
        delay_s = self._backoff.delay_after(child.lifetime_s)
        if not self._stopping.is_set():
            self._account_for_death(child, status, delay_s)
        return delay_s

    def _hear(self) -> None:
        """The child has said something of itself: that it is ready, or how it is."""
        if self.child is not None and self.child.is_ready and self.state == "starting":
            self._become_ready()
        else:
            self._on_change(self)

    def _become_ready(self) -> None:
        if not self.was_ready.done():
            self.was_ready.set_result(None)
        if not self._stopping.is_set():
            if self.restarts and self.child is not None:
                log.info("%s is back as pid %d after %.2f s", self.name, self.child.pid, self.child.lifetime_s)
            self._set_state("ready")

    def _account_for_death(self, child: Child, status: int, delay_s: float) -> None:
        self.restarts += 1
        self.waiting_since = time.monotonic()
        how = child.refusal or describe_exit(status)
        if not self.was_ready.done() and child.refusal:
            raise StartError(f"{self.name} cannot start: {child.refusal}")
        if not self.was_ready.done() and self.restarts >= self._policy.start_attempts:
            tail = child.output_tail
            raise StartError(
                f"{self.name} does not start: {how}, {self.restarts} times in a row"
                + (f"; it last said:\n{tail}" if tail else "; it said nothing")
            )
        when = f"in {delay_s:.2f} s" if delay_s else "now"
        log.warning("%s (pid %d) ended: %s; starting it again %s", self.name, child.pid, how, when)

    async def _watch(self, child: Child) -> int:
        """Pings the child until it ends, and ends it when it is stuck. Returns its exit status."""
        policy = self._policy
        interval_s = policy.ping_interval_s
        checked = time.monotonic()
        while not await child.exits_within(interval_s):
            now = time.monotonic()
            if now - checked > 2 * interval_s:
                # We were stopped ourselves (SIGSTOP, a sleeping laptop): the silence was ours.
                child.last_heard = now
            checked = now
            has_spoken = child.last_heard > child.spawned
            signs = Signs(now - child.spawned, now - child.last_heard, has_spoken, child.is_ready)
            reason = find_reason_to_kill(policy, signs)
            if reason is not None:
                log.error("%s (pid %d) %s: killing it", self.name, child.pid, reason)
                child.kill()
            else:
                child.ping()
        return child.exited.result()

    async def _rest(self, delay_s: float) -> None:
        if delay_s > 0:
            stopping = asyncio.ensure_future(self._stopping.wait())
            await asyncio.wait([stopping], timeout=delay_s)
            stopping.cancel()

    def _fail(self, error: StartError) -> None:
        self.state = "stopped"
        self._on_change(self)
        if not self.was_ready.done():
            self.was_ready.set_exception(error)
