"""The messages dialect: requests read, and conversations of any client rendered for Anthropic."""

from __future__ import annotations

import base64
import copy
import itertools
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.conversation import (
    Audio,
    BadRequest,
    Block,
    Conversation,
    Document,
    Dropped,
    Image,
    Opaque,
    OutputFormat,
    Reasoning,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
    Untranslatable,
)
from plano.dialects.messages.request import parse_request, render_request
from tests.dialects.bodies import values

OLD = "claude-sonnet-4-5"
NEW = "claude-opus-4-8"
HELLO = {"model": OLD, "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}


def user(*blocks: Block | str) -> Turn:
    return Turn("user", [Text(block) if isinstance(block, str) else block for block in blocks])


def assistant(*blocks: Block | str) -> Turn:
    return Turn("assistant", [Text(block) if isinstance(block, str) else block for block in blocks])


def render(*turns: Turn, model: str = OLD, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    dropped = Dropped()
    body = render_request(Conversation("m", list(turns), **fields), model, dropped)
    return body, dropped.names


def messages(*turns: Turn) -> list[Any]:
    rendered: list[Any] = render(*turns)[0]["messages"]
    return rendered


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["Hi"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": 1}]}]},
            "messages[0].content[0].cache_control",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]},
            "messages[0].content[0].source.url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [1]}]}]},
            "messages[0].content[0].content[0]",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": "{}"}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": "100"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"model": 5}, "model"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image", "source": {"type": "url", "url": "https://a/b"}}]}, "system[0]"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format.type"),
        ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request({**HELLO, **change})
    assert caught.value.param == param
    assert param in caught.value.message


def test_unknown_fields_are_kept_with_their_path_and_unknown_blocks_as_they_came() -> None:
    result = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    body: dict[str, Any] = {
        **HELLO,
        "container": "c1",
        "new_field": {"a": 1},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi", "mood": "good"}], "clear_at": "never"},
            {"role": "assistant", "content": [result]},
        ],
        "tools": [
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
            {"name": "a", "input_schema": {"type": "object"}, "defer_loading": True},
        ],
    }
    conversation = parse_request(body)
    assert conversation.extra == {
        "messages[0].content[0].mood": "good",
        "messages[0].clear_at": "never",
        "tools[1].defer_loading": True,
        "container": "c1",
        "new_field": {"a": 1},
    }
    assert conversation.turns[1].blocks == [Opaque("messages", result)]
    assert conversation.tools[0].opaque == body["tools"][0]
    dropped = Dropped()
    rendered = render_request(conversation, OLD, dropped)
    assert rendered["tools"] == body["tools"]
    assert rendered["container"] == "c1"
    assert dropped.names == ["messages[0].content[0].mood", "messages[0].clear_at", "new_field"]


def test_system_texts_come_first_until_a_turn_has_come() -> None:
    body = {
        **HELLO,
        "system": "One",
        "messages": [
            {"role": "system", "content": "Two"},
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": [{"type": "text", "text": "Three"}]},
        ],
    }
    conversation = parse_request(body)
    assert [text.text for text in conversation.system] == ["One", "Two"]
    assert [turn.role for turn in conversation.turns] == ["user", "system"]


@pytest.mark.parametrize(
    ("thinking", "config", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, None, Reasoning(True, None, 2000)),
        ({"type": "disabled"}, None, Reasoning(False)),
        ({"type": "adaptive"}, None, Reasoning()),
        ({"type": "adaptive", "display": "summarized"}, {"effort": "max"}, Reasoning(effort="max", summary="auto")),
        (None, {"effort": "low"}, Reasoning(effort="low")),
        (None, None, None),
    ],
)
def test_thinking_is_read(thinking: Any, config: Any, expected: Reasoning | None) -> None:
    assert parse_request({**HELLO, "thinking": thinking, "output_config": config}).reasoning == expected


def test_both_forms_of_structured_output_are_read() -> None:
    output = {"type": "json_schema", "schema": {"type": "object"}}
    expected = OutputFormat("schema", schema={"type": "object"}, strict=True)
    assert parse_request({**HELLO, "output_format": output}).output == expected
    assert parse_request({**HELLO, "output_config": {"format": output}}).output == expected


