"""A child process of the cluster: `python -m plano.workers.child --control FD`, started by the supervisor only.

Reads its boot frame, names itself, and runs its role on uvloop until the role returns. Everything imported here is paid
for by every frontend in memory and start-up time: no pydantic, YAML, aiohttp, click or rich.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import setproctitle
import uvloop

from plano.workers.boot import ChildBoot
from plano.workers.control import EXIT_ORPHANED, Control
from plano.workers.frames import FrameError, read_boot
from plano.workers.logs import configure_logging

log = logging.getLogger(__name__)

Role = Callable[[Any, Control], Awaitable[None]]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> int:
    """Runs one child. Returns the exit status: 0 when the role came to its end, 1 when it failed."""
    ignore_terminal_signals()
    if len(arguments) != 2 or arguments[0] != "--control":
        sys.stderr.write("plano.workers.child is started by plano-cluster, not by hand\n")
        return 2
    pipe = socket.socket(fileno=int(arguments[1]))
    os.set_inheritable(pipe.fileno(), False)
    die_with_parent()
    allow_descriptors()
    try:
        boot = read_boot(pipe)
    except FrameError as error:
        sys.stderr.write(f"plano.workers.child: {error}\n")
        return EXIT_ORPHANED
    setproctitle.setproctitle(boot.title)
    configure_logging(boot.name, boot.log_level, boot.log_format)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(load_role(boot.entry), boot, pipe))
    except Exception:
        log.exception("%s failed", boot.name)
        return 1
    return 0


async def _run(role: Role, boot: ChildBoot, pipe: socket.socket) -> None:
    await role(boot.payload, await Control.connect(pipe, proven=boot.proven))


def load_role(entry: str) -> Role:
    """The coroutine function that `module:name` spells. Raises ImportError or AttributeError."""
    module, _, name = entry.partition(":")
    role: Role = getattr(importlib.import_module(module), name)
    return role


def ignore_terminal_signals() -> None:
    """Leaves SIGINT and SIGTERM to the supervisor.

    A terminal's Ctrl-C and systemd's control-group stop reach every process; a child that ended by itself then could
    not drain.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def die_with_parent() -> None:
    """Asks Linux to kill this process with its parent, also when its own event loop is stuck. Elsewhere the end of the
    control pipe has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # A parent that died before the call above left us to init already; the pipe then reads as ended.


def allow_descriptors() -> None:
    """Raises the soft limit of open files to the hard one.

    A request in flight holds two, and the usual soft limit of 1024 exists for programs that call select(2).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:  # macOS allows less than the "unlimited" it reports
        log.debug("the limit of open files stays as it is: %s", error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
