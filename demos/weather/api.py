"""A small weather API, as any company has one: it knows nothing of models.

    python -m demos.weather.api --port 10530

`GET /v1/weather/{city}` is the weather now; `POST /v1/forecast` takes `{"city", "days", "unit"}`.
"""

from __future__ import annotations

from aiohttp import web

from demos.service import report, serve

# City: degrees Celsius and sky, of today and the days after it.
CLIMATE = {
    "berlin": ((11, "cloudy"), (9, "rain"), (12, "sunny"), (13, "sunny"), (10, "cloudy")),
    "lisbon": ((19, "sunny"), (20, "sunny"), (18, "cloudy"), (17, "rain"), (19, "sunny")),
    "oslo": ((2, "snow"), (1, "snow"), (3, "cloudy"), (0, "clear"), (-2, "snow")),
}


async def tell_weather(request: web.Request) -> web.Response:
    """The weather of now."""
    city = request.match_info["city"]
    report(f"GET {request.path}")
    known = CLIMATE.get(city.lower())
    if known is None:
        return web.json_response({"error": f"no station in {city}"}, status=404)
    degrees, sky = known[0]
    return web.json_response({"city": city, "temperature": degrees, "unit": "celsius", "sky": sky})


async def tell_forecast(request: web.Request) -> web.Response:
    """The weather of the next days."""
    wanted = await request.json()
    report(f"POST {request.path} " + " ".join(f"{name}={value!r}" for name, value in sorted(wanted.items())))
    city, days = str(wanted["city"]), int(wanted["days"])
    known = CLIMATE.get(city.lower())
    if known is None or not 1 <= days < len(known):
        return web.json_response({"error": f"no forecast of {days} days for {city}"}, status=404)
    fahrenheit = wanted.get("unit") == "fahrenheit"
    forecast = [
        {"day": day, "temperature": degrees * 9 / 5 + 32 if fahrenheit else degrees, "sky": sky}
        for day, (degrees, sky) in enumerate(known[1 : days + 1], 1)
    ]
    return web.json_response({"city": city, "unit": wanted.get("unit", "celsius"), "forecast": forecast})


def make_app(model_url: str) -> web.Application:
    """The API, which has no use for a model."""
    app = web.Application()
    app.router.add_get("/v1/weather/{city}", tell_weather)
    app.router.add_post("/v1/forecast", tell_forecast)
    return app


if __name__ == "__main__":
    serve(make_app)
