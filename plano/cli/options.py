"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

from plano.cli.failures import reported
from plano.workers.rundir import RunDir

run_dir_option = click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the cluster's lock and description. Default: PLANO_RUN_DIR, else ~/.plano/run.",
)

config_argument = click.argument("config", required=False, type=click.Path(path_type=Path))


def open_run_dir(given: Path | None) -> RunDir:
    """The run folder meant by the option, else by the settings."""
    if given is not None:
        return RunDir(given.absolute())
    from plano.config.settings import load_settings

    with reported():
        return RunDir(load_settings().run_dir)
