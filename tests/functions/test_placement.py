"""Where the arguments of a call go: path, query, body."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from plano.config.plan import TargetCallPlan
from plano.functions.placement import find_placeholders, place, place_messages
from plano.functions.visits import BadArguments

Json = dict[str, Any]


def call(path: str, method: Literal["GET", "POST"] = "GET") -> TargetCallPlan:
    return TargetCallPlan("api", "http://api", path, method)


@pytest.mark.parametrize(
    ("path", "arguments", "placed"),
    [
        ("/w", {}, "/w"),
        ("w", {}, "/w"),
        ("/w", {"a": 1, "b": True, "c": 2.5, "d": "x y&z"}, "/w?a=1&b=true&c=2.5&d=x%20y%26z"),
        ("/w?v=2", {"a": 1}, "/w?v=2&a=1"),
        ("/{a}/{b}", {"a": "x/y", "b": "ä?#"}, "/x%2Fy/%C3%A4%3F%23"),
        ("/{a}/{a}", {"a": 7}, "/7/7"),
        ("/w?q={q}", {"q": "a&b=c", "n": 1}, "/w?q=a%26b%3Dc&n=1"),
        ("/w", {"a": ["x", "y"], "b": []}, "/w?a=x&a=y"),
        ("/w", {"a": {"k": [1]}}, "/w?a=%7B%22k%22%3A%5B1%5D%7D"),
        ("/w", {"a": None}, "/w"),
        ("/straße/%20/{a}", {"a": "1"}, "/stra%C3%9Fe/%20/1"),
        ("/v1..{a}", {"a": "."}, "/v1..."),
    ],
)
def test_a_get_has_everything_in_its_path(path: str, arguments: Json, placed: str) -> None:
    assert place(call(path), arguments) == (placed, None)


def test_a_post_has_the_rest_in_its_body_with_its_types() -> None:
    placed = place(call("/{a}?v=1", "POST"), {"a": "x", "b": 1, "c": [1.5, None], "d": None})
    assert placed == ("/x?v=1", b'{"b":1,"c":[1.5,null]}')


def test_a_conversation_is_posted_whatever_the_method() -> None:
    placed = place_messages(call("/{a}/ask"), [{"role": "user", "content": "ü"}], {"a": "x"})
    assert placed == ("/x/ask", '{"messages":[{"role":"user","content":"ü"}]}'.encode())


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("/{a}", {}),
        ("/{a}", {"a": None}),
        ("/x/{a}/y", {"a": ".."}),
        ("/x/{a}{b}/y", {"a": ".", "b": "."}),
        ("/x/.{a}", {"a": "."}),
        ("/x/{a}", {"a": ""}),
        ("/x", {"a": 1 << 80}),
    ],
)
def test_what_has_no_place_is_refused(path: str, arguments: Json) -> None:
    with pytest.raises(BadArguments):
        place(call(path), arguments)


def test_placeholders_are_found_once_and_in_order() -> None:
    assert find_placeholders("/{b}/{a}?x={b}&y={}") == ["b", "a"]
