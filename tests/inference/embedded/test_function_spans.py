"""What the rules see in a text."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.inference.embedded.spans import MAX_CHARS, Kind, find_spans


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("250 USD to EUR", [(Kind.NUMBER, 250.0, "dollar"), (Kind.NAME, "EUR", "")]),
        ("$1,500.50 for -3 days", [(Kind.NUMBER, 1500.5, "dollar"), (Kind.NUMBER, -3.0, "day")]),
        ("two weeks and 5 m/s", [(Kind.NUMBER, 2.0, "week"), (Kind.NUMBER, 5.0, "m/s")]),
        ("a budget of 2 million", [(Kind.NUMBER, 2_000_000.0, "")]),
        ("20 meters per second", [(Kind.NUMBER, 20.0, "m/s")]),
        ("22 degrees celsius", [(Kind.NUMBER, 22.0, "celsius")]),
        ("thirty five guests", [(Kind.UNREAD, "thirty", "")]),
        ("on 2026-05-03 or 12/24/2026", [(Kind.DATE, date(2026, 5, 3), ""), (Kind.DATE, date(2026, 12, 24), "")]),
        ("June 1st, 2026 and 2 May 2026", [(Kind.DATE, date(2026, 6, 1), ""), (Kind.DATE, date(2026, 5, 2), "")]),
        ("2026-02-31", [(Kind.UNREAD, "2026-02-31", "")]),
        ("tomorrow at 6 pm", [(Kind.UNREAD, "tomorrow", ""), (Kind.TIME, "18:00", "")]),
        ("at 07:30 next Tuesday", [(Kind.TIME, "07:30", ""), (Kind.UNREAD, "next Tuesday", "")]),
        ("mail a.b@c.example.org", [(Kind.EMAIL, "a.b@c.example.org", "")]),
        ("see https://x.example/a?b=1.", [(Kind.URL, "https://x.example/a?b=1", "")]),
        ('say "5 apples" now', [(Kind.QUOTE, "5 apples", "")]),
        ("order ORD-48213, part #77", [(Kind.IDENTIFIER, "ORD-48213", ""), (Kind.IDENTIFIER, "77", "")]),
        ("account 5512-9981", [(Kind.IDENTIFIER, "5512-9981", "")]),
        ("roll 2d8", [(Kind.UNREAD, "2d8", "")]),
        ("Weather in Rio de Janeiro", [(Kind.NAME, "Rio de Janeiro", "")]),
        ("Population of Kenya", [(Kind.NAME, "Kenya", "")]),
        ("from Boston, MA to New York", [(Kind.NAME, "Boston, MA", ""), (Kind.NAME, "New York", "")]),
        ("Please I'd like that", []),
        ("don't, it's John's", [(Kind.NAME, "John's", "")]),
    ],
)
def test_values_are_found_with_their_units(text: str, spans: list[tuple[Kind, Any, str]]) -> None:
    assert [(span.kind, span.value, span.unit) for span in find_spans(text)] == spans


@given(st.text(st.sampled_from("aZ 09.,-/:#@\"'$%\n") | st.characters(), max_size=200))
def test_spans_lie_within_the_text_and_do_not_overlap(text: str) -> None:
    end = 0
    for span in find_spans(text):
        assert end <= span.start < span.end <= len(text)
        end = span.end


def test_every_digit_of_a_text_is_seen() -> None:
    text = "3 a4 5b 6.7 8/9 1-2 #3 4:5 (6) 7% $8 x=9;10"
    covered = {place for span in find_spans(text) for place in range(span.start, span.end)}
    assert all(place in covered for place, char in enumerate(text) if char.isdigit())


def test_a_text_without_end_is_not_looked_through() -> None:
    assert find_spans("1 " * MAX_CHARS) == []
