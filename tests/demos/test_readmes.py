"""What the pages of the examples tell a user to type is typed, while the example is up; Ctrl-C ends all of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from shutil import which

import pytest

from tests.demos.runs import NAMES, ROOT, STAYS, DemoRun
from tests.docs.pages import blocks, commands

LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
PAGES = ("demos/README.md", *(f"demos/{name}/README.md" for name in NAMES))


@pytest.mark.skipif(not which("curl"), reason="no curl on this machine")
@pytest.mark.parametrize("name", NAMES)
def test_the_requests_of_a_page_are_answered_until_ctrl_c(name: str) -> None:
    typed = [command for block in blocks("sh", f"demos/{name}/README.md") for command in commands(block)]
    assert typed[0] == f"demos/{name}/run"
    assert len(typed) > 2
    in_config = (ROOT / "demos" / name / "config.yaml").read_text(encoding="utf-8")
    with DemoRun(name, "--free-ports") as run:
        run.wait_for(STAYS)
        for command in typed[1:]:
            assert command.startswith("curl ")
            (port,) = re.findall(r"127\.0\.0\.1:(\d+)", command)
            assert f"port: {port}\n" in in_config
            listener = re.search(rf"name: (\w+)\n.*\n +port: {port}\n", in_config)
            assert listener is not None
            result = subprocess.run(
                ["bash", "-c", command.replace(port, str(run.ports[listener[1]]))],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert '"message"' in result.stdout or "data: [DONE]" in result.stdout or '"data"' in result.stdout
        assert "WRONG" not in run.output
        run.interrupt()
        assert run.wait() == 0
        assert run.find_processes() == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert ((ROOT / page).parent / Path(target)).exists(), target
