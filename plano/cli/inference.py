"""`plano-cluster inference`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plano.cli.failures import reported
from plano.cli.options import config_argument
from plano.cli.start import model_rows, run_cluster
from plano.cli.terminal import Terminal, stop_hint
from plano.cli.waiting import Waiting

if TYPE_CHECKING:
    from plano.config.plan import ClusterPlan
    from plano.config.settings import Settings
    from plano.workers.rundir import ClusterInfo

# Beside a cluster of frontends on the same machine, whose defaults are others.
DEFAULT_ADMIN = "127.0.0.1:19902"
DEFAULT_RUN_DIR = Path("~/.plano/inference")


@click.command()
@config_argument
@click.option(
    "--bind",
    metavar="ADDRESS",
    help="tcp://HOST:PORT or ipc://PATH to listen on. Default: PLANO_INFERENCE_BIND, else tcp://127.0.0.1:5570.",
)
@click.option("--admin", metavar="HOST:PORT", help=f"Metrics and health. Default: PLANO_ADMIN, else {DEFAULT_ADMIN}.")
@click.option("--log-level", help="debug, info, warning or error. Default: PLANO_LOG_LEVEL, else info.")
@click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder of its lock and description. Default: PLANO_RUN_DIR, else {DEFAULT_RUN_DIR}.",
)
def inference(
    config: Path | None, bind: str | None, admin: str | None, log_level: str | None, run_dir: Path | None
) -> None:
    """Run the task-specific models alone, for frontends elsewhere, until Ctrl-C or SIGTERM.

    CONFIG is a Plano config file, of which `inference` is read, and `model_providers` for engine `upstream`; it may be
    the file of the frontends. Without any, each model gets the engine that suits this machine.

    \b
    On a GPU machine:      plano-cluster inference plano.yaml --bind tcp://0.0.0.0:5570
    For the frontends:     plano-cluster start plano.yaml --inference tcp://gpu-1:5570,tcp://gpu-2:5570

    What other machines can reach is encrypted: `plano-cluster keys` makes the keys.
    """
    with reported():
        from plano.config.settings import load_settings

        settings = load_settings(inference_bind=bind, admin=admin, log_level=log_level, run_dir=run_dir)
        usual = {"admin": DEFAULT_ADMIN, "run_dir": DEFAULT_RUN_DIR.expanduser()}
        missing = {name: value for name, value in usual.items() if name not in settings.model_fields_set}
        settings = settings.model_copy(update=missing)
        sys.exit(_run(config, settings))


def _run(config: Path | None, settings: Settings) -> int:
    from plano import __version__
    from plano.workers.supervisor import ClusterSpec

    terminal = Terminal()
    plan, path = _prepare(config, settings)
    spec = ClusterSpec(
        plan=plan,
        workers=0,
        admin=settings.admin_address,
        run_dir=settings.run_dir,
        version=__version__,
        inference_bind=settings.inference_bind,
        config_path=str(path.absolute()) if path else None,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
    waiting = Waiting(terminal)

    async def announce(info: ClusterInfo, stop: Callable[[], None]) -> None:
        waiting.end()
        _show_ready(terminal, settings, plan, info)

    try:
        return run_cluster(spec, announce, waiting.show)
    finally:
        waiting.end()


def _prepare(config: Path | None, settings: Settings) -> tuple[ClusterPlan, Path | None]:
    """The plan, and the config file it comes from. Raises ConfigError."""
    from plano.config.compiling import compile_inference_plan
    from plano.config.loading import find_config_file, load
    from plano.config.schema.file import NEWEST_VERSION, PlanoFile

    if config is None and find_config_file() is None:
        return compile_inference_plan(PlanoFile(version=NEWEST_VERSION, listeners=[]), settings), None
    loaded = load(config, os.environ)
    for warning in loaded.warnings:
        # The rest of the file is for the frontends, whose start tells of it; and these models do run here.
        if warning.path.startswith("inference.") and not warning.path.endswith(".engine_args"):
            click.echo(f"warning: {warning}", err=True)
    return compile_inference_plan(loaded.config, settings), loaded.path


def _show_ready(terminal: Terminal, settings: Settings, plan: ClusterPlan, info: ClusterInfo) -> None:
    from plano.cli.clock import process_age_s

    terminal.heading(f"Plano {info.version} inference is ready in {process_age_s():.1f} s (pid {info.pid})")
    keys = plan.inference.curve
    admits = "known frontends only" if keys and keys.client_public_keys else "whoever knows its public key"
    secured = f"encrypted; admits {admits}" if keys else "not encrypted"
    rows = [("address", f"{address}  ({secured})") for address in info.inference]
    rows.extend(model_rows(info))
    rows.append(("config", info.config or "none: what suits this machine"))
    rows.append(("admin", f"{info.admin}  (/metrics, /readyz, /cluster)"))
    rows.append(("stop", stop_hint(settings.run_dir)))
    terminal.pairs(rows)
