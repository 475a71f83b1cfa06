"""`python -m demos.travel`: start everything, ask the agents, say what comes of it."""

from __future__ import annotations

import sys
from pathlib import Path

from demos.show import Scene, Show, perform
from demos.stage import Service, Set

BACK = ("--model-url", "http://127.0.0.1:{models}")

SHOW = Show(
    "Travel: two agents, alone and in sequence",
    Set(
        Path(__file__).parent,
        (Service("flights", "demos.travel.flights", BACK), Service("hotels", "demos.travel.hotels", BACK)),
        {"travel": 8001, "models": 12000, "provider": 10500, "flights": 10510, "hotels": 10520},
    ),
    (
        Scene(
            "A question for one agent goes to that agent",
            "travel",
            ("Which flights go from Berlin to Oslo on Friday?",),
            route="flights",
            says=("Flight PL 230 leaves Berlin at 07:15 and lands in Oslo at 08:55",),
            told=("flights: asked",),
            silent=("hotels",),
        ),
        Scene(
            "... and a question for the other one to the other one",
            "travel",
            ("I need a hotel in Lisbon for two nights.",),
            route="hotels",
            says=("Casa Azul in Lisbon has a room for 84 EUR a night. Check-in is from 14:00.",),
            told=("hotels: asked",),
            silent=("flights",),
        ),
        Scene(
            "What takes both goes to one after the other: the hotel knows when the flight lands",
            "travel",
            ("Find me a flight from Berlin to Lisbon and a hotel there.",),
            stream=True,
            route="flights, hotels",
            says=("lands in Lisbon at 12:25", "Casa Azul", "You land at 12:25: leave your bags there"),
            told=("flights: asked", "told by flights 'Flight PL 417"),
        ),
        Scene(
            "What is for none of them goes to the agent that is the default",
            "travel",
            ("What is the capital of France?",),
            says=("I can look for flights between Berlin, Lisbon, Oslo.",),
            told=("flights: asked",),
            silent=("hotels",),
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(perform(SHOW))
