"""The request with which a model words an answer, in each dialect of clients."""

from __future__ import annotations

from typing import Any

import pytest

from plano.config.plan import TargetCallPlan, TargetPlan
from plano.functions.visits import Placed, Result, Visit
from plano.functions.wording import (
    choose_system_prompt,
    compose_request,
    content_of,
    render_context,
)

Json = dict[str, Any]


def result(name: str, text: str, *, prompt: str | None = None, default: bool = False, placed: bool = True) -> Result:
    call = TargetCallPlan("api", "http://api", "/")
    plan = TargetPlan(name, "", call=call, default=default, system_prompt=prompt)
    return Result(Visit(plan, "call_1", {}, Placed("/") if placed else None), text, 200, 0.1)


def test_nothing_to_change_changes_nothing() -> None:
    body: Json = {"messages": [{"role": "user", "content": "Hi."}], "tools": [{}]}
    assert compose_request("chat", body, None, "", keep_tools=True) is body
    del body["tools"]
    assert compose_request("chat", body, None, "", keep_tools=False) is body


@pytest.mark.parametrize(
    ("dialect", "body", "composed"),
    [
        (
            "messages",
            {"system": [{"type": "text", "text": "old"}], "messages": [{"role": "user", "content": "Hi."}]},
            {
                "system": [{"type": "text", "text": "new"}, {"type": "text", "text": "old"}],
                "messages": [{"role": "user", "content": "Hi.\ncontext: x"}],
            },
        ),
        (
            "messages",
            {
                "tools": [{}],
                "messages": [
                    {"role": "user", "content": "Hi."},
                    {"role": "assistant", "content": [{"type": "thinking"}, {"type": "tool_use"}]},
                    {"role": "user", "content": [{"type": "tool_result"}]},
                    {"role": "assistant", "content": [{"type": "thinking"}, {"type": "text", "text": "So."}]},
                    {"role": "user", "content": [{"type": "text", "text": "And?"}]},
                ],
            },
            {
                "system": "new",
                "messages": [
                    {"role": "user", "content": "Hi."},
                    {"role": "assistant", "content": [{"type": "thinking"}, {"type": "text", "text": "So."}]},
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "And?"}, {"type": "text", "text": "context: x"}],
                    },
                ],
            },
        ),
        ("responses", {"input": "Hi."}, {"instructions": "new", "input": "Hi.\ncontext: x"}),
        (
            "responses",
            {
                "instructions": "old",
                "input": [
                    {"type": "reasoning"},
                    {"type": "function_call"},
                    {"type": "function_call_output"},
                    {"role": "user", "content": [{"type": "input_text", "text": "Hi."}]},
                ],
            },
            {
                "instructions": "new\n\nold",
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": "Hi."},
                            {"type": "input_text", "text": "context: x"},
                        ],
                    }
                ],
            },
        ),
    ],
)
def test_each_dialect_has_its_own_places(dialect: str, body: Json, composed: Json) -> None:
    before = repr(body)
    assert compose_request(dialect, body, "new", "\ncontext: x", keep_tools=False) == composed
    assert repr(body) == before


def test_reasoning_without_calls_stays() -> None:
    body: Json = {"input": [{"type": "reasoning"}, {"role": "user", "content": "Hi."}]}
    assert compose_request("responses", body, None, "", keep_tools=False) is body


def test_context_names_targets_where_there_are_several() -> None:
    assert render_context([result("a", "1")]) == "\ncontext: 1"
    assert render_context([result("a", "1"), result("b", "2")]) == "\ncontext (a): 1\ncontext (b): 2"
    assert render_context([result("a", "1"), result("b", "", placed=False)]) == "\ncontext: 1"
    assert render_context([result("b", "", placed=False)]) == ""


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ('{"choices":[{"message":{"content":"Said."}}]}', "Said."),
        ('{"choices":[{"message":{"content":null}}]}', '{"choices":[{"message":{"content":null}}]}'),
        ('{"choices":[]}', '{"choices":[]}'),
        ("[1]", "[1]"),
        ("plain", "plain"),
    ],
)
def test_a_default_target_may_answer_as_a_model_does(text: str, content: str) -> None:
    assert content_of(result("rag", text, default=True)) == content
    assert content_of(result("rag", text)) == text


def test_system_prompts_of_targets_come_before_the_global_one() -> None:
    assert choose_system_prompt([result("a", "")], "global") == "global"
    assert choose_system_prompt([result("a", "", prompt="A"), result("b", "", prompt="B")], "global") == "A\n\nB"
    assert choose_system_prompt([result("a", "", prompt="A"), result("a", "", prompt="A")], None) == "A"
