"""Frontends read a plan without pydantic or YAML in memory."""

from __future__ import annotations

import subprocess
import sys


def test_plan_is_light() -> None:
    code = "import sys, plano.config.plan; print(sorted({'pydantic', 'yaml', 'dotenv'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
