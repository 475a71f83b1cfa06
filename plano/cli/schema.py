"""`plano-cluster schema`."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of the config file, for editors and CI."""
    from plano.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
