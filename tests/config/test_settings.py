"""Process settings: `PLANO_*`, and the command line over them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from plano.config.plan import LimitsPlan
from plano.config.problems import ConfigError
from plano.config.settings import Settings, load_settings, split_address


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PLANO_{name.upper()}", raising=False)


def test_defaults() -> None:
    settings = load_settings()
    assert settings.workers >= 1
    assert settings.admin_address == ("127.0.0.1", 19901)
    assert settings.run_dir == Path.home() / ".plano" / "run"
    assert (settings.log_level, settings.log_format) == ("info", "text")
    assert settings.limits == LimitsPlan()


def test_every_limit_is_a_setting() -> None:
    assert {field.name for field in fields(LimitsPlan)} <= set(Settings.model_fields)


def test_environment_is_read_with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANO_WORKERS", "3")
    monkeypatch.setenv("PLANO_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("PLANO_MAX_BODY_BYTES", "1MiB")
    monkeypatch.setenv("PLANO_DRAIN_TIMEOUT_S", "1m")
    monkeypatch.setenv("PLANO_RUN_DIR", "~/x")
    monkeypatch.setenv("PLANO_SERVICE_HOST", "10.0.0.1")  # what Kubernetes sets for a Service called plano
    settings = load_settings()
    assert (settings.workers, settings.log_level, settings.run_dir) == (3, "debug", Path.home() / "x")
    assert (settings.limits.max_body_bytes, settings.limits.drain_timeout_s) == (1024 * 1024, 60.0)


def test_command_line_wins_where_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANO_WORKERS", "3")
    monkeypatch.setenv("PLANO_ADMIN", "0.0.0.0:1")
    settings = load_settings(workers=5, admin=None)
    assert (settings.workers, settings.admin) == (5, "0.0.0.0:1")


def test_all_wrong_variables_are_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANO_WORKERS", "many-things")
    monkeypatch.setenv("PLANO_ADMIN", "many-things")
    monkeypatch.setenv("PLANO_LOG_FORMAT", "jsn")
    monkeypatch.setenv("PLANO_MAX_BODY_BYTES", "many-things")
    with pytest.raises(ConfigError) as caught:
        load_settings(log_level="inf")
    told = {problem.path: problem for problem in caught.value.problems}
    assert set(told) == {"PLANO_WORKERS", "PLANO_ADMIN", "PLANO_LOG_FORMAT", "PLANO_MAX_BODY_BYTES", "--log-level"}
    assert told["PLANO_LOG_FORMAT"].hint == "did you mean `json`?"
    assert str(told["PLANO_WORKERS"]) == "environment: PLANO_WORKERS: must be a whole number"
    assert "many-things" not in str(caught.value)


@pytest.mark.parametrize(("value", "message"), [(0, "at least 1"), (5000, "at most 1024"), (True, "must be a number")])
def test_impossible_number_of_workers(value: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(workers=value)


@pytest.mark.parametrize(
    ("text", "pair"), [("h:1", ("h", 1)), ("[::1]:80", ("::1", 80)), ("127.0.0.1:0", ("127.0.0.1", 0))]
)
def test_address_is_split(text: str, pair: tuple[str, int]) -> None:
    assert split_address(text) == pair


@pytest.mark.parametrize(
    "text", ["", "h", ":1", "h:", "h:x", "h:65536", "::1:80", "[::1]", "a b:1", "http://h:1", "h:²"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        split_address(text)


def test_misspelt_override_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        load_settings(worker=1)