def test_parallel_calls_are_read_from_the_tool_choice() -> None:
    conversation = parse_request({**HELLO, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}})
    assert conversation.tool_choice == ToolChoice("any")
    assert conversation.parallel_tools is False


def test_a_document_in_blocks_of_text_is_its_text_and_one_with_images_stays_as_it_is() -> None:
    def read(content: Any) -> Block:
        block = {"type": "document", "source": {"type": "content", "content": content}}
        body = {**HELLO, "messages": [{"role": "user", "content": [block]}]}
        return parse_request(body).turns[0].blocks[0]

    assert read("a") == Document(text="a", media_type="text/plain")
    assert read([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]) == Document(
        text="a\nb", media_type="text/plain"
    )
    assert isinstance(read([{"type": "image", "source": {"type": "url", "url": "https://a/b"}}]), Opaque)


# -- turns ------------------------------------------------------------------------------------------------------------


def test_equal_neighbours_are_one_turn_and_empty_texts_are_left_out() -> None:
    assert messages(user("a"), user("", "b"), assistant(" \n"), user("c"), assistant("d")) == [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "text", "text": "c"}],
        },
        {"role": "assistant", "content": "d"},
    ]


def test_results_of_parallel_calls_are_one_turn_and_come_first_in_it() -> None:
    turns = (
        user("go"),
        assistant(ToolUse("1", "f", "{}"), ToolUse("2", "g", '{"a":[1]}')),
        user("wait"),
        user(ToolResult("1", [Text("one")])),
        user(ToolResult("2", [], is_error=True)),
        user("and now?"),
    )
    assert messages(*turns)[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "1", "content": "one"},
        {"type": "tool_result", "tool_use_id": "2", "is_error": True},
        {"type": "text", "text": "wait"},
        {"type": "text", "text": "and now?"},
    ]


def test_calls_of_neighbouring_turns_are_one_turn() -> None:
    turns = (user("go"), assistant(ToolUse("1", "f", "")), assistant("so", ToolUse("2", "g", "{}")))
    assert [block["type"] for block in messages(*turns)[1]["content"]] == ["tool_use", "text", "tool_use"]


@pytest.mark.parametrize("arguments", ["{", "[1]", '"a"', "NaN", "{} {}"])
def test_arguments_that_are_no_object_are_refused_by_their_place(arguments: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        messages(user("go"), assistant("a", ToolUse("1", "f", "{}"), ToolUse("2", "g", arguments)))
    assert caught.value.param == "messages[1].tool_calls[1]"


def test_ids_are_cleaned_alike_in_calls_and_results_and_occur_once() -> None:
    rendered = messages(
        user("go"),
        assistant(ToolUse("functions.f:0", "f", "{}")),
        user(ToolResult("functions.f:0", [Text("1")])),
        assistant(ToolUse("functions.f:0", "f", "{}")),
        user(ToolResult("functions.f:0", [Text("2")])),
        assistant(ToolUse("ok_1-B", "f", "{}")),
    )
    first, second = rendered[1]["content"][0]["id"], rendered[3]["content"][0]["id"]
    assert first.startswith("functions_f_0_")
    assert second == f"{first}_2"
    assert rendered[2]["content"][0]["tool_use_id"] == first
    assert rendered[4]["content"][0]["tool_use_id"] == second
    assert rendered[5]["content"][0]["id"] == "ok_1-B"


def test_all_system_texts_are_kept_in_order() -> None:
    body, _ = render(
        user("Hi"),
        Turn("system", [Text("Three")]),
        assistant("Ho"),
        Turn("system", [Text(""), Text("Four")]),
        system=[Text("One"), Text("Two", cache={"type": "ephemeral"})],
    )
    assert body["system"] == [
        {"type": "text", "text": "One"},
        {"type": "text", "text": "Two", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Three"},
        {"type": "text", "text": "Four"},
    ]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"]


def test_instructions_that_stand_alone_are_said_as_the_user() -> None:
    body, _ = render(system=[Text("Write a haiku.")])
    assert body["messages"] == [{"role": "user", "content": "Write a haiku."}]
    assert "system" not in body
    with pytest.raises(Untranslatable) as caught:
        render(user(""))
    assert caught.value.param == "messages"


def test_a_prefill_is_kept_without_the_white_space_that_the_api_refuses() -> None:
    assert messages(user("JSON!"), assistant('{"a": '))[-1] == {"role": "assistant", "content": '{"a":'}


def test_thinking_comes_back_only_with_a_signature_that_may_be_anthropics() -> None:
    turn = assistant(
        Thinking("mine", "EqQBCg"),
        RedactedThinking("EmwK"),
        Thinking("unsigned"),
        Thinking("openai", "gAAAAABo"),
        Thinking("gemini", "gemini:Cuw"),
        RedactedThinking("gAAAAABo"),
        "so",
    )
    body, dropped = render(user("Hi"), turn, user("and?"))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "mine", "signature": "EqQBCg"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "text", "text": "so"},
    ]
    assert dropped == ["thinking", "redacted_thinking"]


