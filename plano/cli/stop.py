"""`plano-cluster stop`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from plano.cli.options import open_run_dir, run_dir_option
from plano.cli.terminal import Terminal
from plano.workers.rundir import RunDir

_FORCE_GRACE_S = 5.0
_POLL_S = 0.05


@click.command()
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to let requests finish; then the cluster is ended at once.",
)
@run_dir_option
def stop(timeout: float, run_dir: Path | None) -> None:
    """Stop the running cluster, letting its requests finish."""
    terminal = Terminal()
    place = open_run_dir(run_dir)
    running = place.read()
    if not place.is_held():
        terminal.line(f"No cluster is running from {place.path}.")
        return
    if running is None:
        raise click.ClickException(f"a cluster is just starting from {place.path}: try again in a moment")
    started = time.monotonic()
    if not _signal(running.pid, signal.SIGTERM) or _ends_within(place, timeout):
        terminal.line(f"Stopped the cluster (pid {running.pid}) in {time.monotonic() - started:.1f} s.")
        return
    # The second signal ends what is still in flight.
    if _signal(running.pid, signal.SIGTERM) and not _ends_within(place, _FORCE_GRACE_S):
        _signal(running.pid, signal.SIGKILL)
        _ends_within(place, _FORCE_GRACE_S)
    terminal.line(f"Stopped the cluster (pid {running.pid}) after {timeout:.0f} s; requests in flight were cut.")


def _signal(pid: int, number: signal.Signals) -> bool:
    """Whether the process was there to get it. Raises ClickException when it is not ours."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise click.ClickException(f"not allowed to signal pid {pid}: it runs as another user") from error
    return True


def _ends_within(place: RunDir, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while place.is_held():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
