"""Fixtures for every room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import hatch_build
from tests.providers import DemoProcess


def pytest_configure() -> None:
    """An extension older than its source would be tested in its place."""
    for source in hatch_build.HOT_PATH:
        path = hatch_build.ROOT / source
        for extension in path.parent.glob(f"{path.stem}.*.so"):
            if extension.stat().st_mtime < path.stat().st_mtime:
                pytest.exit(f"{extension.name} is older than {source}: run `make build`", returncode=3)


@pytest.fixture
def demo_provider() -> Iterator[DemoProcess]:
    """A fresh demo provider in a process of its own: no faults queued, nothing received."""
    with DemoProcess.start() as provider:
        yield provider
