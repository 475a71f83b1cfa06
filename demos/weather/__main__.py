"""`python -m demos.weather`: start everything, ask about the weather, say what comes of it."""

from __future__ import annotations

import sys
from pathlib import Path

from demos.show import Scene, Show, perform
from demos.stage import Service, Set

SHOW = Show(
    "Weather: prompts that become API calls",
    Set(
        Path(__file__).parent,
        (Service("api", "demos.weather.api"),),
        {"assistant": 10000, "models": 12000, "provider": 10500, "api": 10530},
    ),
    (
        Scene(
            "A question that the API can answer: the model is given what the API says",
            "assistant",
            ("What is the weather in Lisbon?",),
            route="current_weather",
            says=("What is the weather in Lisbon?", "context:", '"temperature": 19', '"sky": "sunny"'),
            told=("GET /v1/weather/Lisbon",),
        ),
        Scene(
            "Several arguments, one of them left to its default; the answer is streamed",
            "assistant",
            ("Give me the weather forecast for Oslo for the next 3 days",),
            stream=True,
            route="weather_forecast",
            says=("context:", '"city": "Oslo"', '"day": 3, "temperature": 0, "sky": "clear"'),
            lacks=('"day": 4',),
            told=("POST /v1/forecast city='Oslo' days=3 unit='celsius'",),
        ),
        Scene(
            "A question that lacks something: Plano asks for it, and calls nothing",
            "assistant",
            ("What is the weather like right now?",),
            says=("city", "?"),
            lacks=("context:",),
            silent=("api",),
        ),
        Scene(
            "... and goes on when it is told",
            "assistant",
            ("What is the weather like right now?", "Could you please tell me the city?", "Oslo"),
            route="current_weather",
            says=("context:", '"city": "Oslo", "temperature": 2'),
            told=("GET /v1/weather/Oslo",),
        ),
        Scene(
            "What has nothing to do with the weather goes to the model as it is",
            "assistant",
            ("Tell me a joke about robots.",),
            says=("Tell me a joke about robots.",),
            lacks=("context:",),
            silent=("api",),
        ),
        Scene(
            "The API refuses: the answer says which call, and what the API said",
            "assistant",
            ("What is the weather in Atlantis?",),
            status=404,
            says=("current_weather", "404", "no station in Atlantis"),
            told=("GET /v1/weather/Atlantis",),
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(perform(SHOW))
