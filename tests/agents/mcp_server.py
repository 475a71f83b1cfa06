"""A process with the MCP servers of `mcp_tools`: started, asked what it has seen, restarted, ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
Json = dict[str, Any]


class McpServer:
    """A running server. Its socket is ours, so that a restarted one has the same port and nothing is ever refused."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._socket.getsockname()[1]
        self._process = self._start()

    def url(self, kind: str = "json") -> str:
        """Where the server of this kind listens."""
        return f"http://127.0.0.1:{self.port}/{kind}/mcp"

    def seen(self, method: str | None = None, timeout_s: float = 20.0) -> list[Json]:
        """The messages that have come, of one method or all."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/seen", timeout=timeout_s) as response:
            return [one for one in json.load(response) if method in (None, one["method"])]

    def forget(self) -> None:
        """Forget what has come."""
        self.tell("/seen")

    def tell(self, path: str, **headers: str) -> None:
        """DELETE `path`."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers, method="DELETE")
        urllib.request.urlopen(request, timeout=20).close()

    def restart(self) -> None:
        """Kill the process and start another one that knows no session."""
        self._kill()
        self._process = self._start()

    def close(self) -> None:
        """End the process."""
        self._kill()
        self._socket.close()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def _start(self) -> subprocess.Popen[bytes]:
        fd = self._socket.fileno()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.agents.mcp_tools", str(fd)]
        process = subprocess.Popen(command, pass_fds=(fd,), env=environment, cwd=ROOT)
        limit_s = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None and time.monotonic() < limit_s:
            with contextlib.suppress(TimeoutError):
                self.seen(timeout_s=0.5)  # waits in the socket's queue until somebody listens
                return process
        process.kill()
        process.wait(10)
        raise TimeoutError("the MCP server did not start")
