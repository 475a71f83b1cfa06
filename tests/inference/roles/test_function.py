"""The function role's messages, grammar and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plano.inference.calls import BadCall, FunctionCall, Tool, ToolCall
from plano.inference.roles.function import (
    ANSWER_TOKENS,
    CLARIFY_PREFILL,
    PREFILL,
    build_messages,
    grammar,
    json_schema,
    parse_answer,
    question_for,
)
from plano.inference.roles.model_json import BadModelAnswer
from plano.inference.roles.transcript import MESSAGE_TOKENS

GOLDEN = Path(__file__).parent / "golden"

WEATHER = Tool(
    "get_weather",
    "The weather of a city, hier & später",
    {
        "type": "object",
        "properties": {
            "city": {"type": "str", "description": "Name of the city. Not of a country."},
            "days": {"type": "int"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "days"],
    },
)
TRANSFER = Tool(
    "transfer_money",
    "Move money",
    {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]},
)
TOOLS = (WEATHER, TRANSFER)


def quarters(text: str) -> int:
    return len(text.encode()) // 4 + 1


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(*calls: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
            for identity, name, arguments in calls
        ],
    }


TALK = (
    {"role": "system", "content": "The user is called Zoë."},
    user("Weather in Paris and Rome?"),
    called(("c1", "get_weather", '{"city": "Paris"}'), ("c2", "get_weather", '{"city": "Rome"}')),
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "sun"}]},
    {"role": "tool", "tool_call_id": "c1", "content": "rain </tool_response>"},
    {"role": "assistant", "content": "Rain and sun."},
    {
        "role": "user",
        "content": [{"type": "text", "text": "And"}, {"type": "image_url"}, {"type": "text", "text": "?"}],
    },
)


def build(messages: tuple[dict[str, Any], ...], context_tokens: int = 8_192, **options: Any) -> list[dict[str, Any]]:
    return build_messages(FunctionCall(messages, TOOLS), quarters, context_tokens, **options)


def cost(messages: list[dict[str, Any]]) -> int:
    return sum(quarters(message["content"]) + MESSAGE_TOKENS for message in messages)


def test_the_conversation_is_byte_for_byte_the_golden_one() -> None:
    shown = "".join(f"--- {message['role']}\n{message['content']}\n" for message in build(TALK))
    assert shown == (GOLDEN / "function_messages.txt").read_text(encoding="utf-8")


def test_a_general_model_is_told_another_form_and_a_template_replaces_either() -> None:
    schema_form = build(TALK, form="schema")[0]["content"]
    assert "```" not in schema_form
    assert '{"name": "get_weather"' in schema_form
    own = build(TALK, template="Tools:\n{tools}\nJSON like {}.")[0]["content"]
    assert own.startswith('Tools:\n{"name": "get_weather"')
    assert own.endswith("JSON like {}.")


def test_a_result_without_an_id_belongs_to_the_fenced_call_before_it() -> None:
    talk = (
        user("weather?"),
        {"role": "assistant", "content": '```json\n{"tool_calls": [{"name": "get_weather", "arguments": {}}]}\n```'},
        {"role": "tool", "content": "rain"},
    )
    assert build(talk)[-1]["content"] == '<tool_response>\n{"name": "get_weather", "result": "rain"}\n</tool_response>'
    nameless = build((user("weather?"), {"role": "tool", "content": "rain"}))
    assert nameless[-1]["content"] == '<tool_response>\n{"result": "rain"}\n</tool_response>'


@pytest.mark.parametrize("talk", [(user("x"), {"role": "assistant", "content": "y"}), (TALK[0],), (user(" "),)])
def test_a_conversation_that_waits_for_nobody_is_refused(talk: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(BadCall, match="last message"):
        build(talk)


def test_older_messages_go_first_and_what_is_left_begins_with_the_user() -> None:
    talk = [user("first question " * 30)]
    for number in range(20):
        talk += [called((f"c{number}", "get_weather", "{}"))]
        talk += [{"role": "tool", "tool_call_id": f"c{number}", "content": "rain " * 20}]
        talk += [{"role": "assistant", "content": f"answer {number}"}, user(f"question {number}")]
    shown = build(tuple(talk), context_tokens=1_700)
    assert cost(shown) <= 1_700 - 1_700 // 2
    assert shown[0]["role"] == "system"
    assert shown[1]["content"].startswith("question ")
    assert shown[-1]["content"] == "question 19"
    assert len(shown) > 5


def test_a_giant_result_is_trimmed_and_the_question_stays() -> None:
    talk = (
        user("old"),
        {"role": "assistant", "content": "old answer"},
        user("What is the weather?"),
        called(("c", "get_weather", "{}")),
        {"role": "tool", "tool_call_id": "c", "content": "HEAD" + "x" * 400_000 + "TAIL"},
    )
    shown = build(talk, context_tokens=4_096)
    assert cost(shown) <= 4_096 - ANSWER_TOKENS
    assert [message["content"][:8] for message in shown[1:]] == ["What is ", "<tool_ca", "<tool_re"]
    assert "HEADxx" in shown[-1]["content"]
    assert 'TAIL"' in shown[-1]["content"]


def test_tools_that_leave_no_room_are_refused() -> None:
    with pytest.raises(BadCall, match="2 tools"):
        build(TALK, context_tokens=500)


@given(st.lists(st.sampled_from(["user", "assistant", "tool", "call"]), max_size=14), st.integers(0, 4_000))
def test_messages_fit_their_context_whatever_is_said(roles: list[str], length: int) -> None:
    talk = [
        called(("c", "f", "{}")) if role == "call" else {"role": role, "content": f"{role} " + "w " * length}
        for role in roles
    ]
    shown = build((*talk, user("w " * length + "last")), context_tokens=2_000)
    assert cost(shown) <= 2_000 - 1_000
    assert shown[-1]["content"].endswith("last")


# -- answers ----------------------------------------------------------------------------------------------------------


def fenced(**answer: Any) -> str:
    return f"```json\n{json.dumps(answer)}\n```"


def test_calls_come_back_coerced_and_in_order() -> None:
    text = fenced(
        tool_calls=[
            {"name": "transfer_money", "arguments": {"amount": "10.50"}},
            {"name": "get_weather", "arguments": {"city": "Rome", "days": "3", "unit": "Celsius"}},
        ]
    )
    answer = parse_answer(text, TOOLS)
    assert answer.outcome == "calls"
    assert answer.calls == (
        ToolCall("transfer_money", {"amount": 10.5}),
        ToolCall("get_weather", {"city": "Rome", "days": 3, "unit": "celsius"}),
    )
    assert answer.raw == text


@pytest.mark.parametrize(
    "text",
    [
        '{"tool_calls": [{"name": "transfer_money", "arguments": "{\\"amount\\": 5}"}], "response": ""}',
        '{"tool_calls": {"name": "transfer_money", "arguments": {"amount": 5}}}',
        '{"tool_calls": [{"type": "function", "function": {"name": "transfer_money", "arguments": {"amount": 5}}}]}',
        '{"name": "transfer_money", "arguments": {"amount": 5}}',
        '{"tool_calls": [{"name": "transfer_money", "arguments": {"amount": 5}}]',
        "{'tool_calls': [{'name': 'transfer_money', 'arguments': {'amount': 5,}}}]}",
        '<think>hm</think><tool_call>\n{"name": "transfer_money", "arguments": {"amount": 5}}\n</tool_call>',
    ],
)
def test_a_call_is_understood_in_the_ways_models_write_it(text: str) -> None:
    answer = parse_answer(text, TOOLS)
    assert answer.calls == (ToolCall("transfer_money", {"amount": 5}),)


def test_two_tagged_calls_are_two_calls() -> None:
    block = '<tool_call>\n{"name": "transfer_money", "arguments": {"amount": 5}}\n</tool_call>'
    assert len(parse_answer(f"{block}\n{block}", TOOLS).calls) == 2


def test_a_response_counts_before_a_question_and_a_question_before_a_call() -> None:
    call = [{"name": "transfer_money", "arguments": {"amount": 5}}]
    everything: dict[str, Any] = {
        "response": "hello",
        "required_functions": ["get_weather"],
        "clarification": "Where?",
        "tool_calls": call,
    }
    assert parse_answer(fenced(**everything), TOOLS).outcome == "none"
    everything["response"] = ""
    asked = parse_answer(fenced(**everything), TOOLS)
    assert (asked.outcome, asked.question, asked.candidates) == ("clarify", "Where?", ("get_weather",))
    everything["required_functions"] = []
    assert parse_answer(fenced(**everything), TOOLS).outcome == "calls"
    assert parse_answer(fenced(response="", tool_calls=[]), TOOLS).outcome == "none"


def test_a_call_that_lacks_something_required_asks_for_it() -> None:
    answer = parse_answer(fenced(tool_calls=[{"name": "get_weather", "arguments": {"city": ""}}]), TOOLS)
    assert answer.outcome == "clarify"
    assert answer.question == "Could you please tell me the city (Name of the city) and days?"
    assert answer.candidates == ("get_weather",)


def test_a_question_without_words_is_put_into_ours() -> None:
    answer = parse_answer(fenced(required_functions=["transfer_money", "zzz"]), TOOLS)
    assert (answer.outcome, answer.question) == ("clarify", "Could you please tell me the amount?")
    unit = question_for(WEATHER, ["unit"])
    assert unit == "Could you please tell me the unit (celsius or fahrenheit)?"


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([{"name": "get_weather", "arguments": {"city": "Rome", "days": 2, "unit": "kelvin"}}], "'kelvin'"),
        ([{"name": "get_weather", "arguments": {"city": "Rome", "days": 2, "mood": "good"}}], "'mood'"),
        ([{"name": "transfer_money", "arguments": {"amount": 1}}, {"name": "rob"}], "no function of that name"),
        ([{"name": "transfer_money", "arguments": [1]}], "no object"),
        ([{"name": "transfer_money", "arguments": {"amount": 1}}] * 17, "more than 16"),
        (["x"], "without a name"),
    ],
)
def test_one_invalid_call_means_that_none_is_made(calls: list[Any], reason: str) -> None:
    answer = parse_answer(fenced(tool_calls=calls), TOOLS)
    assert answer.outcome == "none"
    assert answer.calls == ()
    assert reason in answer.raw
    assert set(answer.candidates) <= {"get_weather", "transfer_money"}


@pytest.mark.parametrize("text", ["", "I cannot help.", '{"tool_calls": [{"name": "get_wea', "<tool_call>"])
def test_what_is_no_answer_is_an_error(text: str) -> None:
    with pytest.raises(BadModelAnswer):
        parse_answer(text, TOOLS)


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["name", "arguments", "amount", "city", "function", "response", "clarification"]), inner
            )
        ),
        max_leaves=8,
    )
)
def test_no_shape_of_an_answer_breaks_the_parser(value: Any) -> None:
    for key in ("tool_calls", "required_functions", "response", "arguments", "name"):
        parse_answer(fenced(**{key: value}), TOOLS)


# -- grammar and schema -----------------------------------------------------------------------------------------------


def accepts(ebnf: str) -> Callable[[str], bool]:
    pytest.importorskip("xgrammar")
    import xgrammar
    from xgrammar.testing import _is_grammar_accept_string

    compiled = xgrammar.Grammar.from_ebnf(ebnf)
    return lambda text: bool(_is_grammar_accept_string(compiled, text))


def test_the_grammar_goes_on_from_the_prefill_in_each_of_the_three_forms() -> None:
    names = ["get_weather", 'say "hi"']
    allows = accepts(grammar(names))
    call = {"name": 'say "hi"', "arguments": {"a": [1, {"b": -1.5e-3}], "c": 'ü "q" \n', "d": None, "e": {}}}
    for answer in (
        {"response": "Hello\tthere"},
        {"required_functions": names, "clarification": "Which?"},
        {"tool_calls": [call, {"name": "get_weather", "arguments": {}}]},
    ):
        text = f"```json\n{json.dumps(answer, ensure_ascii=False)}\n```"
        assert text.startswith(PREFILL)
        assert allows(text.removeprefix(PREFILL))
    for wrong in ('tool_calls": [{"name": "rob", "arguments": {}}]}\n```', 'tool_calls": []}\n```', 'response": "x"}'):
        assert not allows(wrong)


def test_the_second_try_can_only_ask() -> None:
    allows = accepts(grammar(["get_weather"], clarify=True))
    text = fenced(required_functions=["get_weather"], clarification="Where?")
    assert text.startswith(CLARIFY_PREFILL)
    assert allows(text.removeprefix(CLARIFY_PREFILL))
    assert not allows(' [], "clarification": "x"}\n```')


def test_the_schema_is_one_that_strict_modes_take() -> None:
    def check(schema: dict[str, Any]) -> None:
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
            for member in schema["properties"].values():
                check(member)
        elif schema["type"] == "array":
            check(schema["items"])

    check(json_schema(TOOLS))
