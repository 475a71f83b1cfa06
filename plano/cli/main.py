"""`plano-cluster`: the command line. One module per command; each imports the heavy things when it runs."""

from __future__ import annotations

import click

from plano import __version__
from plano.cli.inference import inference
from plano.cli.keys import keys
from plano.cli.models import models
from plano.cli.schema import schema
from plano.cli.start import start
from plano.cli.status import status
from plano.cli.stop import stop
from plano.cli.validate import validate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="plano-cluster")
def main() -> None:
    """Plano: the data plane for agents. Routes, retries and streams prompts between clients and models.

    \b
    Try it:            plano-cluster start --demo
    With your keys:    OPENAI_API_KEY=... plano-cluster start
    With a config:     plano-cluster start plano.yaml

    Settings also come from the environment (PLANO_WORKERS, PLANO_ADMIN, PLANO_RUN_DIR, PLANO_LOG_LEVEL, ...).
    """


for command in (start, stop, status, inference, keys, validate, models, schema):
    main.add_command(command)


if __name__ == "__main__":
    main()
