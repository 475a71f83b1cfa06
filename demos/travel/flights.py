"""The agent for flights: speaks chat completions, looks into its timetable, has a model put it into words.

python -m demos.travel.flights --port 10510 --model-url http://127.0.0.1:12000
"""

from __future__ import annotations

import re

from aiohttp import web

from demos.service import Model, find_question, report, serve

PERSONA = (
    "You are the flights agent of a travel agency. The traveller asked: {question!r}. "
    "Tell them in a sentence or two what was found; add nothing to it."
)
# (from, to): flight, departure, arrival, EUR
TIMETABLE = {
    ("Berlin", "Lisbon"): ("PL 417", "09:40", "12:25", 129),
    ("Berlin", "Oslo"): ("PL 230", "07:15", "08:55", 96),
    ("Lisbon", "Berlin"): ("PL 418", "13:20", "17:50", 134),
    ("Oslo", "Berlin"): ("PL 231", "19:30", "21:05", 88),
}
CITIES = sorted({city for pair in TIMETABLE for city in pair})
_CITY = re.compile(rf"\b({'|'.join(CITIES)})\b", re.IGNORECASE)


def find_flight(question: str) -> str:
    """What there is to say to a traveller: the flight between the first two cities that are named."""
    named = list(dict.fromkeys(match.capitalize() for match in _CITY.findall(question)))
    if len(named) < 2:
        return f"I can look for flights between {', '.join(CITIES)}. Where from, and where to?"
    flight = TIMETABLE.get((named[0], named[1]))
    if flight is None:
        return f"There is no flight from {named[0]} to {named[1]}."
    number, leaves, lands, fare = flight
    return f"Flight {number} leaves {named[0]} at {leaves} and lands in {named[1]} at {lands}, for {fare} EUR."


def make_app(model_url: str) -> web.Application:
    """The agent; `model_url` is where Plano's model listener is."""
    model = Model(model_url)

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        question = find_question(body["messages"])
        found = find_flight(question)
        report(f"asked {question!r}, found: {found}")
        messages = [
            {"role": "system", "content": PERSONA.format(question=question)},
            {"role": "user", "content": found},
        ]
        return await model.answer(request, messages, stream=bool(body.get("stream")))

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    return app


if __name__ == "__main__":
    serve(make_app)