def test_what_only_other_dialects_have_is_named_or_refused() -> None:
    body, dropped = render(
        Turn("user", [Text("Hi"), Opaque("responses", {"type": "shell_call_output"})], name="bob"),
        assistant(Refusal("No.")),
    )
    assert body["messages"][1] == {"role": "assistant", "content": "No."}
    assert dropped == ["name", "shell_call_output"]
    with pytest.raises(Untranslatable) as caught:
        messages(user(Audio("UklG", "wav")))
    assert caught.value.param == "messages[0].content[0]"


PNG = "iVBORw0KGgoAAAA"


@pytest.mark.parametrize(
    ("image", "source"),
    [
        (Image(url="https://a/b.png"), {"type": "url", "url": "https://a/b.png"}),
        (Image(data=PNG, media_type="image/png"), {"type": "base64", "media_type": "image/png", "data": PNG}),
        (Image(data=PNG), {"type": "base64", "media_type": "image/png", "data": PNG}),
        (
            Image(data="/9j/4AAQ", media_type="image/jpg"),
            {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"},
        ),
        (
            Image(url=f"data:image/png;charset=x;base64,{PNG}"),
            {"type": "base64", "media_type": "image/png", "data": PNG},
        ),
        (Image(url="data:;base64,/9j/4AAQ"), {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}),
        (Image(file_id="file_011"), {"type": "file", "file_id": "file_011"}),
    ],
)
def test_images(image: Image, source: dict[str, Any]) -> None:
    assert messages(user(image))[0]["content"] == [{"type": "image", "source": source}]


@pytest.mark.parametrize(
    "block",
    [
        Image(url="gs://bucket/a.png"),
        Image(file_id="file-abc"),
        Image(),
        Document(data="UEsDBA==", media_type="application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        Document(data="/w==", media_type="text/plain"),
        Document(data="a", media_type="text/csv"),
        Document(file_id="file-abc"),
    ],
)
def test_a_file_that_the_api_cannot_read_is_refused_by_its_place(block: Block) -> None:
    with pytest.raises(Untranslatable) as caught:
        messages(user("Hi", ToolResult("1", [block])))
    assert caught.value.param == "messages[0].content[1].content[0]"


@pytest.mark.parametrize(
    ("document", "source"),
    [
        (Document(text="a"), {"type": "text", "media_type": "text/plain", "data": "a"}),
        (
            Document(data=base64.b64encode("é,1".encode()).decode(), media_type="text/csv"),
            {"type": "text", "media_type": "text/plain", "data": "é,1"},
        ),
        (Document(data="JVBERi0x"), {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}),
        (Document(url="https://a/b.pdf"), {"type": "url", "url": "https://a/b.pdf"}),
        (
            Document(url="data:application/pdf;base64,JVBERi0x"),
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"},
        ),
    ],
)
def test_documents(document: Document, source: dict[str, Any]) -> None:
    assert messages(user(document))[0]["content"] == [{"type": "document", "source": source}]


def test_citations_go_back_only_when_whole() -> None:
    whole = {"type": "web_search_result_location", "cited_text": "a", "encrypted_index": "E", "url": "https://a"}
    body, dropped = render(
        user("Hi"),
        assistant(Text("a", citations=[whole, {**whole, "encrypted_index": ""}, {"type": ["x"]}])),
        user("?"),
    )
    assert body["messages"][1]["content"][0]["citations"] == [whole]
    assert dropped == ["citations"]


# -- options ----------------------------------------------------------------------------------------------------------


def test_several_answers_are_refused_and_what_has_no_place_is_named() -> None:
    with pytest.raises(Untranslatable) as caught:
        render(user("Hi"), n=2)
    assert caught.value.param == "n"
    _, dropped = render(
        user("Hi"),
        n=1,
        seed=1,
        frequency_penalty=0.5,
        presence_penalty=0.0,
        logprobs=True,
        verbosity="low",
        store=True,
        metadata={"a": "b"},
        service_tier="flex",
        stop=["\n", "END"],
        extra={"logit_bias": {"5": 1}, "stream_options": {}, "safety_identifier": "u"},
        notes={"anything": 1},
    )
    assert dropped == [
        "stop",
        "service_tier",
        "seed",
        "frequency_penalty",
        "logprobs",
        "verbosity",
        "metadata",
        "store",
        "logit_bias",
    ]


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
def test_a_part_of_the_conversation_kept_elsewhere_is_never_left_out(name: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        render(user("Hi"), extra={name: "resp_1"})
    assert caught.value.param == name


def test_the_plain_options() -> None:
    body, dropped = render(
        user("Hi"),
        stream=True,
        max_tokens=10,
        temperature=0.5,
        top_k=5,
        stop=["a"],
        user="u1",
        service_tier="default",
        store=False,
    )
    assert body == {
        "model": OLD,
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "Hi"}],
        "stop_sequences": ["a"],
        "temperature": 0.5,
        "top_k": 5,
        "stream": True,
        "metadata": {"user_id": "u1"},
        "service_tier": "standard_only",
    }
    assert dropped == []


def tool(name: str, **fields: Any) -> Tool:
    return Tool(name, schema={"type": "object", "properties": {"a": {"type": "string"}}}, **fields)


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("any"), None, {"type": "any"}),
        (ToolChoice("tool", "f"), False, {"type": "tool", "name": "f", "disable_parallel_tool_use": True}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, parallel: bool | None, expected: Any) -> None:
    body, _ = render(user("Hi"), tools=[tool("f")], tool_choice=choice, parallel_tools=parallel)
    assert body.get("tool_choice") == expected


