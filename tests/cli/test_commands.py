"""The real console script."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest
import yaml

import plano
from plano.workers.rundir import RunDir
from tests.clusters import PLANO_CLUSTER, ClusterProcess, find_free_port

CONFIG = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - {model: openai/gpt-4o, base_url: "http://127.0.0.1:9", access_key: $SECRET_KEY, default: true}
model_aliases:
  fast: {target: gpt-4o}
"""
SECRET = {"SECRET_KEY": "sk-very-secret"}


def run(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    return subprocess.run(
        [PLANO_CLUSTER, *arguments],
        cwd=cwd,
        env={**environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write_config(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "plano.yaml"
    path.write_text(text.replace("{port}", str(find_free_port())), encoding="utf-8")
    return path


def test_the_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    assert metadata.version("plano-cluster") == plano.__version__
    assert run("--version", cwd=tmp_path).stdout.split()[-1] == plano.__version__


def test_help_names_every_command(tmp_path: Path) -> None:
    text = run("--help", cwd=tmp_path).stdout
    assert all(
        f"  {name} " in text
        for name in ("start", "stop", "status", "inference", "keys", "validate", "models", "schema")
    )


@pytest.mark.parametrize(
    "arguments", [("start", "--once"), ("start", "--demo", "x.yaml"), ("start", "--demo", "--port", "1"), ("nonsense",)]
)
def test_wrong_usage_exits_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert run(*arguments, cwd=tmp_path).returncode == 2


def test_validate_says_what_a_good_config_holds(tmp_path: Path) -> None:
    write_config(tmp_path)
    result = run("validate", cwd=tmp_path, env=SECRET)
    assert result.returncode == 0
    assert "plano.yaml is valid" in result.stdout
    assert "openai/gpt-4o (default)" in result.stdout
    assert "sk-very-secret" not in result.stdout + result.stderr


def test_validate_shows_every_problem_with_its_line(tmp_path: Path) -> None:
    path = write_config(tmp_path, "version: v0.4.0\nlistenerz: []\nmodel_providers:\n  - {model: 5}\n")
    result = run("validate", str(path), cwd=tmp_path)
    assert result.returncode == 1
    assert f"{path}:2" in result.stderr
    assert "listenerz" in result.stderr
    assert f"{path}:4" in result.stderr
    assert "Traceback" not in result.stderr


def test_validate_without_a_config_says_what_it_looked_for(tmp_path: Path) -> None:
    result = run("validate", cwd=tmp_path)
    assert result.returncode == 1
    assert "config.yaml" in result.stderr


def test_schema_prints_the_json_schema_of_the_file(tmp_path: Path) -> None:
    schema = json.loads(run("schema", cwd=tmp_path).stdout)
    config = yaml.safe_load(CONFIG.replace("{port}", "12000"))
    jsonschema.validate(config, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "listenerz": []}, schema)


def test_models_lists_what_clients_may_ask_for(tmp_path: Path) -> None:
    write_config(tmp_path)
    lines = run("models", cwd=tmp_path, env=SECRET).stdout.splitlines()
    assert any(line.startswith("openai/gpt-4o ") and "default" in line for line in lines)
    assert any(line.startswith("fast ") and "alias of openai/gpt-4o" in line for line in lines)


def test_start_with_a_broken_config_is_one_clear_paragraph(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    result = run("start", str(path), "--run-dir", str(tmp_path / "run"), cwd=tmp_path)
    assert result.returncode == 1
    assert "SECRET_KEY" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_start_refuses_a_wrong_setting(tmp_path: Path) -> None:
    result = run("start", "--workers", "0", cwd=tmp_path)
    assert result.returncode == 1
    assert "--workers" in result.stderr


def test_start_names_the_listener_whose_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        path = tmp_path / "plano.yaml"
        path.write_text(CONFIG.replace("{port}", str(other.getsockname()[1])), encoding="utf-8")
        arguments = ("--admin", "127.0.0.1:0", "--run-dir", str(tmp_path / "run"))
        result = run("start", str(path), *arguments, cwd=tmp_path, env=SECRET)
    assert result.returncode == 1
    assert "listener 'egress'" in result.stderr
    assert "is in use" in result.stderr


def test_the_life_of_a_cluster_through_the_command_line(tmp_path: Path) -> None:
    with ClusterProcess(CONFIG, SECRET, workers=2) as cluster:
        assert f"\nPlano {plano.__version__} is ready in " in f"\n{cluster.log}"
        assert cluster.url in cluster.log
        assert cluster.admin_url in cluster.log
        assert "sk-very-secret" not in cluster.log
        place = ("--run-dir", str(cluster.run_dir))

        shown = run("status", *place, cwd=tmp_path)
        assert shown.returncode == 0
        assert f"is ready (pid {cluster.pid})" in shown.stdout
        assert "frontend 1" in shown.stdout
        described = json.loads(run("status", "--json", *place, cwd=tmp_path).stdout)
        assert described["running"] is True
        assert described["pid"] == cluster.pid
        assert {child["state"] for child in described["cluster"]["children"]} == {"ready"}

        stopped = run("stop", *place, cwd=tmp_path)
        assert stopped.returncode == 0
        assert f"pid {cluster.pid}" in stopped.stdout
        assert cluster.wait() == 0

        assert run("status", *place, cwd=tmp_path).returncode == 3
        again = run("stop", *place, cwd=tmp_path)
        assert again.returncode == 0
        assert "No cluster is running" in again.stdout


def test_a_cluster_that_is_just_starting_is_said_to_be(tmp_path: Path) -> None:
    place = RunDir(tmp_path / "run")
    place.acquire()
    try:
        result = run("status", "--run-dir", str(place.path), cwd=tmp_path)
        assert (result.returncode, "just starting" in result.stdout) == (3, True)
        assert run("stop", "--run-dir", str(place.path), cwd=tmp_path).returncode == 1
    finally:
        place.release()


def test_without_a_config_the_providers_of_the_environment_are_wired(tmp_path: Path) -> None:
    command = [PLANO_CLUSTER, "start", "--workers", "1", "--admin", "127.0.0.1:0", "--run-dir", str(tmp_path / "run")]
    environ = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    with subprocess.Popen(
        [*command, "--port", str(find_free_port())],
        cwd=tmp_path,
        env={**environ, "GROQ_API_KEY": "gsk-very-secret"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                if line.strip().startswith("stop"):
                    break
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
    text = "".join(lines)
    assert "listener llm" in text
    assert "keys found for groq" in text
    assert "groq/*, openai/*" in text
    assert "gsk-very-secret" not in text


def test_the_demo_shows_everything_working_and_ends(tmp_path: Path) -> None:
    arguments = ("--workers", "1", "--admin", "127.0.0.1:0", "--run-dir", str(tmp_path / "run"))
    result = run("start", "--demo", "--once", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "All of it worked." in result.stdout
    assert "x-plano-model: openai/demo-backup, x-plano-attempts: 3" in result.stdout
    assert "plano_failovers_total{" in result.stdout
    assert "curl http://127.0.0.1:" in result.stdout
    assert "Traceback" not in result.stderr


def test_the_config_of_the_demo_is_valid(tmp_path: Path) -> None:
    config = Path(plano.__file__).parent / "demo" / "demo.yaml"
    urls = {"PLANO_DEMO_FIRST_URL": "http://127.0.0.1:8001", "PLANO_DEMO_SECOND_URL": "http://127.0.0.1:8002"}
    assert run("validate", str(config), cwd=tmp_path, env=urls).returncode == 0
