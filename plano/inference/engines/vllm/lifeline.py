"""Ties vLLM's engine core to the process that started it.

vLLM runs a model in a process of its own, and that one goes on when its parent is killed, with the GPU's memory in its
hands: the next start would find none. Its documented way into that process is a plugin (the entry point
`vllm.general_plugins` in pyproject.toml), called in every process that vLLM starts, and in every process of anyone who
uses vLLM in the same environment; hence the check whose child this is.

The plugin also passes on why an engine core failed. To its parent vLLM says "see root cause above", and means the log.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from pathlib import Path

log = logging.getLogger(__name__)

PARENT_VARIABLE = "PLANO_ENGINE_PARENT"
LAST_WORDS_VARIABLE = "PLANO_ENGINE_LAST_WORDS"
_PLUGIN = "plano"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_EXIT_ORPHANED = 3


def announce_parent() -> None:
    """Makes this process the one that the engine cores started from now on die with."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    allowed = os.environ.get("VLLM_PLUGINS")
    if allowed is not None and _PLUGIN not in allowed.split(","):
        os.environ["VLLM_PLUGINS"] = f"{allowed},{_PLUGIN}" if allowed else _PLUGIN


class LastWords(logging.Handler):
    """Keeps the first exception that vLLM logs, which is the cause of those that follow, in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(logging.ERROR)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        try:
            with self._path.open("x", encoding="utf-8") as file:
                file.write(f"{type(error).__name__}: {error}")
        except OSError:  # there is one already, or nobody asks any more
            return


def attach() -> None:
    """The plugin: what vLLM calls in its processes. Does nothing in those that we have not started.

    The workers of an engine core are its children, and vLLM itself ends those with the core.
    """
    parent = multiprocessing.parent_process()
    announced = os.environ.get(PARENT_VARIABLE)
    if parent is None or announced is None:
        return
    # A terminal's Ctrl-C reaches every process; the engine has to outlive the requests that are being drained.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    words = os.environ.get(LAST_WORDS_VARIABLE)
    if words is not None:
        logging.getLogger("vllm").addHandler(LastWords(Path(words)))
    if str(parent.pid) != announced:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent.pid:
        log.error("the process that started this engine core has ended: so does the engine core")
        os._exit(_EXIT_ORPHANED)
