"""Which turns of a conversation the orchestrator is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.conversation import Conversation, Image, Refusal, Text, Thinking, ToolResult, ToolUse
from plano.dialects.conversation import Turn as ConversationTurn
from plano.inference.calls import Turn
from plano.inference.roles.turns import select_turns, size_of, trim_middle


def said(role: str, *texts: str) -> ConversationTurn:
    return ConversationTurn(role, [Text(text) for text in texts])  # type: ignore[arg-type]


def conversation(*turns: ConversationTurn) -> Conversation:
    return Conversation(model=None, turns=list(turns), system=[Text("Be brief.")])


def test_only_what_user_and_assistant_said_in_words_is_shown() -> None:
    selected = select_turns(
        conversation(
            said("user", "What is the weather", "in Paris?"),
            ConversationTurn("assistant", [Thinking("hm"), ToolUse("1", "weather", "{}")]),
            ConversationTurn("user", [ToolResult("1", [Text("rain")])]),
            said("system", "Answer in French."),
            ConversationTurn("assistant", [Refusal("I would rather not.")]),
            ConversationTurn("user", [Image(url="http://x/y.png"), Text("And this?"), Text("  ")]),
        )
    )
    assert selected == (
        Turn("user", "What is the weather\nin Paris?"),
        Turn("assistant", "I would rather not."),
        Turn("user", "And this?"),
    )


def test_the_last_sixteen_turns_with_text_are_shown() -> None:
    turns = [said("user" if number % 2 else "assistant", f"turn {number}") for number in range(40)]
    assert [turn.text for turn in select_turns(conversation(*turns))] == [f"turn {n}" for n in range(24, 40)]


def test_the_newest_user_turn_is_shown_even_behind_many_of_the_assistants() -> None:
    turns = [said("user", "the question"), *(said("assistant", f"step {number}") for number in range(30))]
    selected = select_turns(conversation(*turns))
    assert selected[0] == Turn("user", "the question")
    assert len(selected) == 16
    assert selected[-1].text == "step 29"


def test_an_oversized_user_turn_is_trimmed_in_its_middle_and_pushes_out_the_older_ones() -> None:
    question = "HEAD" + "x" * 500_000 + "TAIL"
    selected = select_turns(conversation(said("user", "before"), said("assistant", "yes"), said("user", question)))
    (turn,) = selected
    assert size_of(turn.text) == 65_536
    assert turn.text.startswith("HEADx")
    assert turn.text.endswith("xTAIL")
    assert "\u2026" in turn.text


def test_an_older_user_turn_is_trimmed_to_what_is_left_and_an_assistants_dropped() -> None:
    older = conversation(said("user", "a" * 50), said("user", "b" * 90))
    assert [size_of(turn.text) for turn in select_turns(older, max_bytes=120)] == [30, 90]
    older = conversation(said("user", "first"), said("assistant", "a" * 50), said("user", "b" * 90))
    assert [turn.text[0] for turn in select_turns(older, max_bytes=120)] == ["b"]


def test_a_large_prefilled_answer_does_not_push_out_the_question() -> None:
    selected = select_turns(conversation(said("user", "why?"), said("assistant", "z" * 500)), max_bytes=100)
    assert selected == (Turn("user", "why?"),)


@pytest.mark.parametrize("turns", [(), (said("assistant", "hello"),), (said("user", " \n"),)])
def test_without_words_of_a_user_there_is_nothing_to_decide(turns: tuple[ConversationTurn, ...]) -> None:
    assert select_turns(conversation(*turns)) == ()


@pytest.mark.parametrize(
    ("text", "limit", "trimmed"),
    [
        ("a" * 20, 10, "aaaa\u2026aaa"),
        ("é" * 50, 25, "é" * 6 + "\u2026" + "é" * 5),
        ("given the image In style of Andy Warhol", 12, "given\u2026rhol"),
        ("short", 5, "short"),
        ("abcdef", 3, "abc"),
        ("abcdef", 0, ""),
    ],
)
def test_the_middle_is_trimmed_as_upstream_does(text: str, limit: int, trimmed: str) -> None:
    assert trim_middle(text, limit) == trimmed


@given(st.text(), st.integers(0, 200))
def test_a_trimmed_text_never_exceeds_its_limit(text: str, limit: int) -> None:
    assert size_of(trim_middle(text, limit)) <= max(limit, 0)
