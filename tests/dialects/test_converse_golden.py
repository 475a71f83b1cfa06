"""The golden requests for Bedrock are requests that Bedrock takes, and say what they left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dialects.bedrock import check_request

GOLDEN = Path(__file__).parent / "golden"
REQUESTS = sorted(GOLDEN.glob("*/upstream.converse.*json"))


@pytest.mark.parametrize("path", REQUESTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_requests_fit_the_model_of_the_service(path: Path) -> None:
    body = json.loads(path.read_text())
    if "untranslatable" not in body:
        check_request(body)


def test_there_are_golden_requests() -> None:
    assert len(REQUESTS) >= 10
