"""Processes that end when whoever started them does, however that ended: nothing is left running.

    python -m demos.lifeline plano.cli.main start config.yaml

runs a module so; `end_with_parent` does it for the process that calls it. Stdin must be a pipe from the starter.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def end_with_parent() -> None:
    """End this process by SIGTERM when the pipe that stdin is reaches its end."""

    def watch() -> None:
        while os.read(0, 1024):  # not by sys.stdin, whose lock this thread would hold when the process ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
