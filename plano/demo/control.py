"""The control endpoints of the provider, under `/_demo/`: queue faults and answers, read the journal."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from plano.demo.delivery import make_json
from plano.demo.faults import FaultBook
from plano.demo.journal import Journal
from plano.demo.prompts import PromptError
from plano.demo.scripts import ScriptBook

CONTROL_PREFIX = "/_demo/"


class Control:
    """Answers `/_demo/faults`, `/_demo/answers`, `/_demo/requests` and `/_demo/stats`."""

    def __init__(self, book: FaultBook, scripts: ScriptBook, journal: Journal) -> None:
        self._book = book
        self._scripts = scripts
        self._journal = journal

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one control request. Raises PromptError for a path, method or body it does not know."""
        match request.method, request.path.removeprefix(CONTROL_PREFIX):
            case "POST", "faults":
                return _answer(self._queue_faults(await request.read()))
            case "GET", "faults":
                return _answer({"pending": self._book.pending()})
            case "DELETE", "faults":
                self._book.clear()
                return _answer({"pending": {}})
            case "POST", "answers":
                return _answer(self._queue_answers(await request.read()))
            case "GET", "answers":
                return _answer({"pending": self._scripts.pending()})
            case "DELETE", "answers":
                self._scripts.clear()
                return _answer({"pending": {}})
            case "GET", "requests":
                return _answer(self._journal.describe_requests())
            case "DELETE", "requests":
                self._journal.clear()
                return _answer([])
            case "GET", "stats":
                return _answer(self._journal.describe_totals())
        raise PromptError(404, f"There is no {request.method} {request.path}.")

    def _queue_answers(self, body: bytes) -> dict[str, Any]:
        match _read_order(body):
            case {"model": str(model), "answers": list(texts)} if all(isinstance(t, str | None) for t in texts):
                return {"model": model, "queued": self._scripts.queue(model, texts)}
        raise PromptError(400, 'The body must be {"model": "...", "answers": ["Hello", null]}.', param="answers")

    def _queue_faults(self, body: bytes) -> dict[str, Any]:
        match _read_order(body):
            case {"model": str(model), "faults": list(names)} if all(isinstance(n, str | None) for n in names):
                return {"model": model, "queued": self._book.queue(model, names)}
        raise PromptError(400, 'The body must be {"model": "...", "faults": ["fail-503", null]}.', param="faults")


def _read_order(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PromptError(400, "The body is not JSON.") from error


def _answer(value: Any) -> web.Response:
    return make_json(orjson.dumps(value))
