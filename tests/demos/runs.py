"""An example as a user runs it: `demos/travel/run`, on free ports, in a session of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ROOT = Path(__file__).parents[2]
NAMES = ("travel", "guardrails", "weather")
TIMEOUT_S = 100.0
STAYS = "Everything stays up until Ctrl-C"
_ADDRESS = re.compile(r"^ +(\w+)  http://127\.0\.0\.1:(\d+)$", re.MULTILINE)


class DemoRun:
    """A running example; `output` is what it has printed so far."""

    def __init__(self, name: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._lines: list[str] = []
        self._said = threading.Condition()
        self._process = subprocess.Popen(
            [ROOT / "demos" / name / "run", *arguments],
            cwd="/",
            env={**os.environ, "PYTHON": sys.executable, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.interrupt()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            for process in self.find_processes():
                process.kill()
            self._process.wait()
        self._reader.join(10)

    @property
    def output(self) -> str:
        """Everything it has printed."""
        with self._said:
            return "".join(self._lines)

    @property
    def ports(self) -> dict[str, int]:
        """The ports that it says it uses, by name."""
        return {name: int(port) for name, port in _ADDRESS.findall(self.output)}

    def scene(self, number: int) -> str:
        """What it has printed about one of its requests."""
        return self.output.partition(f"\n{number}. ")[2].partition(f"\n{number + 1}. ")[0]

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """The end that it cannot do anything about."""
        self._process.kill()

    def wait(self) -> int:
        """Its exit status, when it has ended."""
        status = self._process.wait(TIMEOUT_S)
        self._reader.join(10)
        return status

    def wait_for(self, text: str) -> None:
        """Wait until it has printed this. Raises AssertionError with what it has printed instead."""
        with self._said:
            found = self._said.wait_for(
                lambda: any(text in line for line in self._lines) or not self._reader.is_alive(), TIMEOUT_S
            )
            assert found, "".join(self._lines)
            assert any(text in line for line in self._lines), "".join(self._lines)

    def find_processes(self) -> list[psutil.Process]:
        """All processes that belong to it, in whatever state."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue  # it has ended meanwhile
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self._lines.append(line)
                self._said.notify_all()
        with self._said:
            self._said.notify_all()
        self._process.stdout.close()
