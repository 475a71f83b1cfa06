"""The embedded function role: calls only what is said, asks for what is missing, leaves the rest."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.accuracy_function import SETS, measure, tabulate
from plano.inference.calls import BadCall, FunctionAnswer, FunctionCall, Tool, ToolCall
from plano.inference.embedded.function import EmbeddedFunction
from plano.inference.embedded.slots import fill


class Ngrams:
    """Cosine of character n-grams: needs no weights."""

    def rank(self, query: str, texts: Sequence[str]) -> list[float]:
        grams = self._grams(query)
        return [self._cosine(grams, self._grams(text)) for text in texts]

    def _grams(self, text: str) -> Counter[str]:
        text = f" {re.sub(r'[^a-z0-9]+', ' ', text.lower())} "
        return Counter(text[at : at + size] for size in (3, 4) for at in range(len(text) - size + 1))

    def _cosine(self, a: Counter[str], b: Counter[str]) -> float:
        lengths = math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))
        return sum(count * b[gram] for gram, count in a.items()) / lengths if lengths else 0.0


ROLE = EmbeddedFunction(Ngrams(), relevance=0.2)


def tool(name: str, description: str, required: str = "", **parameters: Any) -> Tool:
    schema = {"type": "object", "properties": parameters, "required": required.split()}
    return Tool(name, description, schema)


WEATHER = tool(
    "get_weather",
    "Current weather in a city",
    "city",
    city={"type": "string", "description": "Name of the city"},
    unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
)
CANCEL = tool(
    "cancel_order",
    "Cancel an order that has not shipped",
    "order_id",
    order_id={"type": "string"},
    express={"type": "boolean"},
)
LOAN = tool(
    "loan_payment",
    "Monthly payment of a loan",
    "amount rate years",
    amount={"type": "float", "description": "Amount in dollars"},
    rate={"type": "float", "description": "Yearly rate in percent"},
    years={"type": "integer", "description": "Years"},
)
SEARCH = tool(
    "search_docs", "Search the documentation", "query", query={"type": "string", "description": "Search words"}
)
TOOLS = (WEATHER, CANCEL, LOAN, SEARCH)


def ask(*texts: str, tools: tuple[Tool, ...] = TOOLS) -> FunctionAnswer:
    """Texts of the user and the assistant in turn, the last one the user's."""
    roles = ["user" if (len(texts) - number) % 2 else "assistant" for number in range(len(texts))]
    messages = tuple({"role": role, "content": text} for role, text in zip(roles, texts, strict=True))
    return ROLE.answer(FunctionCall(messages, tools))


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("What's the weather in Lisbon?", "get_weather", {"city": "Lisbon"}),
        ("weather in New York in fahrenheit", "get_weather", {"city": "New York", "unit": "fahrenheit"}),
        ("Please cancel order 55812", "cancel_order", {"order_id": "55812"}),
        ("cancel my order XK-22", "cancel_order", {"order_id": "XK-22"}),
        (
            "monthly payment of a loan of $20,000 over 5 years at 4.5%",
            "loan_payment",
            {"amount": 20_000, "rate": 4.5, "years": 5},
        ),
        ('search the documentation for "rate limits"', "search_docs", {"query": "rate limits"}),
    ],
)
def test_what_is_said_in_full_is_called(text: str, name: str, arguments: dict[str, Any]) -> None:
    answer = ask(text)
    assert answer.calls == (ToolCall(name, arguments),)
    assert answer.candidates[0] == name


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("What's the weather?", "city"),
        ("I want to cancel my order", "order id"),
        ("monthly payment of a loan of $20,000 over 5 years", "rate"),
    ],
)
def test_what_is_missing_is_asked_for(text: str, question: str) -> None:
    answer = ask(text)
    assert answer.outcome == "clarify"
    assert question in answer.question


@pytest.mark.parametrize(
    "text",
    [
        "What's the weather in Paris and in Rome?",  # two calls
        "weather in Spain",  # no city
        "weather in Paris tomorrow",  # more than the tool can do
        "weather in Paris, but only the wind",
        "Has order 55812 been cancelled? Why?",
        "don't cancel order 55812",
        "how do I cancel order 55812?",
        "was order 55812 shipped?",  # nobody wants it cancelled
        "cancel order 55812 or 55813",
        "monthly payment of a loan of 20000 at 5",  # which is which
        "search the documentation for rate limits",  # free words
        "weather in Paris " + "really " * 80,
    ],
)
def test_where_anything_would_be_guessed_a_larger_model_is_left_to_decide(text: str) -> None:
    answer = ask(text)
    assert answer.outcome == "none"
    assert 1 <= len(answer.candidates) <= 3


