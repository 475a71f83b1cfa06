"""`plano-cluster start`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from plano.cli.failures import reported
from plano.cli.options import config_argument, run_dir_option
from plano.cli.terminal import Terminal, stop_hint
from plano.cli.waiting import Waiting

if TYPE_CHECKING:
    from plano.cli.preparation import Prepared
    from plano.config.settings import Settings
    from plano.workers.rundir import ClusterInfo
    from plano.workers.supervisor import ClusterSpec


@click.command()
@config_argument
@click.option("--workers", "-w", type=int, help="Frontend processes. Default: PLANO_WORKERS, else one per CPU core.")
@click.option("--admin", metavar="HOST:PORT", help="Metrics and health. Default: PLANO_ADMIN, else 127.0.0.1:19901.")
@click.option(
    "--inference",
    metavar="ADDRESS,...",
    help="Inference processes elsewhere, tcp://HOST:PORT or ipc://PATH. Default: PLANO_INFERENCE, else the config's; "
    "without any, one is started.",
)
@click.option("--demo", is_flag=True, help="Bring demo providers, send them requests and show what happens.")
@click.option("--once", is_flag=True, help="With --demo: end when the requests are done; status 0 when all worked.")
@click.option("--host", help="Address of the listener when there is no config file. Default: 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65535), help="Its port. Default: 12000.")
@click.option("--log-level", help="debug, info, warning or error. Default: PLANO_LOG_LEVEL, else info.")
@run_dir_option
def start(
    config: Path | None,
    workers: int | None,
    admin: str | None,
    inference: str | None,
    demo: bool,
    once: bool,
    host: str | None,
    port: int | None,
    log_level: str | None,
    run_dir: Path | None,
) -> None:
    """Start a cluster and stay with it until Ctrl-C, SIGTERM or `plano-cluster stop`.

    CONFIG is a Plano config file, or a folder holding config.yaml, plano_config.yaml or plano.yaml (default: the
    current one). Without any, the providers whose keys are in the environment are wired: OPENAI_API_KEY and the like.
    """
    if once and not demo:
        raise click.UsageError("--once goes with --demo")
    if demo and config is not None:
        raise click.UsageError("--demo brings its own config")
    if demo and (host is not None or port is not None):
        raise click.UsageError("--host and --port do not apply to --demo, which says where it listens")
    with reported():
        from plano.config.settings import load_settings

        settings = load_settings(
            workers=workers, admin=admin, inference=inference, run_dir=run_dir, log_level=log_level
        )
        if demo:
            from plano.cli.demo import run_demo

            sys.exit(run_demo(settings, once=once))
        from plano.cli.preparation import prepare

        prepared = prepare(config, settings, os.environ, host, port)
        sys.exit(_run(prepared, settings))


def _run(prepared: Prepared, settings: Settings) -> int:
    terminal = Terminal()
    for warning in prepared.loaded.warnings:
        click.echo(f"warning: {warning}", err=True)

    waiting = Waiting(terminal)

    async def announce(info: ClusterInfo, stop: Callable[[], None]) -> None:
        waiting.end()
        show_ready(terminal, prepared, settings, info)

    try:
        return run_cluster(cluster_spec(prepared, settings), announce, waiting.show)
    finally:
        waiting.end()


def cluster_spec(prepared: Prepared, settings: Settings) -> ClusterSpec:
    """What the supervisor is told to run."""
    from plano import __version__
    from plano.workers.supervisor import ClusterSpec

    return ClusterSpec(
        plan=prepared.plan,
        workers=settings.workers,
        admin=settings.admin_address,
        run_dir=settings.run_dir,
        version=__version__,
        config_path=str(prepared.loaded.path.absolute()) if prepared.loaded.path else None,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def run_cluster(
    spec: ClusterSpec,
    on_ready: Callable[[ClusterInfo, Callable[[], None]], Awaitable[None]],
    on_wait: Callable[[list[dict[str, Any]]], None] | None = None,
) -> int:
    """Turns this process into the supervisor. Returns the exit status; raises StartError.

    `on_ready` gets the running cluster, and a function that stops it; `on_wait`, every second until then, the children
    that are awaited.
    """
    import setproctitle

    from plano.workers.logs import configure_logging
    from plano.workers.supervisor import Supervisor

    setproctitle.setproctitle("plano: supervisor")
    configure_logging("supervisor", spec.log_level, spec.log_format)

    async def supervise() -> int:
        supervisor = Supervisor(spec, lambda info: on_ready(info, supervisor.request_stop), on_wait)
        return await supervisor.run()

    return asyncio.run(supervise())


def model_rows(info: ClusterInfo) -> list[tuple[str, str]]:
    """What runs the task-specific models here, as one row for all that are run alike."""
    roles_by_engine: dict[str, list[str]] = {}
    for role, engine in info.models.items():
        roles_by_engine.setdefault(engine, []).append(role)
    return [(", ".join(roles), engine) for engine, roles in roles_by_engine.items()]


def show_ready(terminal: Terminal, prepared: Prepared, settings: Settings, info: ClusterInfo) -> None:
    """Says that the cluster is ready, where it is and how it is stopped."""
    from plano.cli.clock import process_age_s
    from plano.cli.preparation import explain_keys, summarize_models

    frontends = "1 frontend" if info.workers == 1 else f"{info.workers} frontends"
    terminal.heading(f"Plano {info.version} is ready in {process_age_s():.1f} s ({frontends}, pid {info.pid})")
    rows = [(f"listener {one['name']}", f"{one['url']}  ({one['type']})") for one in info.listeners]
    rows.append(("config", info.config or "none: providers from the environment"))
    rows.append(("models", summarize_models(prepared.plan)))
    if prepared.is_zero_config:
        rows.extend(("keys" if not number else "", line) for number, line in enumerate(explain_keys(prepared.keys)))
    if info.inference:
        rows.append(("inference", ", ".join(info.inference)))
    rows.extend(model_rows(info))
    rows.append(("admin", f"{info.admin}  (/metrics, /readyz, /cluster)"))
    rows.append(("stop", stop_hint(settings.run_dir)))
    terminal.pairs(rows)
