"""Fixtures of the demo provider's own tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from plano.demo.provider import DemoProvider, start_provider
from tests.providers import DemoProcess


@pytest.fixture
async def provider() -> AsyncIterator[DemoProvider]:
    """A provider in this process, fresh for the test."""
    started = await start_provider()
    yield started
    await started.close()


@pytest.fixture(scope="module")
def running_provider() -> Iterator[DemoProcess]:
    """A provider process shared by the tests of one file, for clients that block."""
    with DemoProcess.start() as process:
        yield process
