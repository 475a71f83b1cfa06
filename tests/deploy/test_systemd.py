"""The unit for systemd: what it says about the cluster is true."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from plano.cli.main import main
from plano.config.settings import Settings

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "plano.service"


def read_service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT, encoding="utf-8")
    return parser["Service"]


def test_the_command_exists() -> None:
    program, command, config = read_service()["ExecStart"].split()
    assert Path(program).name == "plano-cluster"
    assert command in main.commands  # type: ignore[attr-defined]
    assert config == "/etc/plano/plano.yaml"


def test_the_settings_exist() -> None:
    names = re.findall(r"PLANO_(\w+)=", read_service()["Environment"])
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


def test_systemd_waits_for_the_drain() -> None:
    drain_s = Settings.model_fields["drain_timeout_s"].default
    assert int(read_service()["TimeoutStopSec"]) > drain_s
    assert read_service()["KillMode"] == "mixed", "the supervisor drains the frontends, systemd must not"
