"""`plano-cluster keys`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from plano.cli.failures import reported
from plano.cli.terminal import Terminal

SIDES = {"inference": "the inference processes", "frontends": "the frontends"}


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("plano-keys"),
    show_default=True,
    help="Folder for the keys. Made where it is missing; files that are there are not touched.",
)
def keys(out: Path) -> None:
    """Make the CURVE keys that encrypt what frontends and inference processes say to each other.

    Two pairs, one for each side, as files that only you may read: inference.secret, inference.public,
    frontends.secret, frontends.public. Each holds one key as Z85 text.
    """
    terminal = Terminal()
    with reported():
        _write_keys(out)
    terminal.heading(f"Keys are in {out}/ (secret ones are readable by you only).")
    place = os.fspath(out)
    terminal.line()
    terminal.line("Where the models run:")
    terminal.line(f'  export PLANO_INFERENCE_SECRET_KEY="$(cat {place}/inference.secret)"')
    terminal.line(f'  export PLANO_INFERENCE_CLIENT_PUBLIC_KEYS="$(cat {place}/frontends.public)"')
    terminal.line("  plano-cluster inference plano.yaml --bind tcp://0.0.0.0:5570")
    terminal.line()
    terminal.line("Where the frontends run:")
    terminal.line(f'  export PLANO_INFERENCE_SERVER_PUBLIC_KEY="$(cat {place}/inference.public)"')
    terminal.line(f'  export PLANO_INFERENCE_SECRET_KEY="$(cat {place}/frontends.secret)"')
    terminal.line("  plano-cluster start plano.yaml --inference tcp://HOST:5570")
    terminal.line()
    terminal.line("Or in the config, with $VARIABLES for the secret ones:")
    terminal.line("  inference: {curve: {secret_key: $KEY, client_public_keys: ['...']}}   # where the models run")
    terminal.line("  inference: {curve: {secret_key: $KEY, server_public_key: '...'}}      # where the frontends run")
    terminal.line()
    terminal.line(
        "Every frontend may have the same pair. Move the secret files to where they are needed; keep no copies."
    )


def _write_keys(folder: Path) -> None:
    """Raises StartError when a file is there already, or none can be written."""
    from plano.config.curve import make_keys
    from plano.workers.failures import StartError

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        names = [f"{side}.{kind}" for side in SIDES for kind in ("public", "secret")]
        for name in names:
            if (folder / name).exists():
                raise StartError(f"{folder / name} exists: choose another folder with --out, or remove the old keys")
        for side in SIDES:
            public, secret = make_keys()
            for kind, key, mode in (("public", public, 0o644), ("secret", secret, 0o600)):
                # Never readable by others, not even for the moment between creation and chmod.
                file = os.open(folder / f"{side}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                with os.fdopen(file, "w", encoding="ascii") as stream:
                    stream.write(key + "\n")
    except OSError as error:
        raise StartError(f"keys cannot be written to {folder}: {error.strerror}") from error
