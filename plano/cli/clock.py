"""How long this process has been running: what a user waits for includes the interpreter and the imports."""

from __future__ import annotations

import os
import time

_IMPORTED = time.monotonic()


def process_age_s() -> float:
    """Seconds since this process was started; where the kernel does not tell, since this module was imported."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            # Field 22 of proc(5), counted after the command, which may hold spaces and brackets.
            started_ticks = int(stat.read().rpartition(b")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        age_s = -1.0
    # Some sandboxes show a start time of another clock.
    return age_s if age_s >= 0 else time.monotonic() - _IMPORTED
