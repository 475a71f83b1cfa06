"""The bus runs on uvloop, as in the processes, with its sockets in a folder of the test's own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import uvloop

from tests.inference.bus.ends import Ends


def pytest_configure(config: pytest.Config) -> None:
    # Its successor does not exist yet in all versions of pytest-asyncio that we admit.
    config.addinivalue_line("filterwarnings", "ignore:Overriding the .event_loop_policy:DeprecationWarning")


@pytest.fixture(scope="session")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a socket's path has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="plano-bus-") as path:
        yield Path(path)


@pytest.fixture
async def ends(folder: Path) -> AsyncIterator[Ends]:
    async with Ends(folder) as ends:
        yield ends
