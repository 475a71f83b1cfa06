"""Foreign load: the CPU that processes outside the bench took while it ran."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Sequence
from types import TracebackType

import psutil

KERNEL_THREADS = 2  # parent of every kernel thread: interrupts of the bench's own sockets are worked off there


class ForeignLoad:
    """Samples, once a second, the CPU of every process that does not descend from one of `roots` (default: this one).

    The harness derives the same figure from /proc/stat, where time spent in soft interrupts is missing; on loopback
    that is up to a third of a core and hides as much foreign load. Here processes are counted one by one. A process
    that lives and ends between two samples is not seen.
    """

    def __init__(self, roots: Sequence[int] = (), interval_s: float = 1.0) -> None:
        self._roots = {*(roots or [os.getpid()]), KERNEL_THREADS}
        self._interval_s = interval_s
        self._seen: dict[tuple[int, float], float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="foreign load", daemon=True)
        self.cores: list[float] = []
        self._take_sample(None)

    def __enter__(self) -> ForeignLoad:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def summarise(self) -> dict[str, float]:
        """Cores taken by others: mean, p90 and max over the samples; zeros when none was taken."""
        if not self.cores:
            return {"mean": 0.0, "p90": 0.0, "max": 0.0}
        ordered = sorted(self.cores)
        p90 = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
        return {"mean": round(statistics.fmean(ordered), 3), "p90": round(p90, 3), "max": round(ordered[-1], 3)}

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(self._interval_s):
            now = time.monotonic()
            self._take_sample(now - last)
            last = now

    def _take_sample(self, elapsed_s: float | None) -> None:
        parents, used = {}, {}
        for process in psutil.process_iter():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    parents[process.pid] = process.ppid()
                    used[process.pid] = (process.create_time(), times.user + times.system)
            except psutil.NoSuchProcess:
                continue
        foreign, now = 0.0, {}
        for pid, (born, cpu_s) in used.items():
            if self._is_ours(pid, parents):
                continue
            now[(pid, born)] = cpu_s
            # A process first seen after the start has used all its CPU since; the first sample only sets the marks.
            foreign += max(0.0, cpu_s - self._seen.get((pid, born), cpu_s if elapsed_s is None else 0.0))
        self._seen = now
        if elapsed_s is not None:
            self.cores.append(foreign / elapsed_s)

    def _is_ours(self, pid: int, parents: dict[int, int]) -> bool:
        while pid not in (0, 1):
            if pid in self._roots:
                return True
            pid = parents.get(pid, 0)
        return False
