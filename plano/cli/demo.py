"""`plano-cluster start --demo`: demo providers, a real cluster before them, and requests that show what it does."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path

from plano.cli.preparation import Prepared
from plano.cli.showcase import Showcase
from plano.cli.start import cluster_spec, run_cluster, show_ready
from plano.cli.terminal import Terminal
from plano.config.compiling import compile_plan
from plano.config.loading import load
from plano.config.settings import Settings
from plano.workers.failures import StartError
from plano.workers.rundir import ClusterInfo, RunDir

_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 5.0
_PROVIDERS = {
    "PLANO_DEMO_FIRST_URL": ("--chunk-delay-ms", "25", "--fault", "demo-resilient=fail-503"),
    "PLANO_DEMO_SECOND_URL": ("--chunk-delay-ms", "25"),
}


def run_demo(settings: Settings, *, once: bool) -> int:
    """Runs the demo until it is stopped; with `once`, or without a terminal, until its requests are answered.

    Returns 0 when all of them worked. Raises StartError and ConfigError.
    """
    terminal = Terminal()
    with ExitStack() as resources_held:
        settings = _make_room(terminal, settings, resources_held)
        processes = [resources_held.enter_context(_provider_process(arguments)) for arguments in _PROVIDERS.values()]
        urls = dict(zip(_PROVIDERS, (_await_url(process) for process in processes), strict=True))
        config = resources_held.enter_context(resources.as_file(resources.files("plano.demo") / "demo.yaml"))
        prepared = _prepare(terminal, config, settings, urls)
        return _run(terminal, prepared, settings, stay=terminal.is_interactive and not once)


def _run(terminal: Terminal, prepared: Prepared, settings: Settings, *, stay: bool) -> int:
    worked = False

    async def perform(info: ClusterInfo, stop: Callable[[], None]) -> None:
        nonlocal worked
        try:
            show_ready(terminal, prepared, settings, info)
            showcase = Showcase(terminal, info.listeners[0]["url"], info.admin)
            worked = await asyncio.to_thread(showcase.run)
            showcase.show_commands()
            terminal.line()
            if stay:
                terminal.line("The cluster stays up until Ctrl-C.", "bold")
            else:
                terminal.line("All of it worked." if worked else "Not all of it worked.", "bold")
        finally:
            if not stay:
                stop()

    status = run_cluster(cluster_spec(prepared, settings), perform)
    return status if worked else 1


def _prepare(terminal: Terminal, config: Path, settings: Settings, urls: dict[str, str]) -> Prepared:
    loaded = load(config, {**os.environ, **urls})
    plan = compile_plan(loaded.config, settings)
    listener = plan.listeners[0]
    if not _is_free(listener.address, listener.port):
        terminal.line(f"Port {listener.port} is in use: the demo takes a free one.", "yellow")
        plan = replace(plan, listeners=(replace(listener, port=0), *plan.listeners[1:]))
    return Prepared(loaded, plan, {})


def _make_room(terminal: Terminal, settings: Settings, held: ExitStack) -> Settings:
    """A demo beside a running cluster gets its own admin port and run folder."""
    changes: dict[str, object] = {}
    host, port = settings.admin_address
    if port and not _is_free(host, port):
        terminal.line(f"Admin port {port} is in use: the demo takes a free one.", "yellow")
        changes["admin"] = f"{f'[{host}]' if ':' in host else host}:0"
    if RunDir(settings.run_dir).is_held():
        terminal.line(f"A cluster already runs from {settings.run_dir}: the demo uses a folder of its own.", "yellow")
        changes["run_dir"] = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="plano-demo-")))
    return settings.model_copy(update=changes)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


@contextmanager
def _provider_process(arguments: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    """A demo provider; it also ends when our end of its stdin does."""
    command = [sys.executable, "-P", "-m", "plano.demo.provider", "--port", "0", "--exit-with-parent", *arguments]
    # A group of its own: Ctrl-C must reach the cluster first, which still has streams of this provider to finish.
    process = subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _await_url(process: subprocess.Popen[bytes]) -> str:
    """The URL that the provider prints when it listens. Raises StartError when it does not in time."""
    assert process.stdout is not None
    # The timer turns a provider that hangs into one that has ended, which ends the line below.
    timer = threading.Timer(_START_TIMEOUT_S, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    try:
        url: str = json.loads(line)["url"]
    except (ValueError, LookupError, TypeError) as error:
        raise StartError("the demo provider did not start; see its output above") from error
    return url
