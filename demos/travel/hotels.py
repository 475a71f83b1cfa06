"""The agent for hotels. When the agent for flights has been asked before it, it knows when the traveller arrives.

python -m demos.travel.hotels --port 10520 --model-url http://127.0.0.1:12000
"""

from __future__ import annotations

import re
from typing import NamedTuple

from aiohttp import web

from demos.service import Json, Model, find_question, read_text, report, serve

PERSONA = (
    "You are the hotels agent of a travel agency. The traveller asked: {question!r}. "
    "Tell them in a few sentences what was found; add nothing to it."
)
COLLEAGUE = "flights"


class Hotel(NamedTuple):
    """`opens` is the hour of check-in, `price` in EUR per night."""

    name: str
    price: int
    opens: int


HOTELS = {
    "Berlin": Hotel("Pension Linde", 92, 15),
    "Lisbon": Hotel("Casa Azul", 84, 14),
    "Oslo": Hotel("Fjordhuset", 131, 16),
}
_CITY = re.compile(rf"\b({'|'.join(HOTELS)})\b", re.IGNORECASE)
_ARRIVAL = re.compile(r"lands in (\w+) at (\d\d):(\d\d)")


def find_hotel(question: str, known: str) -> str:
    """What there is to say: `known` is what the agent for flights has said, "" when it has not been asked."""
    arrival = _ARRIVAL.search(known)
    named = _CITY.findall(question)
    city = arrival[1] if arrival else named[-1].capitalize() if named else ""
    hotel = HOTELS.get(city)
    if hotel is None:
        return f"I know hotels in {', '.join(HOTELS)}. Which city is it to be?"
    found = f"{hotel.name} in {city} has a room for {hotel.price} EUR a night."
    if arrival is None:
        return f"{found} Check-in is from {hotel.opens}:00."
    when = f"You land at {arrival[2]}:{arrival[3]}"
    if int(arrival[2]) < hotel.opens:
        return f"{found} {when}: leave your bags there, the room is yours from {hotel.opens}:00."
    return f"{found} {when}: your room is ready when you come."


def read_colleague(messages: list[Json]) -> str:
    """What the agent for flights has said. Plano puts it before the question, as a message with the agent's name."""
    return next((read_text(message) for message in reversed(messages) if message.get("name") == COLLEAGUE), "")


def make_app(model_url: str) -> web.Application:
    """The agent; `model_url` is where Plano's model listener is."""
    model = Model(model_url)

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        question = find_question(body["messages"])
        known = read_colleague(body["messages"])
        found = find_hotel(question, known)
        report(f"asked {question!r}, told by flights {known or 'nothing'!r}, found: {found}")
        messages = [
            {"role": "system", "content": PERSONA.format(question=question)},
            {"role": "user", "content": f"{known}\n{found}".strip()},
        ]
        return await model.answer(request, messages, stream=bool(body.get("stream")))

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    return app


if __name__ == "__main__":
    serve(make_app)
