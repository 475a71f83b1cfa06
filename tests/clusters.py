"""A whole cluster as a user starts it: the real `plano-cluster start` with a config, on free ports, in its own run dir.

    CONFIG = '''
    version: v0.4.0
    listeners:
      - {type: model, name: egress, address: 127.0.0.1, port: {port}}
    model_providers:
      - {model: openai/gpt-4o, base_url: $PROVIDER_URL, access_key: k, default: true}
    '''
    with ClusterProcess(CONFIG, {"PROVIDER_URL": demo_provider.url}, workers=2) as cluster:
        requests.post(f"{cluster.url}/v1/chat/completions", ...)
        os.kill(cluster.children()["frontend 0"]["pid"], signal.SIGKILL)
        cluster.wait_until(lambda: 'plano_child_restarts_total{child="frontend 0"} 1.0' in cluster.metrics())

`{port}`, `{port2}`, `{port3}` in the config become free ports.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import psutil

PLANO_CLUSTER = str(Path(sys.executable).with_name("plano-cluster"))
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
_PORT_NAMES = ("{port}", "{port2}", "{port3}")
_ATTEMPTS = 5  # another test may take the port between our choice and the start


class ClusterProcess:
    """A running cluster. `url` is the first listener's, `admin_url` the admin server's, `pid` the supervisor's."""

    def __init__(
        self,
        config_text: str,
        env: Mapping[str, str] | None = None,
        workers: int = 2,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="plano-test-"))
        self.run_dir = self.folder / "run"
        self.info: dict[str, Any] = {}
        self._log_path = self.folder / "cluster.log"
        self._config_text = config_text
        self._env = {**os.environ, **(env or {})}
        self._command = [
            *(PLANO_CLUSTER, *self._what_to_run(workers), str(self.folder / "plano.yaml")),
            *("--admin", "127.0.0.1:0", "--run-dir", str(self.run_dir)),
            *arguments,
        ]
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _what_to_run(self, workers: int) -> tuple[str, ...]:
        return ("start", "--workers", str(workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor."""
        assert self._process is not None
        return self._process

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self.process.pid

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT` of the first listener."""
        return str(self.info["listeners"][0]["url"])

    @property
    def host(self) -> str:
        """The host of `url`."""
        return str(urlsplit(self.url).hostname)

    @property
    def port(self) -> int:
        """The port of `url`."""
        return int(urlsplit(self.url).port or 0)

    @property
    def admin_url(self) -> str:
        """`http://127.0.0.1:PORT` of the admin server."""
        return str(self.info["admin"])

    @property
    def log(self) -> str:
        """Everything the cluster has printed."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def children(self) -> dict[str, dict[str, Any]]:
        """The children as /cluster describes them, by name: "frontend 0", "telemetry"."""
        return {child["name"]: child for child in json.loads(self.admin("/cluster")[1])["children"]}

    def metrics(self) -> str:
        """The text of /metrics."""
        return self.admin("/metrics")[1]

    def admin(self, path: str) -> tuple[int, str]:
        """(status, body) of a GET at the admin server."""
        parts = urlsplit(self.admin_url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Waits until the condition holds; raises AssertionError with the log when it does not.

        A connection that fails counts as "not yet": the admin server may just be coming back.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.02)
        raise AssertionError(f"not within {timeout_s} s; the cluster said:\n{self.log}")

    def terminate(self) -> None:
        """SIGTERM: the cluster drains."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """The exit status of the supervisor."""
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """Ends everything, kindly first."""
        if self._process is not None:
            family = self._family()
            if self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            for process in family:
                if process.is_running():
                    process.kill()
        if self.info:
            # A supervisor that was killed could not.
            shutil.rmtree(self.info["ipc_dir"], ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _start(self) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            text = self._config_text
            for name in _PORT_NAMES:
                if name in text:
                    text = text.replace(name, str(find_free_port()))
            (self.folder / "plano.yaml").write_text(text, encoding="utf-8")
            with self._log_path.open("wb") as log:
                self._process = subprocess.Popen(
                    self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            if self._becomes_ready():
                return
            if self._process.poll() is None or "is in use" not in self.log or attempt == _ATTEMPTS:
                raise AssertionError(f"the cluster did not start:\n{self.log}")

    def _becomes_ready(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.info = json.loads((self.run_dir / "cluster.json").read_text(encoding="utf-8"))
            except FileNotFoundError:
                time.sleep(0.02)
            else:
                return True
        return False


class InferenceNode(ClusterProcess):
    """`plano-cluster inference` on a free port of 127.0.0.1. `address` is what frontends are given."""

    CONFIG = "version: v0.4.0\nlisteners: []\ninference: {guard: {engine: embedded}}\n"

    def __init__(
        self,
        config_text: str = CONFIG,
        env: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = ("--bind", "tcp://127.0.0.1:0"),
    ) -> None:
        super().__init__(config_text, env, arguments=arguments)

    def _what_to_run(self, workers: int) -> tuple[str, ...]:
        return ("inference",)

    @property
    def address(self) -> str:
        """`tcp://127.0.0.1:PORT`."""
        return str(self.info["inference"][0])


def find_free_port() -> int:
    """A port that is free at this moment on 127.0.0.1 (another process may take it the next)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
