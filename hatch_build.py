"""Builds the hot path as C extensions with mypyc, from the same typed Python that runs without it.

    python hatch_build.py            compile in place, beside the sources (what `make` does; needs a C compiler)
    python hatch_build.py --remove   back to plain Python

A wheel is built with the extensions when a C compiler is there, else (or with PLANO_PURE=1) as plain Python: slower,
otherwise the same. What is compiled is what runs for every request or every chunk, and what it touches.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # as a script, where hatchling is not needed
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).parent
GROUP = "plano_hot"  # the extension that holds the code; a small one per module points to it

HOT_PATH = (
    "plano/dialects/identity/chat.py",
    "plano/dialects/identity/forms.py",
    "plano/dialects/identity/plain.py",
    "plano/dialects/identity/wire.py",
    "plano/dialects/tokens.py",
    "plano/frontends/agent.py",
    "plano/frontends/agent_exchange.py",
    "plano/frontends/deadlines.py",
    "plano/frontends/delivery.py",
    "plano/frontends/errors.py",
    "plano/frontends/exchange.py",
    "plano/frontends/frontend.py",
    "plano/frontends/head.py",
    "plano/frontends/http1.py",
    "plano/frontends/listener.py",
    "plano/frontends/model.py",
    "plano/frontends/opening.py",
    "plano/frontends/outlet.py",
    "plano/frontends/payload.py",
    "plano/frontends/prompt.py",
    "plano/frontends/prompt_exchange.py",
    "plano/frontends/recorder.py",
    "plano/frontends/relay.py",
    "plano/frontends/request.py",
    "plano/frontends/routing_query.py",
    "plano/frontends/trace.py",
    "plano/frontends/translation.py",
    "plano/frontends/usage.py",
    "plano/frontends/verdicts.py",
    "plano/routing/preferences.py",
    "plano/inference/client.py",
    "plano/inference/engines/job.py",
    "plano/inference/figures.py",
    "plano/inference/lanes.py",
    "plano/inference/replicas.py",
    "plano/inference/server.py",
    "plano/inference/sockets.py",
    "plano/inference/wheel.py",
    "plano/inference/wire.py",
    "plano/telemetry/metrics.py",
    "plano/upstreams/attempts.py",
    "plano/upstreams/breaker.py",
    "plano/upstreams/candidate.py",
    "plano/upstreams/connection.py",
    "plano/upstreams/failures.py",
    "plano/upstreams/pool.py",
)

SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup
# Whether the types are right is the business of `make types`; here they are only used.
options = ["--config-file=", "--ignore-missing-imports"]
paths = sys.argv.pop(1).split(",")
setup(name="plano_hot", ext_modules=mypycify([*options, *paths], group_name={group!r}, opt_level="3", debug_level="0"))
"""


def compile_in_place(root: Path = ROOT) -> list[Path]:
    """Compile; answers the extensions made. Raises subprocess.CalledProcessError (compiler or types at fault).

    The work is done in a copy, and the extensions are moved into place when all are made.
    """
    with tempfile.TemporaryDirectory(prefix="plano-build-") as folder:
        copy = Path(folder)
        shutil.copytree(root / "plano", copy / "plano", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        (copy / "setup.py").write_text(SETUP.format(group=GROUP))
        command = [sys.executable, "setup.py", ",".join(HOT_PATH), "-q", "build_ext", "--inplace"]
        subprocess.run(command, check=True, cwd=copy)
        remove_extensions(root)
        for path in extensions(copy):
            shutil.move(path, root / path.relative_to(copy))
    return extensions(root)


def extensions(root: Path = ROOT) -> list[Path]:
    """The extensions that are there, compiled now or before."""
    beside = [path for source in HOT_PATH for path in (root / source).parent.glob(f"{Path(source).stem}.*.so")]
    return [*beside, *root.glob(f"{GROUP}__mypyc.*.so")]


def remove_extensions(root: Path = ROOT) -> None:
    for path in extensions(root):
        path.unlink()


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc,type-arg]
    """Hatchling's entry (https://hatch.pypa.io/latest/plugins/build-hook/custom/)."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get("PLANO_PURE"):
            return
        if shutil.which("cc") is None and shutil.which("gcc") is None:
            self.app.display_warning("no C compiler: building Plano as plain Python (slower, otherwise the same)")
            return
        for path in compile_in_place(Path(self.root)):
            relative = str(path.relative_to(self.root))
            build_data["force_include"][str(path)] = relative
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


if __name__ == "__main__":
    if "--remove" in sys.argv:
        remove_extensions()
    elif os.environ.get("PLANO_PURE") or (shutil.which("cc") is None and shutil.which("gcc") is None):
        remove_extensions()
        print("Plano runs as plain Python here: no C compiler found (or PLANO_PURE is set).")
    else:
        print(f"Compiled the hot path: {len(compile_in_place())} extensions.")
