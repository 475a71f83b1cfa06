"""The agent of the help desk: it puts nothing but a few words of its own before the conversation that reaches it.

python -m demos.guardrails.help_desk --port 10540 --model-url http://127.0.0.1:12000
"""

from __future__ import annotations

from aiohttp import web

from demos.service import Model, find_question, report, serve

PERSONA = (
    "You are the help desk of Nimbus Audio, which makes headphones. Answer from the passages of the handbook in the "
    "question; when they do not say it, say that you do not know."
)


def make_app(model_url: str) -> web.Application:
    """The agent; `model_url` is where Plano's model listener is."""
    model = Model(model_url)

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        report(f"asked {find_question(body['messages'])!r}")
        messages = [{"role": "system", "content": PERSONA}, *body["messages"]]
        return await model.answer(request, messages, stream=bool(body.get("stream")))

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    return app


if __name__ == "__main__":
    serve(make_app)
