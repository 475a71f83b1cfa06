"""A filter over HTTP: it refuses what the help desk does not talk about, and masks what no model has to know.

    python -m demos.guardrails.policy --port 10550

It is posted `{"model", "messages"}` at the path of the request. An answer of 2xx takes its place; one of 4xx ends the
request with that status and message.
"""

from __future__ import annotations

import re

from aiohttp import web

from demos.service import Json, find_question, report, serve

REFUSED = re.compile(r"\b(lawsuit|sue you|lawyer|diagnos\w+|tinnitus)\b", re.IGNORECASE)
REFUSAL = "The help desk gives no legal or medical advice. Please write to care@nimbus.example."
MASKS = (
    (re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"), "[e-mail]"),
    (re.compile(r"\b(?:\d[ -]?){13,16}\b"), "[card number]"),
)


def mask(value: object) -> object:
    """A message, or a part of one, without addresses and card numbers in its texts."""
    if isinstance(value, str):
        for pattern, instead in MASKS:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, list):
        return [mask(part) for part in value]
    if isinstance(value, dict):
        return {key: mask(part) if key in ("content", "text") else part for key, part in value.items()}
    return value


async def check(request: web.Request) -> web.Response:
    """Refuse a conversation, or let it pass masked."""
    body: Json = await request.json()
    if match := REFUSED.search(find_question(body["messages"])):
        report(f"refuses {match[0]!r}")
        return web.Response(status=403, text=REFUSAL)
    masked = {**body, "messages": [mask(message) for message in body["messages"]]}
    report("lets it pass" if masked == body else "masks what it says of a person")
    return web.json_response(masked)


def make_app(model_url: str) -> web.Application:
    """The filter, which has no use for a model."""
    app = web.Application()
    app.router.add_post("/{path:.*}", check)
    return app


if __name__ == "__main__":
    serve(make_app)
