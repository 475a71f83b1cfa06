"""`plano-cluster models`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from plano.cli.failures import reported
from plano.cli.options import config_argument
from plano.cli.terminal import Terminal


@click.command()
@config_argument
def models(config: Path | None) -> None:
    """List the models that clients may ask for: what GET /v1/models answers, and the aliases."""
    with reported():
        from plano.cli.preparation import prepare
        from plano.config.settings import load_settings

        plan = prepare(config, load_settings(), os.environ).plan
    terminal = Terminal()
    defaults = {provider.name for provider in plan.providers if provider.default}
    rows = [(model, owner, "default" if model in defaults else "") for model, owner in plan.model_ids]
    rows.extend((alias, "", f"alias of {target}") for alias, target in plan.aliases.items())
    terminal.table(("model", "owner", ""), rows)