def test_a_choice_without_tools_is_left_out_and_named_when_it_forces() -> None:
    assert render(user("Hi"), tool_choice=ToolChoice("auto"), parallel_tools=False)[1] == []
    body, dropped = render(user("Hi"), tool_choice=ToolChoice("any"))
    assert "tool_choice" not in body
    assert dropped == ["tool_choice"]


def test_only_allowed_tools_are_offered() -> None:
    choice = ToolChoice("any", allowed=["g"])
    body, _ = render(user("Hi"), tools=[tool("f"), tool("g")], tool_choice=choice)
    assert [tool["name"] for tool in body["tools"]] == ["g"]


def test_tools_without_a_schema_free_text_tools_and_strict_ones() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /a+/"}
    body, dropped = render(
        user("Hi"),
        tools=[Tool("f"), Tool("g", custom=True, grammar=grammar), tool("h", strict=True), tool("i", strict=False)],
    )
    assert body["tools"][0] == {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    assert body["tools"][1]["input_schema"]["required"] == ["input"]
    assert "start: /a+/" in body["tools"][1]["input_schema"]["properties"]["input"]["description"]
    assert body["tools"][2]["strict"] is True
    assert body["tools"][2]["input_schema"]["additionalProperties"] is False
    assert "strict" not in body["tools"][3]
    assert dropped == ["tools[1].format"]


def test_strict_tools_are_as_many_as_the_api_takes_and_closed_ones() -> None:
    body, dropped = render(user("Hi"), tools=[tool(f"f{number}", strict=True) for number in range(22)])
    assert sum("strict" in tool for tool in body["tools"]) == 20
    assert dropped == ["tools[20].strict", "tools[21].strict"]
    free = Tool("f", schema={"type": "object", "additionalProperties": {"type": "string"}}, strict=True)
    body, dropped = render(user("Hi"), tools=[free])
    assert body["tools"] == [{"name": "f", "input_schema": free.schema}]
    assert dropped == ["tools[0].strict"]
    assert render(user("Hi"), tools=[tool("f", strict=True)], model="claude-3-5-haiku-latest")[1] == ["tools[0].strict"]


@pytest.mark.parametrize("kind", ["web_search_preview", "web_search_2025_08_26", "file_search", "computer_use_preview"])
def test_another_providers_tool_is_refused_by_its_place(kind: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        render(user("Hi"), tools=[tool("f"), Tool(kind, opaque={"type": kind})])
    assert caught.value.param == "tools[1]"


def test_calls_of_free_text_tools_are_wrapped() -> None:
    call = ToolUse("1", "g", 'say "hi"', custom=True)
    assert messages(user("Hi"), assistant(call))[1]["content"][0]["input"] == {"input": 'say "hi"'}


@pytest.mark.parametrize(
    ("reasoning", "max_tokens", "expected", "limit"),
    [
        (Reasoning(effort="low"), None, {"type": "enabled", "budget_tokens": 1024}, 5120),
        (Reasoning(effort="medium"), None, {"type": "enabled", "budget_tokens": 4096}, 8192),
        (Reasoning(effort="high"), None, {"type": "enabled", "budget_tokens": 16_384}, 20_480),
        (Reasoning(effort="max"), None, {"type": "enabled", "budget_tokens": 27_904}, 32_000),
        (Reasoning(effort="high"), 5000, {"type": "enabled", "budget_tokens": 3750}, 5000),
        (Reasoning(budget_tokens=9000), 5000, {"type": "enabled", "budget_tokens": 4999}, 5000),
        (Reasoning(effort="high"), 1025, {"type": "enabled", "budget_tokens": 1024}, 1025),
        (Reasoning(enabled=True), None, {"type": "enabled", "budget_tokens": 4096}, 8192),
        (Reasoning(budget_tokens=100), None, {"type": "enabled", "budget_tokens": 1024}, 5120),
        (Reasoning(effort="none"), None, {"type": "disabled"}, 4096),
        (Reasoning(enabled=False), None, {"type": "disabled"}, 4096),
        (Reasoning(summary="auto"), None, None, 4096),
    ],
)
def test_thinking_by_a_budget(reasoning: Reasoning, max_tokens: int | None, expected: Any, limit: int) -> None:
    body, dropped = render(user("Hi"), reasoning=reasoning, max_tokens=max_tokens)
    assert body.get("thinking") == expected
    assert body["max_tokens"] == limit
    assert dropped == []


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking", "effort"),
    [
        (NEW, Reasoning(effort="high"), {"type": "adaptive"}, "high"),
        (NEW, Reasoning(effort="minimal", summary="auto"), {"type": "adaptive", "display": "summarized"}, "low"),
        (NEW, Reasoning(effort="xhigh"), {"type": "adaptive"}, "xhigh"),
        ("claude-opus-4-6", Reasoning(effort="xhigh"), {"type": "adaptive"}, "high"),
        (NEW, Reasoning(budget_tokens=16_000), {"type": "adaptive"}, "high"),
        (NEW, Reasoning(), {"type": "adaptive"}, None),
        (NEW, Reasoning(effort="none"), {"type": "disabled"}, None),
        ("claude-sonnet-5-5", Reasoning(effort="none"), {"type": "between_tools"}, None),
        ("claude-opus-5-5", Reasoning(effort="none"), None, "low"),
        ("anthropic.claude-fable-5-1-v1:0", Reasoning(enabled=False), None, "low"),
    ],
)
def test_thinking_by_an_effort(model: str, reasoning: Reasoning, thinking: Any, effort: str | None) -> None:
    body, _ = render(user("Hi"), model=model, reasoning=reasoning)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert body["max_tokens"] == 4096


def test_thinking_gives_way_where_the_api_refuses_it() -> None:
    call = assistant(ToolUse("1", "f", "{}"))
    signed = assistant(Thinking("so", "EqQB"), ToolUse("1", "f", "{}"))
    result = user(ToolResult("1", [Text("x")]))
    effort = Reasoning(effort="low")
    for turns, fields in (
        ((user("Hi"), call, result), {}),
        ((user("Hi"), assistant("prefill")), {}),
        ((user("Hi"),), {"max_tokens": 1024}),
        ((user("Hi"),), {"tools": [tool("f")], "tool_choice": ToolChoice("any")}),
    ):
        body, dropped = render(*turns, reasoning=effort, **fields)
        assert "thinking" not in body
        assert dropped == ["reasoning"]
    for history in ([user("Hi"), signed, result], [user("Hi"), call, result, assistant("a"), user("b")]):
        assert "thinking" in render(*history, reasoning=effort)[0]
    # Models that think adaptively take any history.
    assert "thinking" in render(user("Hi"), call, result, reasoning=effort, model=NEW)[0]


@pytest.mark.parametrize(
    ("model", "fields", "sent", "names"),
    [
        (OLD, {"temperature": 0.5}, {"temperature": 0.5}, []),
        (OLD, {"temperature": 1.5}, {"temperature": 1.0}, ["temperature"]),
        (OLD, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, ["top_p"]),
        (OLD, {"temperature": 1.0, "top_p": 1.0}, {"temperature": 1.0}, []),
        ("claude-3-haiku-20240307", {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}, []),
        (NEW, {"temperature": 1.0, "top_p": 1.0}, {}, []),
        (NEW, {"temperature": 0.0, "top_p": 0.5, "top_k": 3}, {}, ["temperature", "top_p", "top_k"]),
        (
            OLD,
            {"temperature": 0.0, "top_p": 0.96, "top_k": 3, "reasoning": Reasoning(effort="low")},
            {"top_p": 0.96},
            ["temperature", "top_k"],
        ),
    ],
)
def test_sampling(model: str, fields: dict[str, Any], sent: dict[str, Any], names: list[str]) -> None:
    body, dropped = render(user("Hi"), model=model, **fields)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == sent
    assert dropped == names


def test_a_schema_is_closed_and_its_limits_are_told() -> None:
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "In years"},
            "who": {"oneOf": [{"$ref": "#/$defs/P"}, {"type": "null"}]},
            "format": {"type": "string", "format": "email"},
            "colour": {"type": "string", "format": "color"},
        },
        "$defs": {"P": {"type": "object", "properties": {"n": {"type": "string"}}}},
    }
    before = copy.deepcopy(schema)
    body, dropped = render(user("Hi"), output=OutputFormat("schema", "x", schema))
    assert schema == before
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "age": {"type": "integer", "description": 'In years\n\n{"minimum":0}'},
                "who": {"anyOf": [{"$ref": "#/$defs/P"}, {"type": "null"}]},
                "format": {"type": "string", "format": "email"},
                "colour": {"type": "string", "description": '{"format":"color"}'},
            },
            "$defs": {"P": {"type": "object", "properties": {"n": {"type": "string"}}, "additionalProperties": False}},
            "additionalProperties": False,
        },
    }
    assert dropped == []


