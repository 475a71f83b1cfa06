from __future__ import annotations

import pytest

from plano.inference.embedded.clauses import MAX_CLAUSES, split_clauses


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("track my order", ("track my order",)),
        ("track my order and start a return", ("track my order", "start a return")),
        ("book a flight, then reserve a hotel", ("book a flight", "reserve a hotel")),
        ("Is it raining? Play some jazz.", ("Is it raining?", "Play some jazz.")),
        ("salt and pepper", ("salt and pepper",)),
        ("first line here\nsecond line here", ("first line here", "second line here")),
        ("pay the bill. Thanks!", ("pay the bill. Thanks!",)),
        ("  ", ("",)),
    ],
)
def test_a_text_is_split_where_another_errand_may_begin(text: str, clauses: tuple[str, ...]) -> None:
    assert split_clauses(text) == clauses


def test_of_many_clauses_the_first_and_last_count() -> None:
    clauses = split_clauses(". ".join(f"clause number {number}" for number in range(100)))
    assert len(clauses) == MAX_CLAUSES
    assert clauses[0] == "clause number 0."
    assert clauses[-1] == "clause number 99"
