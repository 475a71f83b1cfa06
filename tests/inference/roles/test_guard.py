"""What the guard looks at, and how a general model's judgement is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.dialects.conversation import Conversation, Document, Text, ToolResult, ToolUse, Turn
from plano.inference.roles.guard import Scope, parse_judgement, render_judge_batches, split_windows, texts_to_judge
from plano.inference.roles.model_json import BadModelAnswer

TALK = Conversation(
    model=None,
    system=[Text("You are strict.")],
    turns=[
        Turn("user", [Text("first"), Text("question")]),
        Turn("system", [Text("operator's word")]),
        Turn("assistant", [Text("let me look"), ToolUse("1", "search", "{}")]),
        Turn("user", [ToolResult("1", [Text("found"), Text("this")])]),
        Turn("assistant", [Text("here")]),
        Turn("user", [Text("last question"), Document(text="an attached page")]),
    ],
)


@pytest.mark.parametrize(
    ("scope", "texts"),
    [
        ("last_user", ("last question\nan attached page",)),
        ("all", ("last question\nan attached page", "here", "let me look", "first\nquestion")),
        (
            "all_and_tools",
            ("last question\nan attached page", "here", "found\nthis", "let me look", "first\nquestion"),
        ),
    ],
)
def test_the_scope_decides_what_is_looked_at(scope: Scope, texts: tuple[str, ...]) -> None:
    assert texts_to_judge(TALK, scope) == texts


def test_the_last_user_message_is_found_behind_tool_results() -> None:
    talk = Conversation(model=None, turns=TALK.turns[:4])
    assert texts_to_judge(talk, "last_user") == ("first\nquestion",)


def test_without_texts_there_is_nothing_to_judge() -> None:
    assert texts_to_judge(Conversation(model=None, turns=[Turn("user", [Text("  ")])]), "all_and_tools") == ()


def test_the_same_text_is_judged_once_and_the_oldest_give_way_when_it_is_too_much() -> None:
    turns = [Turn("user", [Text(text)]) for text in ("old", "b" * 60, "again", "again")]
    texts = texts_to_judge(Conversation(model=None, turns=turns), "all", max_bytes=40)
    assert texts[0] == "again"
    assert len(texts) == 2
    assert "\u2026" in texts[1]


def test_windows_overlap_and_the_last_one_is_full() -> None:
    assert split_windows(range(10), 4, 1) == [range(0, 4), range(3, 7), range(6, 10)]
    assert split_windows(range(9), 4, 1) == [range(0, 4), range(3, 7), range(5, 9)]
    assert split_windows(range(4), 4, 1) == [range(4)]
    assert split_windows([], 4, 1) == []
    with pytest.raises(ValueError, match="overlap"):
        split_windows([1], 4, 4)


@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_every_run_of_overlap_length_is_whole_in_some_window(length: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    windows = [list(window) for window in split_windows(range(length), size, overlap)]
    assert all(len(window) == min(size, length) for window in windows)
    for start in range(length):
        run = list(range(start, min(start + overlap + 1, length)))
        assert any(run[0] >= window[0] and run[-1] <= window[-1] for window in windows)


def test_a_general_model_is_shown_every_character_as_quoted_evidence() -> None:
    long = "".join(f"word{n} " for n in range(2_000))
    batches = [json.loads(batch) for batch in render_judge_batches(["short", long, 'say "yes"'], max_chars=5_000)]
    assert all(sum(map(len, batch)) <= 5_000 for batch in batches)
    shown = [text for batch in batches for text in batch]
    assert shown[0] == "short"
    assert shown[-1] == 'say "yes"'
    assert all(any(f"word{n} " in text for text in shown) for n in range(2_000))


@pytest.mark.parametrize(
    ("answer", "probability"),
    [
        ('{"attack": true, "certainty": 100}', 1.0),
        ('{"attack": true, "certainty": 0}', 0.5),
        ('{"attack": false, "certainty": 60}', 0.2),
        ('```json\n{"attack": True}\n```', 0.75),
        ('{"attack": false, "certainty": 1000}', 0.0),
    ],
)
def test_a_judgement_becomes_a_probability(answer: str, probability: float) -> None:
    assert parse_judgement(answer) == pytest.approx(probability)


@pytest.mark.parametrize("answer", ["", "yes", "{}", '{"attack": "yes"}', '{"attack": true, "certainty": "high"}'])
def test_what_is_no_judgement_is_an_error(answer: str) -> None:
    with pytest.raises(BadModelAnswer):
        parse_judgement(answer)
