"""What a user sees of each example: run with `--once`, as its one command."""

from __future__ import annotations

import re

from tests.demos.runs import DemoRun


def perform(name: str) -> DemoRun:
    """A run that has ended well and left nothing behind."""
    with DemoRun(name, "--once", "--free-ports") as run:
        assert run.wait() == 0, run.output
        assert run.find_processes() == []
    assert "All of it worked." in run.output
    assert "WRONG" not in run.output
    assert "Traceback" not in run.output
    return run


def said_by(scene: str) -> list[str]:
    """Which services have said something, in order."""
    return re.findall(r"^ +(\w+) \| ", scene, re.MULTILINE)


def test_travel_asks_two_agents_in_order_and_the_second_knows_what_the_first_has_said() -> None:
    run = perform("travel")
    assert said_by(run.scene(1)) == ["flights"]
    assert said_by(run.scene(2)) == ["hotels"]
    both = run.scene(3)
    assert said_by(both) == ["flights", "hotels"]
    assert "told by flights 'Flight PL 417 leaves Berlin at 09:40 and lands in Lisbon at 12:25" in both
    assert "-> 200, route: flights, hotels" in both
    answer = " ".join(both.partition("-> 200")[2].split())
    assert "Flight PL 417" in answer
    assert "Casa Azul in Lisbon has a room for 84 EUR a night. You land at 12:25: leave your bags there" in answer
    assert said_by(run.scene(4)) == ["flights"], "the default agent"


def test_guardrails_changes_refuses_and_adds_before_the_agent_is_asked() -> None:
    run = perform("guardrails")
    assert said_by(run.scene(1)) == ["policy", "handbook", "help_desk"]
    assert "The warranty of every pair of headphones is two years" in run.scene(1).partition("-> 200")[2]
    masked = "\n".join(run.scene(2).splitlines()[2:])  # without the request itself
    assert "help_desk | asked 'I am [e-mail] and paid with [card number]." in masked
    assert "lovelace" not in masked
    assert said_by(run.scene(3)) == ["policy"]
    assert "-> 403" in run.scene(3)
    assert "gives no legal or medical advice" in run.scene(3)
    assert said_by(run.scene(4)) == []
    assert "-> 200\n      I am the help desk of Nimbus Audio, and keep to that." in run.scene(4)


def test_weather_calls_the_api_with_what_the_question_holds_and_asks_for_what_it_lacks() -> None:
    run = perform("weather")
    assert "api | GET /v1/weather/Lisbon" in run.scene(1)
    assert '"temperature": 19' in run.scene(1).partition("-> 200")[2]
    assert "api | POST /v1/forecast city='Oslo' days=3 unit='celsius'" in run.scene(2)
    assert said_by(run.scene(3)) == []
    assert re.search(r"-> 200.*\n +Could you please tell me the city .*\?", run.scene(3))
    assert "api | GET /v1/weather/Oslo" in run.scene(4)
    assert said_by(run.scene(5)) == []
    assert "Tell me a joke about robots." in run.scene(5).partition("-> 200")[2]
    assert "-> 404" in run.scene(6)
    assert "no station in Atlantis" in run.scene(6)
