from __future__ import annotations

import pytest

from plano.inference.embedded.routing import EmbeddedOrchestrator


@pytest.fixture(scope="session")
def orchestrator() -> EmbeddedOrchestrator:
    """The shipped weights, loaded once: half a second."""
    return EmbeddedOrchestrator()
