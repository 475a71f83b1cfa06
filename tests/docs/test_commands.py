"""What the pages tell a user to type is typed: every `sh` block, every example of a config, the Python of the README.

The cluster they talk to runs the README's config, its providers being the demo provider.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
import trustme
import yaml

from plano.config.compiling import compile_plan
from plano.config.loading import load
from plano.config.settings import Settings
from tests.clusters import ClusterProcess
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, read_page
from tests.providers import DemoProcess

KEYS = {"OPENAI_API_KEY": "sk-1", "MISTRAL_API_KEY": "sk-2", "ANTHROPIC_API_KEY": "sk-3"}
# Not typed here, and why.
ELSEWHERE = {
    "make ": "the targets are checked; `make test` is what runs this",
    "pre-commit install": "would change this checkout; the hooks are checked",
    "python hatch_build.py": "would change the code that other tests run",
    "python docs/reference.py": "test_reference.py",
    "python -m pytest": "this is it",
}


class Reader:
    """Somebody who follows the pages, in a folder with the README's config, beside a running cluster."""

    def __init__(self, folder: Path, provider: DemoProcess) -> None:
        self.folder = folder
        (readme_config,) = [block for block in blocks("yaml", "README.md") if block.text.startswith("version:")]
        self._config = readme_config.text
        (folder / "plano.yaml").write_text(self._config, encoding="utf-8")
        # The same, with the providers and ports of this test.
        config = re.sub(r"(access_key: \$\w+)", rf"\1, base_url: '{provider.url}'", self._config)
        config = config.replace("port: 12000", "port: {port}")
        self._running_config = config
        self._cluster: ClusterProcess | None = None

    @property
    def cluster(self) -> ClusterProcess:
        """The running cluster; a page may have stopped the last one."""
        if self._cluster is None or self._cluster.process.poll() is not None:
            self.close()
            self._cluster = ClusterProcess(self._running_config, KEYS, workers=1)
        return self._cluster

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of a page in a shell, with the addresses of this test's cluster."""
        return self._run(["bash", "-euo", "pipefail", "-c", self._translate(command)])

    def run_python(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run a Python block of a page."""
        return self._run([sys.executable, "-c", self._translate(text)])

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.close()

    def _translate(self, text: str) -> str:
        text = text.replace("http://127.0.0.1:12000", self.cluster.url)
        return text.replace("http://127.0.0.1:19901", self.cluster.admin_url)

    def _run(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            arguments,
            cwd=self.folder,
            env={**os.environ, **KEYS, "PATH": path, "PLANO_RUN_DIR": str(self.cluster.run_dir)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def reader(tmp_path: Path, demo_provider: DemoProcess) -> Iterator[Reader]:
    someone = Reader(tmp_path, demo_provider)
    yield someone
    someone.close()


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work(page: str, reader: Reader) -> None:
    assert blocks("sh", page), "a page without commands needs no place in PAGES"
    for block in blocks("sh", page):
        for command in commands(block):
            if command.startswith(tuple(ELSEWHERE)) or (command.startswith("curl") and not which("curl")):
                continue
            if command.startswith(("plano-cluster start", "plano-cluster inference")):
                command += " --help"  # stays in the foreground; the options are read all the same
            result = reader.type(command)
            assert result.returncode == 0, f"{block.place}: {command}\n{result.stdout}{result.stderr}"


@pytest.mark.skipif(not which("curl"), reason="no curl on this machine")
def test_the_chat_of_the_readme_is_answered(reader: Reader) -> None:
    (chat,) = [
        command
        for block in blocks("sh", "README.md")
        for command in commands(block)
        if "/v1/chat/completions" in command
    ]
    result = reader.type(chat)
    assert yaml.safe_load(result.stdout)["choices"][0]["message"]["content"], result.stderr


@pytest.mark.parametrize("snippet", blocks("python", "README.md"), ids=lambda block: block.place)
def test_the_python_of_the_readme_gets_an_answer(snippet: Block, reader: Reader) -> None:
    result = reader.run_python(snippet.text)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def write_certificates(folder: Path) -> None:
    """The files that the page on TLS names."""
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("gateway.test")
    (folder / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "clients.pem")


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.place)
def test_the_configs_of_the_pages_are_good(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = block.text
    monkeypatch.chdir(tmp_path)
    write_certificates(tmp_path / "certs")
    if not text.startswith("version:"):
        text = "version: v0.4.0\nlisteners: [{type: model, name: llm, address: 127.0.0.1, port: 12000}]\n" + text
    path = tmp_path / "plano.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, KEYS)
    assert loaded.warnings == ()
    plan = compile_plan(loaded.config, Settings())
    assert any(provider.default for provider in plan.providers)


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "loadtests/README.md", ".pre-commit-config.yaml", ".ci/run"])
def test_the_make_targets_that_pages_name_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read_page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|entry: )make ([a-z]+)", read_page(page), re.MULTILINE))
    assert named <= targets
    assert named or page.startswith("docs/") or page in ("CHANGELOG.md", "loadtests/README.md")


def test_every_command_of_the_command_line_is_in_the_readme() -> None:
    from plano.cli.main import main

    told = set(re.findall(r"^\| `plano-cluster ([a-z]+)", read_page("README.md"), re.MULTILINE))
    assert told == set(main.commands)


def test_the_hooks_are_local_and_run_what_ci_runs() -> None:
    (repository,) = yaml.safe_load(read_page(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    assert {hook["entry"] for hook in repository["hooks"]} >= {"make lint", "make types", "make test"}
    assert "make test" in read_page(".ci/run")
    checked = subprocess.run(
        [Path(sys.executable).with_name("pre-commit"), "validate-config"], cwd=ROOT, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
