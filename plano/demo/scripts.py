"""What models have been told to say, word for word: for tests of whatever reads their answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from plano.demo.faults import bare_model


class ScriptBook:
    """Texts by model, one for each of its next requests; without one it answers as ever."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[str | None]] = {}

    def queue(self, model: str, texts: Iterable[str | None]) -> int:
        """Append to a model's queue; None is an answer of the model's own. Returns the length of the queue."""
        queue = self._queues.setdefault(bare_model(model), deque())
        queue.extend(texts)
        return len(queue)

    def clear(self) -> None:
        """Forget every queue."""
        self._queues.clear()

    def pending(self) -> dict[str, list[str | None]]:
        """Return what is still queued, by model."""
        return {model: list(queue) for model, queue in self._queues.items() if queue}

    def take(self, model: str) -> str | None:
        """Return the text for one request of this model and take it off the queue."""
        queue = self._queues.get(bare_model(model))
        return queue.popleft() if queue else None
