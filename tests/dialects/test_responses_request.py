"""Requests of the responses dialect: what is understood, what is refused and where, what upstreams get."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plano.dialects.conversation import (
    Audio,
    BadRequest,
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
from plano.dialects.responses.request import check_portable, parse_request, render_request
from tests.demo import openapi
from tests.dialects.bodies import values

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def parse(*items: Any, **fields: Any) -> Conversation:
    return parse_request({"model": "m", "input": list(items), **fields})


def render(conversation: Conversation) -> tuple[dict[str, Any], list[str]]:
    dropped = Dropped()
    return render_request(conversation, "m", dropped), dropped.names


def asked(*turns: Turn, **fields: Any) -> Conversation:
    return Conversation("m", list(turns) or [Turn("user", [Text("Hi")])], **fields)


# -- items ------------------------------------------------------------------------------------------------------------


def test_a_string_is_what_the_user_says() -> None:
    conversation = parse_request({"model": "m", "input": "Hi", "instructions": "Be brief."})
    assert conversation.turns == [Turn("user", [Text("Hi")])]
    assert conversation.system == [Text("Be brief.")]


def test_what_the_model_did_at_once_is_one_turn() -> None:
    conversation = parse(
        {"role": "user", "content": "Go"},
        {"type": "reasoning", "id": "rs_a", "summary": [], "encrypted_content": "gAAAAB"},
        {"role": "assistant", "content": "Looking."},
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "2", "name": "sql", "input": "SELECT 1"},
        {"type": "function_call_output", "call_id": "1", "output": "a"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "b"}]},
        {"role": "user", "content": "And?"},
    )
    assert conversation.turns == [
        Turn("user", [Text("Go")]),
        Turn(
            "assistant",
            [
                Thinking("", "gAAAAB", "rs_a"),
                Text("Looking."),
                ToolUse("1", "look", "{}"),
                ToolUse("2", "sql", "SELECT 1", custom=True),
            ],
        ),
        Turn("user", [ToolResult("1", [Text("a")], name="look"), ToolResult("2", [Text("b")], name="sql")]),
        Turn("user", [Text("And?")]),
    ]


def test_system_messages_before_the_first_turn_are_the_system_and_later_ones_are_turns() -> None:
    conversation = parse(
        {"role": "system", "content": "A"},
        {"role": "developer", "content": [{"type": "input_text", "text": "B"}]},
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": "C"},
    )
    assert conversation.system == [Text("A"), Text("B")]
    assert conversation.turns[1] == Turn("system", [Text("C")])


def test_parts_of_a_message() -> None:
    conversation = parse(
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
                {"type": "input_image", "image_url": "https://example.com/a.png"},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,w7w="},
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,/w=="},
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,é"},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
                {"type": "input_smell", "smell": "rose"},
            ],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    )
    blocks = conversation.turns[0].blocks
    assert blocks[0] == Text("x", {"type": "ephemeral"})
    assert blocks[1] == Image(media_type="image/png", data="aGk=", detail="low")
    assert blocks[2] == Image(url="https://example.com/a.png")
    assert blocks[3] == Image(file_id="file-1")
    assert blocks[4] == Document(url="https://example.com/a.pdf")
    assert blocks[5] == Document(media_type="text/plain", text="ü", title="a.txt")
    assert blocks[6] == Document(media_type="text/plain", data="/w==", title="a.txt")
    assert blocks[7] == Document(media_type="text/plain", data="é", title="a.txt")
    assert blocks[8] == Audio("aGk=", "wav")
    assert blocks[9] == Opaque("responses.part", {"type": "input_smell", "smell": "rose"})
    assert conversation.turns[1].blocks == [Refusal("No.")]


def test_unknown_items_survive_on_their_side() -> None:
    call = {"type": "computer_call", "call_id": "1", "id": "cu_1"}
    output = {"type": "computer_call_output", "call_id": "1", "output": {"type": "computer_screenshot"}}
    conversation = parse({"role": "user", "content": "Click"}, call, output)
    assert conversation.turns[1:] == [
        Turn("assistant", [Opaque("responses", call)]),
        Turn("user", [Opaque("responses", output)]),
    ]
    assert render(conversation)[0]["input"][1:] == [call, output]


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "msg_7"}, {"id": "msg_7"}])
def test_a_reference_to_an_item_kept_elsewhere_is_refused_by_name(item: dict[str, Any]) -> None:
    with pytest.raises(Untranslatable, match="msg_7") as caught:
        parse({"role": "user", "content": "Hi"}, item)
    assert caught.value.param == "input[1]"


def test_a_call_with_an_id_is_no_reference() -> None:
    item = {"id": "fc_1", "type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"}
    assert parse(item).turns == [Turn("assistant", [ToolUse("1", "look", "{}")])]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{}]}, "input[0].type"),
        ({"input": [{"type": 1}]}, "input[0].type"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": 1}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].file_data"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].input_audio"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "function_call", "call_id": "1", "name": "x"}]}, "input[0].arguments"),
        ({"input": [{"type": "custom_tool_call", "call_id": "1", "name": "x"}]}, "input[0].input"),
        ({"input": [{"type": "function_call", "name": "x", "arguments": ""}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "1"}]}, "input[0].output"),
        ({"input": [{"type": "reasoning", "summary": [1]}]}, "input[0].summary[0]"),
        ({"input": [{"type": "reasoning", "content": [{}]}]}, "input[0].content[0].text"),
        ({"input": "x", "model": 1}, "model"),
        ({"input": "x", "stream": "yes"}, "stream"),
        ({"input": "x", "instructions": ["x"]}, "instructions"),
        ({"input": "x", "temperature": "1"}, "temperature"),
        ({"input": "x", "max_output_tokens": True}, "max_output_tokens"),
        ({"input": "x", "metadata": []}, "metadata"),
        ({"input": "x", "tools": {}}, "tools"),
        ({"input": "x", "tools": [1]}, "tools[0]"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tools": [{"type": "function", "name": "x", "strict": 1}]}, "tools[0].strict"),
        ({"input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [1]}]}, "tools[0].tools[0]"),
        (
            {"input": "x", "tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]},
            "tools[0].tools[0].type",
        ),
        ({"input": "x", "tool_choice": "any"}, "tool_choice"),
        ({"input": "x", "tool_choice": 1}, "tool_choice"),
        ({"input": "x", "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"input": "x", "tool_choice": {"type": "allowed_tools", "mode": "none"}}, "tool_choice.mode"),
        (
            {"input": "x", "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [1]}},
            "tool_choice.tools[0]",
        ),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"input": "x", "text": {"verbosity": 1}}, "text.verbosity"),
        ({"input": "x", "reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"input": "x", "include": [1]}, "include[0]"),
        ({"input": "x", "previous_response_id": 1}, "previous_response_id"),
        ({"input": "x", "background": 1}, "background"),
        ({"input": "x", "conversation": 1}, "conversation"),
    ],
)
def test_a_wrong_request_names_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(body)
    assert caught.value.param == param
    assert param.rpartition(".")[0] in caught.value.message


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "prompt"])
def test_input_may_be_kept_at_the_provider(field: str) -> None:
    value: Any = {"id": "pmpt_1"} if field == "prompt" else "x_1"
    conversation = parse_request({"model": "m", field: value})
    assert conversation.turns == []
    assert conversation.extra == {field: value}
    with pytest.raises(Untranslatable) as caught:
        check_portable(conversation)
    assert caught.value.param == field


# -- fields -----------------------------------------------------------------------------------------------------------


def test_fields_find_their_place() -> None:
    conversation = parse_request(
        {
            "model": "m",
            "input": "x",
            "stream": True,
            "max_output_tokens": 100,
            "temperature": 0.5,
            "top_p": 1,
            "top_logprobs": 3,
            "parallel_tool_calls": False,
            "store": False,
            "user": "u",
            "metadata": {"a": "b"},
            "service_tier": "flex",
            "reasoning": {"effort": "high", "summary": "auto", "context": "all_turns"},
            "text": {"verbosity": "low", "format": {"type": "json_object"}},
            "include": ["reasoning.encrypted_content", "message.output_text.logprobs", "file_search_call.results"],
            "truncation": "auto",
            "prompt_cache_key": "k",
            "from_the_future": {"x": 1},
        }
    )
    assert (conversation.stream, conversation.include_usage) == (True, True)
    assert (conversation.max_tokens, conversation.temperature, conversation.top_p) == (100, 0.5, 1)
    assert (conversation.parallel_tools, conversation.store, conversation.user) == (False, False, "u")
    assert (conversation.logprobs, conversation.top_logprobs) == (True, 3)
    assert conversation.reasoning == Reasoning(effort="high", summary="auto", encrypted=True)
    assert (conversation.output, conversation.verbosity) == (OutputFormat("json"), "low")
    assert conversation.extra == {
        "reasoning.context": "all_turns",
        "include": ["file_search_call.results"],
        "truncation": "auto",
        "prompt_cache_key": "k",
        "from_the_future": {"x": 1},
    }


def test_effort_none_switches_reasoning_off() -> None:
    assert parse_request({"input": "x", "reasoning": {"effort": "none"}}).reasoning == Reasoning(False, "none")


def test_a_request_of_this_dialect_comes_back_whole() -> None:
    body = {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "instructions": "Be brief.",
        "stream": True,
        "tools": [FUNCTION, {"type": "file_search", "vector_store_ids": ["vs_1"]}],
        "tool_choice": {"type": "file_search"},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "context": "auto"},
        "include": ["reasoning.encrypted_content", "file_search_call.results"],
        "previous_response_id": "resp_1",
        "max_tool_calls": 3,
        "context_management": [{"type": "compaction"}],
        "stream_options": {"include_obfuscation": False},
        "from_the_future": 1,
    }
    rendered, dropped = render(parse_request(body))
    assert rendered == body
    assert dropped == []


# -- tools ------------------------------------------------------------------------------------------------------------

NAMESPACED = [
    {"type": "function", "name": "get"},
    {"type": "namespace", "name": "crm", "tools": [FUNCTION, {"type": "function", "name": "get"}]},
    {"type": "namespace", "name": "erp", "tools": [{"type": "custom", "name": "sql", "format": {"type": "text"}}]},
]


def test_members_of_namespaces_are_hoisted_and_qualified_only_where_names_clash() -> None:
    conversation = parse(
        {"type": "function_call", "call_id": "1", "namespace": "crm", "name": "get", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "namespace": "crm", "name": "look", "arguments": "{}"},
        tools=NAMESPACED,
        tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get"}]},
    )
    assert [tool.name for tool in conversation.tools] == ["get", "look", "crm__get", "sql"]
    assert [block.name for block in conversation.turns[0].blocks if isinstance(block, ToolUse)] == ["crm__get", "look"]
    assert conversation.tool_choice == ToolChoice("auto", allowed=["get"])
    assert conversation.tools[3].grammar == {"type": "text"}


@pytest.mark.parametrize(
    ("choice", "parsed"),
    [
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("any")),
        ("none", ToolChoice("none")),
        ({"type": "function", "name": "look"}, ToolChoice("tool", "look")),
        ({"type": "custom", "name": "sql"}, ToolChoice("tool", "sql")),
        ({"type": "web_search"}, ToolChoice("tool", "web_search")),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]},
            ToolChoice("any", allowed=["look"]),
        ),
    ],
)
def test_tool_choice_there_and_back(choice: Any, parsed: ToolChoice) -> None:
    tools = [FUNCTION, {"type": "custom", "name": "sql"}, {"type": "web_search"}]
    conversation = parse_request({"model": "m", "input": "x", "tools": tools, "tool_choice": choice})
    assert conversation.tool_choice == parsed
    assert render(conversation)[0]["tool_choice"] == choice


def test_a_choice_without_tools_is_not_sent() -> None:
    body, _ = render(asked(tool_choice=ToolChoice("auto"), parallel_tools=True))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body)


def test_web_search_of_other_dialects_is_this_dialects() -> None:
    anthropic = {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.org"], "max_uses": 2}
    body, dropped = render(asked(tools=[Tool("web_search", opaque=anthropic)]))
    assert body["tools"] == [{"type": "web_search", "filters": {"allowed_domains": ["a.org"]}}]
    assert dropped == ["tools[0].max_uses"]
    options = {"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"city": "Bonn"}}}
    body, dropped = render(asked(extra={"web_search_options": options}))
    location = {"type": "approximate", "city": "Bonn"}
    assert body["tools"] == [{"type": "web_search", "search_context_size": "low", "user_location": location}]
    assert dropped == []


def test_another_providers_tool_cannot_be_left_out() -> None:
    with pytest.raises(Untranslatable, match="bash_20250124") as caught:
        render(asked(tools=[Tool("bash", opaque={"type": "bash_20250124", "name": "bash"})]))
    assert caught.value.param == "tools[0]"


def test_tools_of_other_dialects_are_not_strict_unless_they_say_so() -> None:
    body, _ = render(asked(tools=[Tool("a"), Tool("b", strict=True, schema={"type": "object"})]))
    assert [tool["strict"] for tool in body["tools"]] == [False, True]
    assert body["tools"][0]["parameters"] == {"type": "object", "properties": {}}
    native = parse_request({"model": "m", "input": "x", "tools": [FUNCTION]})
    assert render(native)[0]["tools"] == [FUNCTION]


# -- for an upstream --------------------------------------------------------------------------------------------------


def test_what_this_dialect_cannot_say_is_refused_or_named() -> None:
    for fields, param in (({"n": 2}, "n"), ({"stop": ["x"]}, "stop")):
        with pytest.raises(Untranslatable) as caught:
            render(asked(**fields))
        assert caught.value.param == param
    _, dropped = render(
        asked(
            Turn("user", [Text("x", {"type": "ephemeral"})], name="ann"),
            top_k=5,
            seed=1,
            frequency_penalty=0.1,
            presence_penalty=0.1,
            max_tokens=3,
            service_tier="standard_only",
            metadata={"a": 1},
            extra={"logit_bias": {}, "context_management": {"edits": []}},
        )
    )
    assert dropped == [
        "name",
        "cache_control",
        "max_tokens",
        "service_tier",
        "metadata",
        "top_k",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "context_management",
    ]


def test_ids_and_limits_are_made_to_fit() -> None:
    long = "x" * 80
    turns = [Turn("assistant", [ToolUse(long, "look", "")]), Turn("user", [ToolResult(long, [], is_error=True)])]
    body, dropped = render(asked(*turns, max_tokens=1, user="u" * 100))
    call, output = body["input"]
    assert call["call_id"] == output["call_id"]
    assert len(call["call_id"]) <= 64
    assert call["arguments"] == "{}"
    assert len(body["user"]) <= 64
    assert body["max_output_tokens"] == 16
    assert output["output"] == "Error"
    assert dropped == ["max_tokens"]


def test_the_model_is_told_that_a_tool_failed() -> None:
    image = Image(url="https://x/y.png")
    results = [ToolResult("1", [Text("no such city")], is_error=True), ToolResult("2", [image], is_error=True)]
    body, dropped = render(asked(Turn("user", [*results])))
    first, second = body["input"]
    assert first["output"] == "Error: no such city"
    assert [part.get("text") for part in second["output"]] == ["Error", None]
    assert dropped == []


def test_an_image_of_an_assistant_is_refused() -> None:
    with pytest.raises(Untranslatable) as caught:
        render(asked(Turn("assistant", [Text("x"), Image(url="https://a/b")])))
    assert caught.value.param == "messages[0].content[1]"


@pytest.mark.parametrize(
    ("block", "native", "item"),
    [
        # Through another dialect and back, the tag brings the id along.
        (
            Thinking("t", "responses:rs_a:gAAAAB"),
            False,
            {"id": "rs_a", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "gAAAAB"},
        ),
        (Thinking("", "gAAAAB"), False, {"summary": [], "encrypted_content": "gAAAAB"}),
        (Thinking("", "xai_blob", "rs_b"), True, {"id": "rs_b", "summary": [], "encrypted_content": "xai_blob"}),
        (
            Thinking("t", id="rs_b"),
            True,
            {"id": "rs_b", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
        ),
        # Not ours to send: Anthropic's, Gemini's, what we made of another dialect's, what nobody signed.
        (Thinking("t", "EqQBCgIYAhIM"), False, None),
        (Thinking("t", "EqQBCgIYAhIM", "rs_01XFD_0"), True, None),
        (Thinking("t", "gemini:CuwB", "rs_c"), True, None),
        (Thinking("t", id="rs_01XFD_0"), True, None),
        (Thinking("t"), False, None),
        (RedactedThinking("x"), False, None),
    ],
)
def test_only_its_own_reasoning_goes_to_a_provider(block: Any, native: bool, item: dict[str, Any] | None) -> None:
    notes = {"dialect": "responses"} if native else {}
    body, dropped = render(asked(Turn("assistant", [block]), notes=notes))
    assert body["input"] == ([] if item is None else [{"type": "reasoning", **item}])
    assert bool(dropped) == (item is None)


def test_what_is_not_kept_is_asked_for() -> None:
    encrypted = ["reasoning.encrypted_content"]
    assert "include" not in render(asked())[0], "a model that does not reason refuses to be asked"
    assert render(asked(reasoning=Reasoning(True, "high")))[0]["include"] == encrypted
    assert render(asked(Turn("assistant", [Thinking("", "gAAAAB")])))[0]["include"] == encrypted
    assert "include" not in render(asked(reasoning=Reasoning(False)))[0]


@pytest.mark.parametrize(("budget", "effort"), [(1024, "low"), (4096, "medium"), (16384, "high"), (60000, "high")])
def test_a_budget_is_an_effort(budget: int, effort: str) -> None:
    assert render(asked(reasoning=Reasoning(True, budget_tokens=budget)))[0]["reasoning"] == {"effort": effort}


def test_our_own_reasoning_items_turn_back() -> None:
    conversation = parse(
        {"type": "reasoning", "id": "rs_for_c2", "summary": [], "encrypted_content": "gemini:b"},
        {"type": "reasoning", "id": "rs_redacted_x_0", "summary": [], "encrypted_content": "EmwK"},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "reasoning", "id": "rs_for_c1", "summary": [], "encrypted_content": "gemini:a"},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
    )
    assert conversation.turns == [
        Turn(
            "assistant",
            [
                RedactedThinking("EmwK"),
                ToolUse("c1", "look", "{}", signature="gemini:a"),
                ToolUse("c2", "look", "{}", signature="gemini:b"),
            ],
        )
    ]


# -- properties -------------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["model", "input", "instructions", "tools", "tool_choice", "text", "reasoning", "include"])
        | st.text(max_size=5),
        values,
        max_size=5,
    )
)
def test_no_body_raises_anything_but_bad_request(body: dict[str, Any]) -> None:
    try:
        conversation = parse_request(body)
        render_request(conversation, "m", Dropped())
    except BadRequest:
        pass


_items = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["message", "function_call", "function_call_output", "custom_tool_call", "reasoning", "item_reference", "x"]
        )
        | values,
        "role": st.sampled_from(["user", "assistant", "system", "developer"]) | values,
        "id": st.text(max_size=4) | values,
        "call_id": st.text(max_size=4) | values,
        "name": st.text(max_size=4) | values,
        "arguments": st.text(max_size=4) | values,
        "content": st.text(max_size=4)
        | st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(["input_text", "output_text", "input_image", "input_file", "refusal", "x"])},
                optional=dict.fromkeys(("text", "refusal", "image_url", "file_data", "file_id"), values),
            ),
            max_size=3,
        )
        | values,
        "output": st.text(max_size=4) | values,
        "summary": values,
        "encrypted_content": values,
    },
)


@settings(max_examples=300)
@given(st.lists(_items, max_size=4))
def test_no_items_raise_anything_but_bad_request(items: list[Any]) -> None:
    try:
        conversation = parse_request({"model": "m", "input": items})
        render_request(conversation, "m", Dropped())
    except BadRequest:
        pass


_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_user_blocks = st.lists(
    _texts.map(Text)
    | st.just(Image(url="https://a/b", detail="auto"))
    | _texts.map(lambda text: ToolResult("c", [Text(text)])),
    min_size=1,
    max_size=4,
)
_model_blocks = st.lists(
    _texts.map(Text)
    | _texts.map(Refusal)
    | st.builds(ToolUse, _texts, _texts, st.just("{}") | _texts, st.booleans())
    | st.builds(lambda text: Thinking(text, "gAAAAB", "rs_a", summary=True), _texts),
    min_size=1,
    max_size=5,
)
_turns = st.lists(
    _user_blocks.map(lambda blocks: Turn("user", blocks)) | _model_blocks.map(lambda blocks: Turn("assistant", blocks)),
    min_size=1,
    max_size=5,
)


def _flat(turns: list[Turn]) -> list[tuple[str, str, str]]:
    said: list[tuple[str, str, str]] = []
    for turn in turns:
        for block in turn.blocks:
            if isinstance(block, Text | Refusal | Thinking):
                said.append((turn.role, type(block).__name__, block.text))
            elif isinstance(block, ToolUse):
                said.append((turn.role, block.name, f"{block.id} {block.arguments} {block.custom}"))
            elif isinstance(block, ToolResult):
                said.append(
                    (turn.role, block.id, "".join(inner.text for inner in block.content if isinstance(inner, Text)))
                )
            else:
                said.append((turn.role, type(block).__name__, ""))
    return said


@settings(max_examples=100)
@given(_turns, st.lists(_texts.map(Text), max_size=3))
def test_a_conversation_goes_there_and_back(turns: list[Turn], system: list[Text]) -> None:
    sent = Conversation("m", turns, system, notes={"dialect": "responses"})
    back = parse_request(render_request(sent, "m", Dropped()))
    assert _flat(back.turns) == _flat(turns)
    assert [text.text for text in back.system] == [text.text for text in system]


def test_what_upstreams_get_is_what_the_reference_says() -> None:
    conversation = asked(
        Turn("user", [Text("x"), Image(url="https://a/b"), Document(text="t")]),
        Turn(
            "assistant",
            [Thinking("", "responses:rs_a:gAAAAB"), ToolUse("1", "look", ""), ToolUse("2", "sql", "s", True)],
        ),
        Turn("user", [ToolResult("1", [Text("a"), Image(data="aGk=")]), ToolResult("2", [Text("b")])]),
        system=[Text("a"), Text("b")],
        tools=[
            Tool("look"),
            Tool("sql", custom=True, grammar={"type": "grammar", "syntax": "regex", "definition": "x"}),
        ],
        tool_choice=ToolChoice("any", allowed=["look", "sql"]),
        output=OutputFormat("schema", "o", {"type": "object"}, True),
        reasoning=Reasoning(True, "high"),
        max_tokens=100,
        stream=True,
    )
    openapi.check_any("CreateResponse", render(conversation)[0])
