"""The units for systemd: what they say about the cluster is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plano.cli.main import main
from plano.config.settings import Settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "systemd"
UNITS = sorted(path.name for path in FOLDER.iterdir())


def read_unit(name: str) -> dict[str, str]:
    """The settings of a unit; those given several times, joined."""
    found: dict[str, str] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", (FOLDER / name).read_text(encoding="utf-8"), re.MULTILINE):
        found[key] = f"{found[key]} {value}" if key in found else value
    return found


def test_there_are_units_for_both_kinds_of_machine() -> None:
    commands = {read_unit(name)["ExecStart"].split()[1] for name in UNITS}
    assert commands == {"start", "inference"}


@pytest.mark.parametrize("name", UNITS)
def test_the_command_exists(name: str) -> None:
    program, command, config = read_unit(name)["ExecStart"].split()
    assert Path(program).name == "plano-cluster"
    assert command in main.commands  # type: ignore[attr-defined]
    assert config == "/etc/plano/plano.yaml"


@pytest.mark.parametrize("name", UNITS)
def test_the_settings_exist(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    names = re.findall(r"PLANO_(\w+)=", text)
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


@pytest.mark.parametrize("name", UNITS)
def test_systemd_waits_for_the_drain(name: str) -> None:
    drain_s = Settings.model_fields["drain_timeout_s"].default
    assert int(read_unit(name)["TimeoutStopSec"]) > drain_s
    assert read_unit(name)["KillMode"] == "mixed", "the supervisor drains the others, systemd must not"