def test_json_without_a_schema_is_named_and_an_open_schema_refused() -> None:
    body, dropped = render(user("Hi"), output=OutputFormat("json"))
    assert "output_config" not in body
    assert dropped == ["response_format"]
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        deep = {"type": "array", "items": deep}
    for schema in ({"type": "object"}, {"type": "object", "additionalProperties": {"type": "string"}}, deep):
        with pytest.raises(Untranslatable) as caught:
            render(user("Hi"), output=OutputFormat("schema", schema=schema))
        assert caught.value.param == "response_format"


# -- properties -------------------------------------------------------------------------------------------------------

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda text: text.strip())
_arguments = st.dictionaries(_texts, st.integers(-9, 9) | _texts | st.lists(_texts, max_size=2), max_size=3)
_user_blocks = st.builds(Text, _texts) | st.builds(
    lambda data: Image(data=base64.b64encode(data).decode(), media_type="image/png"), st.binary(max_size=9)
)
_assistant_blocks = st.builds(Text, _texts) | st.builds(
    lambda text, signature: Thinking(text, signature), _texts, st.sampled_from(["EqQB", "EsQC"])
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Turns as a client may send them: calls answered at once, in one or several turns."""
    turns: list[Turn] = []
    calls = 0
    for _ in range(draw(st.integers(1, 4))):
        turns.append(Turn("user", draw(st.lists(_user_blocks, min_size=1, max_size=3))))
        blocks: list[Block] = draw(st.lists(_assistant_blocks, max_size=2))
        made = draw(st.integers(0, 3))
        blocks.extend(
            ToolUse(f"call_{number}", draw(st.sampled_from(["f", "g"])), json.dumps(draw(_arguments)))
            for number in range(calls, calls + made)
        )
        if blocks:
            turns.append(Turn("assistant", blocks))
        results: list[Block] = [
            ToolResult(f"call_{number}", [Text(draw(_texts))], draw(st.booleans()))
            for number in range(calls, calls + made)
        ]
        if draw(st.booleans()):
            turns.extend(Turn("user", [result]) for result in results)
        elif results:
            turns.append(Turn("user", results))
        calls += made
    turns.append(Turn("user", [Text(draw(_texts))]))
    return Conversation("m", turns, system=draw(st.lists(st.builds(Text, _texts), max_size=2)), max_tokens=9)


def flatten(turns: list[Turn]) -> list[Any]:
    """Everything said, in order, whoever's turn it was cut into."""
    return [
        (
            turn.role,
            ("call", block.id, block.name, json.loads(block.arguments)) if isinstance(block, ToolUse) else block,
        )
        for turn in turns
        for block in turn.blocks
    ]


@settings(max_examples=60, deadline=None)
@given(conversations())
def test_a_conversation_goes_there_and_back(conversation: Conversation) -> None:
    dropped = Dropped()
    body = render_request(conversation, OLD, dropped)
    again = parse_request(json.loads(json.dumps(body)))
    assert dropped.names == []
    assert again.system == conversation.system
    assert flatten(again.turns) == flatten(conversation.turns)
    roles = [message["role"] for message in body["messages"]]
    assert all(first != second for first, second in itertools.pairwise(roles))
    assert render_request(again, OLD, Dropped()) == body


_junk_blocks = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "new"]) | values,
        "text": values,
        "source": st.dictionaries(st.sampled_from(["type", "data", "url", "media_type", "content"]), values) | values,
        "id": values,
        "name": values,
        "input": values,
        "tool_use_id": values,
        "content": values,
        "signature": values,
        "thinking": values,
        "citations": values,
    },
)
_junk_bodies = st.fixed_dictionaries(
    {
        "messages": st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["user", "assistant", "system"]) | values,
                    "content": st.lists(_junk_blocks | values, max_size=3) | values,
                }
            ),
            max_size=3,
        )
        | values,
        "max_tokens": st.just(5) | values,
    },
    optional=dict.fromkeys(
        (
            "system",
            "temperature",
            "top_p",
            "top_k",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "output_format",
            "metadata",
            "stop_sequences",
            "service_tier",
            "container",
            "context_management",
        ),
        values,
    ),
)


@settings(max_examples=150, deadline=None)
@given(_junk_bodies)
def test_no_request_raises_anything_but_a_refusal(body: dict[str, Any]) -> None:
    with suppress(BadRequest):
        render_request(parse_request(body), OLD, Dropped())