@pytest.mark.parametrize("text", ["hello", "thanks!", "Tell me a joke about cats", "Who wrote Hamlet?"])
def test_what_no_tool_serves_is_neither_called_nor_asked_about(text: str) -> None:
    assert ask(text).outcome == "none"


@pytest.mark.parametrize(
    ("texts", "call"),
    [
        (("What's the weather?", "In which city?", "Porto"), ToolCall("get_weather", {"city": "Porto"})),
        (("Cancel my order", "Which one?", "it's ORD-9"), ToolCall("cancel_order", {"order_id": "ORD-9"})),
        (("loan payment of $9,000 over 3 years", "At which rate?", "4 percent"), None),
    ],
)
def test_a_reply_completes_what_was_asked_before(texts: tuple[str, ...], call: ToolCall | None) -> None:
    answer = ask(*texts)
    if call is None:
        assert answer.calls[0].arguments == {"amount": 9_000, "years": 3, "rate": 4}
    else:
        assert answer.calls == (call,)


def test_a_new_request_after_a_question_is_no_reply() -> None:
    assert ask("What's the weather?", "In which city?", "never mind, tell me a joke about cats").outcome == "none"


def test_a_tools_result_is_for_a_larger_model_to_put_into_words() -> None:
    messages = ({"role": "user", "content": "weather in Rome"}, {"role": "tool", "tool_call_id": "1", "content": "sun"})
    assert ROLE.answer(FunctionCall(messages, TOOLS)) == FunctionAnswer("none")


def test_parameters_that_are_no_schema_are_refused() -> None:
    broken = Tool("get_weather", "Current weather in a city", {"type": "object", "properties": {"city": {"type": "x"}}})
    with pytest.raises(BadCall):
        ask("current weather", tools=(broken,))


BOOKING = tool(
    "book_hotel",
    "Book a hotel",
    "city check_in check_out",
    city={"type": "string"},
    check_in={"type": "string", "description": "Check-in date, YYYY-MM-DD"},
    check_out={"type": "string", "description": "Check-out date, MM/DD/YYYY"},
    guests={"type": "integer", "description": "Number of guests"},
    breakfast={"type": "boolean"},
    start={"type": "string", "description": "Time of arrival, HH:MM"},
)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (
            "book a hotel in Lyon from May 3, 2026 to May 7, 2026 with breakfast for 2 guests",
            {"city": "Lyon", "check_in": "2026-05-03", "check_out": "05/07/2026", "breakfast": True, "guests": 2},
        ),
        ("hotel without breakfast", {"breakfast": False}),
        ("hotel for two guests at 6 pm", {"guests": 2, "start": "18:00"}),
        ("hotel from 2026-05-03", {}),
    ],
)
def test_arguments_take_the_form_that_their_parameter_describes(text: str, arguments: dict[str, Any]) -> None:
    assert fill(BOOKING, text).arguments == arguments


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("2 hours", {"minutes": 120}),
        ("90 seconds", {}),
        ("1.5 minutes", {}),
        ("3 km", {}),
    ],
)
def test_units_are_converted_where_that_is_exact(text: str, arguments: dict[str, Any]) -> None:
    timer = tool("timer", "Timer", "minutes", minutes={"type": "integer", "description": "Duration in minutes"})
    assert fill(timer, text).arguments == arguments
    assert "5" in fill(timer, "timer for 5 and 10 minutes").unread


@pytest.mark.parametrize(
    ("text", "arguments"),
    [("gcd of 48 and 18", {"num1": 48, "num2": 18}), ("gcd of 48, 18 and 6", {}), ("48 things, later 18", {})],
)
def test_numbers_in_a_row_go_to_numbered_parameters_in_order(text: str, arguments: dict[str, Any]) -> None:
    gcd = tool("gcd", "Divisor", "num1 num2", num1={"type": "integer"}, num2={"type": "integer"})
    assert fill(gcd, text).arguments == arguments


@given(st.text(max_size=120), st.sampled_from([*TOOLS, BOOKING]))
def test_no_text_breaks_the_rules(text: str, of: Tool) -> None:
    filling = fill(of, text)
    assert set(filling.arguments) <= set(of.parameters["properties"])


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("distractors", [0, 3])
def test_wrong_calls_stay_rare_on_the_committed_cases(name: str, distractors: int) -> None:
    outcomes = measure(ROLE, distractors, name)
    called = [outcome for outcome in outcomes if outcome.answer.outcome == "calls"]
    assert sum(outcome.wrong for outcome in outcomes) <= 0.02 * len(outcomes), tabulate(outcomes)
    assert len(called) >= 0.3 * len(outcomes), tabulate(outcomes)
