"""`plano-cluster keys`."""

from __future__ import annotations

import stat
from pathlib import Path

import zmq
from click.testing import CliRunner

from plano.cli.main import main


def test_two_pairs_of_which_the_secret_ones_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "keys"
    result = CliRunner().invoke(main, ["keys", "--out", str(folder)])
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for side in ("inference", "frontends"):
        public, secret = folder / f"{side}.public", folder / f"{side}.secret"
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert zmq.curve_public(secret.read_text().strip().encode()) == public.read_text().strip().encode()
        assert secret.read_text().strip() not in result.output
    assert (folder / "inference.secret").read_text() != (folder / "frontends.secret").read_text()
    assert "PLANO_INFERENCE_SERVER_PUBLIC_KEY" in result.output
    assert "--bind tcp://0.0.0.0:5570" in result.output


def test_keys_that_are_there_are_not_overwritten(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["keys", "--out", str(tmp_path)]).exit_code == 0
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    result = CliRunner().invoke(main, ["keys", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "--out" in result.output
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_used_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["keys", "--out", str(tmp_path / "file" / "keys")])
    assert result.exit_code == 1
    assert "cannot be written" in result.output
