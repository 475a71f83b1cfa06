"""What a running cluster leaves on disk: a lock, a description of itself, and a folder for ipc sockets.

run_dir/cluster.lock    flock held by the supervisor for as long as it lives
run_dir/cluster.json    who and where it is; read by `plano-cluster stop` and `status`
/tmp/plano-xxxxxxxx/    ipc sockets; a short path, for a unix socket's may not exceed 107 bytes
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from plano.workers.failures import StartError

_IPC_PREFIX = "plano-"
_UNIX_PATH_BYTES = 107
_LONGEST_SOCKET_NAME = 24
_LOCK_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """The content of cluster.json. `started` is a Unix time in seconds; `admin` and the listeners' `url` are URLs.

    `inference` are addresses: of inference processes elsewhere, or where this one is reached from elsewhere; empty when
    it is of no concern to anybody else. `models` says by role what runs here: "vllm katanemo/Plano-Orchestrator-4B".
    """

    pid: int
    version: str
    started: float
    config: str | None
    workers: int
    admin: str
    ipc_dir: str
    listeners: list[dict[str, Any]] = field(default_factory=list)
    inference: list[str] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)


class RunDir:
    """The folder of one cluster, created 0700 on first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._ipc_dir: Path | None = None

    @property
    def _lock_path(self) -> Path:
        return self.path / "cluster.lock"

    @property
    def _info_path(self) -> Path:
        return self.path / "cluster.json"

    def acquire(self) -> None:
        """Takes the lock for this process. Raises StartError when a cluster holds it or the folder is of no use."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                f"run folder {self.path}: {error.strerror}; choose another with --run-dir or PLANO_RUN_DIR"
            ) from error
        if not _lock_exclusively(lock):
            os.close(lock)
            running = self.read()
            who = f"pid {running.pid}" if running else "its process is just starting"
            raise StartError(
                f"a cluster already runs from {self.path} ({who}); stop it with "
                f"`plano-cluster stop --run-dir {self.path}`, or start this one with another --run-dir"
            )
        self._lock = lock
        self._remove_leftovers()

    def make_ipc_dir(self) -> Path:
        """A fresh 0700 folder for unix sockets."""
        base = Path(tempfile.gettempdir())
        if len(os.fsencode(base)) + len(_IPC_PREFIX) + 10 + _LONGEST_SOCKET_NAME > _UNIX_PATH_BYTES:
            base = Path("/tmp")  # noqa: S108 - mkdtemp makes the folder unguessable and 0700
        self._ipc_dir = Path(tempfile.mkdtemp(prefix=_IPC_PREFIX, dir=base))
        return self._ipc_dir

    def publish(self, info: ClusterInfo) -> None:
        """Writes cluster.json, whole or not at all."""
        draft = self._info_path.with_suffix(".json.new")
        draft.write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(self._info_path)

    def release(self) -> None:
        """Removes what `make_ipc_dir` and `publish` made and gives the lock back. May be called twice."""
        if self._ipc_dir is not None:
            shutil.rmtree(self._ipc_dir, ignore_errors=True)
            self._ipc_dir = None
        if self._lock is not None:
            self._info_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def read(self) -> ClusterInfo | None:
        """What cluster.json says, None when there is none (or it is not ours)."""
        try:
            return ClusterInfo(**json.loads(self._info_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def is_held(self) -> bool:
        """Whether a supervisor lives: the kernel drops its lock with it, whatever it died of."""
        try:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _remove_leftovers(self) -> None:
        """A supervisor that was killed could not remove its ipc folder: its successor does."""
        previous = self.read()
        if previous is None:
            return
        left = Path(previous.ipc_dir)
        in_place = left.parent in (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - a comparison
        if in_place and left.name.startswith(_IPC_PREFIX) and left.is_dir() and left.stat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
        self._info_path.unlink(missing_ok=True)


def _lock_exclusively(lock: int) -> bool:
    """Whether the lock could be had; `is_held` of another process may hold it for an instant."""
    for attempt in range(_LOCK_ATTEMPTS):
        if attempt:
            time.sleep(0.05)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False
