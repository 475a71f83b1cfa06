"""`plano-cluster validate`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from plano.cli.failures import reported
from plano.cli.options import config_argument
from plano.cli.terminal import Terminal


@click.command()
@config_argument
def validate(config: Path | None) -> None:
    """Check a config file without starting anything. Exit status 1 when it cannot be used.

    CONFIG is a file or a folder, by default the current one. Variables are taken from the environment and from `.env`
    beside the file, as `start` does.
    """
    with reported():
        from plano.cli.preparation import summarize_models
        from plano.config.compiling import compile_plan
        from plano.config.loading import load
        from plano.config.settings import load_settings

        loaded = load(config, os.environ)
        plan = compile_plan(loaded.config, load_settings())
    terminal = Terminal()
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    terminal.line(f"{loaded.path} is valid.", "green")
    rows = [
        (f"listener {one.name}", f"{one.address}:{one.port}  ({one.type}{', TLS' if one.tls else ''})")
        for one in plan.listeners
    ]
    rows.append(("models", summarize_models(plan, most=20)))
    if plan.aliases:
        rows.append(("aliases", ", ".join(f"{alias} = {model}" for alias, model in plan.aliases.items())))
    terminal.pairs(rows)
