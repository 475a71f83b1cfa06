"""Fixtures for every room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.providers import DemoProcess


@pytest.fixture
def demo_provider() -> Iterator[DemoProcess]:
    """A fresh demo provider in a process of its own: no faults queued, nothing received."""
    with DemoProcess.start() as provider:
        yield provider
