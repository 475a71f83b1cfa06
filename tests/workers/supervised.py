"""A supervisor in a process of its own, with a test's role in its children."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0


class SupervisedCluster:
    """Starts with `with`; ends with everything it started killed."""

    def __init__(self, tmp_path: Path, role: str = "answer_pid", **options: Any) -> None:
        self.run_dir = tmp_path / "run"
        self._log_path = tmp_path / "supervisor.log"
        self._options = {"run_dir": str(self.run_dir), "role": role, **options}
        self.info: dict[str, Any] = {}

    def __enter__(self) -> SupervisedCluster:
        self.start()
        line = self.process.stdout.readline() if self.process.stdout else b""
        if not line:
            self.close()
            raise AssertionError(f"the cluster did not start:\n{self.log}")
        self.info = json.loads(line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.workers.runner", json.dumps(self._options)],
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def close(self) -> None:
        children = self._descendants()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        for child in children:
            if child.is_running():
                child.kill()
        if self.info:
            # A supervisor that was killed could not.
            shutil.rmtree(self.info["ipc_dir"], ignore_errors=True)

    @property
    def log(self) -> str:
        return self._log_path.read_text(encoding="utf-8")

    @property
    def port(self) -> int:
        return int(self.info["listeners"][0]["port"])

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def child_processes(self) -> list[psutil.Process]:
        return self._descendants()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        return self.process.wait(timeout_s)

    def admin(self, path: str) -> tuple[int, str]:
        """(status, body) of the admin port."""
        url = urlsplit(self.info["admin"])
        assert url.port is not None
        return fetch(url.port, path)

    def children(self) -> dict[str, dict[str, Any]]:
        """/cluster, by the name of the child."""
        return {child["name"]: child for child in json.loads(self.admin("/cluster")[1])["children"]}

    def until(self, condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        """Waits until it holds; an admin port that is just being restarted counts as not yet."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.02)
        raise AssertionError(f"{what}: not within {patience_s} s\n{self.log}")


def fetch(port: int, path: str, timeout_s: float = 10.0) -> tuple[int, str]:
    """GET from 127.0.0.1 on a fresh connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
