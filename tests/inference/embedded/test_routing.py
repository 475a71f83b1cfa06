from __future__ import annotations

import pytest

from plano.inference.calls import Decision, OrchestratorCall, Route, Turn
from plano.inference.embedded.routing import EmbeddedOrchestrator, describe_route

BISTRO = (
    Route("table_booking", "Reserves tables and changes reservations"),
    Route("menu_questions", "Dishes, ingredients, allergens and prices on the menu"),
    Route("delivery", "Takes orders for home delivery and says where the courier is"),
    Route("job_applications", "Applications for work in the kitchen or in service"),
)
MODELS = (
    Route("code_generation", "Generating new code snippets, functions, or boilerplate based on user prompts"),
    Route("legal_analysis", "Reviewing contracts and explaining laws"),
    Route("travel", "Planning trips, flights and hotels"),
)


def ask(
    orchestrator: EmbeddedOrchestrator,
    *turns: str,
    routes: tuple[Route, ...] = BISTRO,
    multiple: bool = False,
) -> Decision:
    """Turns are the user's, but those that begin with ">" are the assistant's."""
    said = tuple(Turn("assistant", turn[1:]) if turn.startswith(">") else Turn("user", turn) for turn in turns)
    return orchestrator.decide(OrchestratorCall(said, routes, multiple))


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("can I reserve a table for four on friday", "table_booking"),
        ("is there peanut in the curry on your menu?", "menu_questions"),
        ("where is the courier with my food", "delivery"),
        ("I would like to apply for work as a waiter", "job_applications"),
    ],
)
def test_an_obvious_request_gets_its_route(orchestrator: EmbeddedOrchestrator, text: str, route: str) -> None:
    decision = ask(orchestrator, text)
    assert decision.routes == (route,)
    assert decision.confidence is not None
    assert 0.5 < decision.confidence <= 1


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("write a python function that parses a csv file", "code_generation"),
        ("is this clause in my rental contract legal", "legal_analysis"),
        ("plan a week in portugal with flights and a hotel", "travel"),
    ],
)
def test_routes_of_models_are_found_as_routes_of_agents_are(
    orchestrator: EmbeddedOrchestrator, text: str, route: str
) -> None:
    assert ask(orchestrator, text, routes=MODELS).routes == (route,)


@pytest.mark.parametrize(
    "text",
    ["what is the derivative of x squared", "who won the football world cup in 1990", "how do i reset my password"],
)
def test_a_request_that_nothing_serves_gets_no_route(orchestrator: EmbeddedOrchestrator, text: str) -> None:
    assert ask(orchestrator, text).routes == ()


def test_several_routes_come_in_the_order_in_which_they_are_asked_for(orchestrator: EmbeddedOrchestrator) -> None:
    text = "where is the courier with my delivery and then book me a table for tomorrow"
    assert ask(orchestrator, text, multiple=True).routes == ("delivery", "table_booking")


def test_only_one_route_is_named_where_only_one_may_be(orchestrator: EmbeddedOrchestrator) -> None:
    text = "where is the courier with my delivery and then book me a table for tomorrow"
    assert len(ask(orchestrator, text).routes) == 1


def test_one_errand_in_two_clauses_is_one_route(orchestrator: EmbeddedOrchestrator) -> None:
    text = "reserve a table for tonight, and make the reservation for six people"
    assert ask(orchestrator, text, multiple=True).routes == ("table_booking",)


def test_a_follow_up_that_says_nothing_by_itself_is_read_with_what_came_before(
    orchestrator: EmbeddedOrchestrator,
) -> None:
    assert ask(orchestrator, "and at eight?").routes == ()
    followed = ask(orchestrator, "do you have a free table to reserve tonight", ">At seven, yes.", "and at eight?")
    assert followed.routes == ("table_booking",)


def test_a_change_of_topic_is_not_pulled_back(orchestrator: EmbeddedOrchestrator) -> None:
    changed = ask(
        orchestrator,
        "do you have a free table to reserve tonight",
        ">At seven, yes.",
        "where is the courier with my delivery",
    )
    assert changed.routes == ("delivery",)


def test_what_the_assistant_says_decides_nothing(orchestrator: EmbeddedOrchestrator) -> None:
    decision = ask(orchestrator, "hm", ">Shall I reserve a table for you?", "what is the derivative of x squared")
    assert decision.routes == ()


def test_the_same_call_gets_the_same_answer(orchestrator: EmbeddedOrchestrator) -> None:
    first = ask(orchestrator, "a table please")
    assert all(ask(orchestrator, "a table please") == first for _ in range(3))
    assert EmbeddedOrchestrator().decide(OrchestratorCall((Turn("user", "a table please"),), BISTRO)) == first


@pytest.mark.parametrize("text", [" ", "\x00", "🙂", "???", "ا ب", "\ud800"])
def test_text_without_words_decides_nothing_and_breaks_nothing(orchestrator: EmbeddedOrchestrator, text: str) -> None:
    assert ask(orchestrator, text, multiple=True).routes == ()


def test_a_very_long_text_is_answered_by_what_it_ends_with(orchestrator: EmbeddedOrchestrator) -> None:
    text = "lorem ipsum dolor sit amet " * 40_000 + ". please reserve a table for four people on friday evening"
    assert ask(orchestrator, text).routes == ("table_booking",)


def test_one_route_alone_can_be_refused(orchestrator: EmbeddedOrchestrator) -> None:
    alone = BISTRO[:1]
    assert ask(orchestrator, "reserve a table for two please", routes=alone).routes == ("table_booking",)
    assert ask(orchestrator, "what is the derivative of x squared", routes=alone).routes == ()


def test_a_thousand_routes_are_told_apart(orchestrator: EmbeddedOrchestrator) -> None:
    many = tuple(Route(f"shelf_{number}", f"Books of shelf number {number}") for number in range(996))
    assert ask(orchestrator, "reserve a table for four in the restaurant", routes=many + BISTRO).routes == (
        "table_booking",
    )


def test_a_product_name_is_matched_by_its_letters(orchestrator: EmbeddedOrchestrator) -> None:
    routes = (Route("zyntherix", "Zyntherix"), Route("qwopalon", "Qwopalon"))
    assert ask(orchestrator, "tell me about qwopalons", routes=routes).routes == ("qwopalon",)


def test_names_are_read_as_words() -> None:
    assert describe_route(Route("codeReview_v2", "Looks at diffs")) == "code Review v2: Looks at diffs"
    assert describe_route(Route("small-talk", " ")) == "small talk"


def test_a_plain_request_is_looked_at_once_and_a_close_one_twice(orchestrator: EmbeddedOrchestrator) -> None:
    routes = orchestrator.prepare(BISTRO)
    looks = {
        text: routes.judge(text).looks
        for text in ("reserve tables and change reservations", "something to eat with a friend")
    }
    assert list(looks.values()) == [1, 2]


def test_sets_of_routes_are_remembered_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plano.inference.embedded.routing.REMEMBERED_ROUTES", 10)
    orchestrator = EmbeddedOrchestrator()
    first = orchestrator.prepare(BISTRO)
    assert orchestrator.prepare(tuple(Route(*route) for route in BISTRO)) is first
    second = orchestrator.prepare(MODELS)
    assert orchestrator.prepare(BISTRO) is first
    orchestrator.prepare(BISTRO[:3] + MODELS[:1])
    assert orchestrator.prepare(BISTRO) is first
    assert orchestrator.prepare(MODELS) is not second
