"""The processes of an example: the demo provider, its own services, and a Plano cluster in front of them.

    with Stage(show, ports) as stage:
        stage.urls["agents"]     where a listener is
        stage.lines_since(0)     what the services have said, in order

Everything is started in the order in which it is needed, and ended in the opposite one, whatever happens. Where this
process is killed they end by themselves.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from demos.service import NAME_VARIABLE

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.05
MAX_LINES = 10_000  # of the services, kept for `lines_since`
PROVIDER = "provider"
_ATTEMPTS = 3  # with free ports: another process may take one between our choice and its use


class StageError(Exception):
    """A process that did not start, or has ended; the message is for people."""


class PortTaken(StageError):
    """A port that something else listens on."""


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the example: `python -m {module} --port PORT`, and `arguments`, where `{model}` is the port of the
    listener of that name."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Set:
    """What an example needs: a folder with `config.yaml`, services, and the ports that stand in the config, by the name
    of whoever listens there (a service, a listener, or "provider")."""

    folder: Path
    services: tuple[Service, ...]
    ports: Mapping[str, int]


class Line(NamedTuple):
    """Something a service has said."""

    service: str
    text: str


class Stage:
    """See the module. Raises StageError when something does not start."""

    def __init__(self, wanted: Set, *, free_ports: bool = False) -> None:
        self._wanted = wanted
        self._free_ports = free_ports
        self.ports: dict[str, int] = {}
        self.info: dict[str, Any] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._reader: threading.Thread | None = None
        self._pipe = -1  # the end that the services write to
        self._lines: list[Line] = []
        self._lock = threading.Lock()
        self._width = max(len(service.name) for service in wanted.services)

    def __enter__(self) -> Self:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._start()
                break
            except PortTaken:
                self.close()
                if not self._free_ports or attempt == _ATTEMPTS:
                    raise
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def admin_url(self) -> str:
        """`http://127.0.0.1:PORT` of the cluster's admin server."""
        return str(self.info["admin"])

    def url(self, name: str) -> str:
        """Where a service or a listener is."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def say(self, text: str = "") -> None:
        """Print a line; lines of the services do not get in between."""
        with self._lock:
            print(text, flush=True)

    def mark(self) -> int:
        """How much the services have said so far."""
        with self._lock:
            return len(self._lines)

    def lines_since(self, mark: int) -> list[Line]:
        """What they have said since then."""
        with self._lock:
            return self._lines[mark:]

    def find_ended(self) -> str | None:
        """The name of a process that should run and does not; None when all is well."""
        return next((name for name, process in self._processes if process.poll() is not None), None)

    def close(self) -> None:
        """End every process, the cluster first, and wait until they are gone."""
        for _, process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self._processes.clear()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
        if self._reader is not None:
            self._reader.join(STOP_TIMEOUT_S)
            self._reader = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    # -- starting ----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.ports = choose_ports(self._wanted.ports, free=self._free_ports)
        self._folder = tempfile.TemporaryDirectory(prefix="plano-demo-")
        self._open_pipe()
        self._start_service(PROVIDER, ("plano.demo.provider", "--chunk-delay-ms", "15", "--exit-with-parent"))
        for service in self._wanted.services:
            arguments = [argument.format_map(self.ports) for argument in service.arguments]
            self._start_service(service.name, (service.module, *arguments))
        self._start_cluster(Path(self._folder.name))

    def _open_pipe(self) -> None:
        # One for all: what a service says after another one is read after it, too.
        reading, self._pipe = os.pipe()
        self._reader = threading.Thread(target=self._relay, args=(reading,), name="lines of services")
        self._reader.start()

    def _start_service(self, name: str, command: Sequence[str]) -> None:
        module, *arguments = command
        self._spawn(name, ["-m", module, "--port", str(self.ports[name]), *arguments], self._pipe)
        try:
            self._await(name, lambda: is_taken(self.ports[name]))
        except StageError as error:
            raise (PortTaken if is_taken(self.ports[name]) else StageError)(str(error)) from error

    def _start_cluster(self, folder: Path) -> None:
        config = (self._wanted.folder / "config.yaml").read_text(encoding="utf-8")
        path = folder / "config.yaml"
        path.write_text(move_ports(config, self._wanted.ports, self.ports), encoding="utf-8")
        log_path = folder / "cluster.log"
        with log_path.open("w", encoding="utf-8") as log:
            self._spawn(
                "cluster",
                [
                    *("-m", "demos.lifeline", "plano.cli.main", "start", str(path), "--workers", "1"),
                    *("--admin", "127.0.0.1:0", "--run-dir", str(folder / "run")),
                ],
                log.fileno(),
            )
        info = folder / "run" / "cluster.json"
        try:
            self._await("cluster", info.exists)
        except StageError as error:
            said = log_path.read_text(encoding="utf-8", errors="replace")
            kind = PortTaken if "is in use" in said else StageError
            raise kind(f"{error}; it said:\n{said}") from error
        self.info = json.loads(info.read_text(encoding="utf-8"))

    def _spawn(self, name: str, arguments: list[str], output: int) -> None:
        # The examples show the models that come with the package; they are not to wait for the download of others
        # because the machine has a GPU.
        searched = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": searched, NAME_VARIABLE: name, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if name == PROVIDER else output,
            stderr=output,
            process_group=0,  # Ctrl-C is for us alone: we end them, in order
        )
        self._processes.append((name, process))

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready` holds. Raises StageError when the process ends before, or does not get there in time."""
        process = self._processes[-1][1]
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while process.poll() is None:
            if ready():
                return
            if time.monotonic() > deadline_s:
                raise StageError(f"{name} is not ready after {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)
        raise StageError(f"{name} ended with status {process.returncode} instead of starting")

    def _relay(self, reading: int) -> None:
        """Print what the services say, and keep it. Runs in a thread of its own until the last of them has ended."""
        with open(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, tab, text = line.rstrip().partition("\t")
                if not tab or len(name) > self._width:
                    name, text = "", line.rstrip()  # not what a service reports: an error, most likely
                with self._lock:
                    if len(self._lines) < MAX_LINES:
                        self._lines.append(Line(name, text))
                    print(f"   {name:>{self._width}} | {text}", flush=True)


def choose_ports(defaults: Mapping[str, int], *, free: bool) -> dict[str, int]:
    """The port of everybody: `PLANO_DEMO_PORT_<NAME>` of the environment, else the default; free ones if `free`.

    Raises PortTaken for one that something else listens on, StageError for one that is no port.
    """
    ports: dict[str, int] = {}
    probes = []
    try:
        for name, default in defaults.items():
            variable = f"PLANO_DEMO_PORT_{name.upper()}"
            given = os.environ.get(variable, "")
            if given and not (given.isdecimal() and int(given) < 65536):
                raise StageError(f"{variable}={given} is not a port")
            port = int(given) if given else 0 if free else default
            if port and is_taken(port):
                advice = f"set {variable} to another one, or say --free-ports"
                raise PortTaken(f"port {port}, where {name} is to listen, is in use: {advice}")
            probe = socket.socket()
            probes.append(probe)  # held until all are chosen, so that no two are the same
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise PortTaken(f"port {port}, where {name} is to listen, cannot be used: {error.strerror}") from error
            ports[name] = int(probe.getsockname()[1])
    finally:
        for probe in probes:
            probe.close()
    return ports


def move_ports(config: str, defaults: Mapping[str, int], ports: Mapping[str, int]) -> str:
    """The config with the ports of this run in the places of those that stand there."""
    moved = {str(default): str(ports[name]) for name, default in defaults.items()}
    return re.sub(rf"\b({'|'.join(moved)})\b", lambda match: moved[match[1]], config)


def is_taken(port: int) -> bool:
    """Does something accept connections on this port of 127.0.0.1?"""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
