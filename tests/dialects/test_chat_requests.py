"""Requests of the chat dialect, from clients and for upstreams."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from plano.dialects.chat.request import parse_request, render_request
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
from tests.dialects.bodies import NESTED

SCHEMAS = json.loads((Path(__file__).parent / "schemas" / "openai_chat.json").read_text())
REQUEST = Draft202012Validator({"$ref": "#/$defs/CreateChatCompletionRequest", **SCHEMAS})
USER = {"role": "user", "content": "Hi"}
PNG = "iVBORw0KGgoAAAANSUhEUg=="


def parse(*messages: Any, **fields: Any) -> Conversation:
    return parse_request({"model": "m", "messages": list(messages) or [USER], **fields})


def blocks_of(message: dict[str, Any]) -> list[Any]:
    return list(parse(message).turns[0].blocks)


def render(*turns: Turn, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    dropped = Dropped()
    body = render_request(Conversation("m", list(turns) or [Turn("user", [Text("Hi")])], **fields), "m", dropped)
    return body, dropped.names


def refusal_of(**body: Any) -> BadRequest:
    with pytest.raises(BadRequest) as found:
        parse_request({"model": "m", "messages": [USER], **body})
    return found.value


# -- what clients send -----------------------------------------------------------------------------------------------


def test_system_and_developer_texts_before_the_first_turn_are_the_system_prompt_and_later_ones_turns() -> None:
    conversation = parse(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        USER,
        {"role": "developer", "content": "c"},
    )
    assert conversation.system == [Text("a"), Text("b")]
    assert conversation.turns[1:] == [Turn("system", [Text("c")])]


def test_images_come_by_url_as_data_urls_and_as_bare_base64() -> None:
    def image(url: Any) -> Any:
        return blocks_of({"role": "user", "content": [{"type": "image_url", "image_url": url}]})[0]

    assert image({"url": "https://x/y.png", "detail": "high"}) == Image(url="https://x/y.png", detail="high")
    assert image("https://x/y.png") == Image(url="https://x/y.png")
    assert image({"url": f"data:image/webp;base64,{PNG}"}) == Image(media_type="image/webp", data=PNG)
    assert image({"url": f"DATA:;base64,{PNG[:8]}\r\n{PNG[8:]}"}) == Image(media_type="image/png", data=PNG)
    assert image({"url": PNG}) == Image(media_type="image/png", data=PNG)
    assert image({"url": "data:image/svg+xml,%3Csvg/%3E"}) == Image(
        media_type="image/svg+xml", data=base64.b64encode(b"<svg/>").decode()
    )


def test_audio_files_refusals_and_parts_nobody_knows() -> None:
    parts = [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"filename": "a.csv", "file_data": "YSxi"}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": base64.b64encode("ä".encode()).decode()}},
        {"type": "file", "file": {"filename": "b.txt", "file_data": base64.b64encode(b"\xff").decode()}},
        {"type": "refusal", "refusal": "no"},
        {"type": "video_url", "video_url": {"url": "https://x/y.mp4"}},
    ]
    assert blocks_of({"role": "user", "content": parts}) == [
        Audio("AAAA", "wav"),
        Document(file_id="file-1"),
        Document(media_type="text/csv", data="YSxi", title="a.csv"),
        Document(media_type="text/plain", text="ä", title="a.txt"),
        Document(media_type="text/plain", data="/w==", title="b.txt"),
        Refusal("no"),
        Opaque("chat", parts[6]),
    ]


def test_an_assistants_turn_is_reasoning_then_text_then_refusal_then_calls() -> None:
    message = {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning_content": "Hmm.",
        "refusal": "Not all.",
        "audio": {"id": "audio_1"},
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "2", "type": "custom", "custom": {"name": "g", "input": "x = 1"}},
            {"id": "3", "function": {"name": "h", "arguments": {"a": 1}}},
        ],
    }
    assert blocks_of(message) == [
        Thinking("Hmm."),
        Text("Let me see."),
        Refusal("Not all."),
        Opaque("chat", {"type": "audio", "audio": {"id": "audio_1"}}),
        ToolUse("1", "f", "{}"),
        ToolUse("2", "g", "x = 1", custom=True),
        ToolUse("3", "h", '{"a":1}'),
    ]


def test_results_of_parallel_calls_stand_in_one_turn() -> None:
    conversation = parse(
        {"role": "tool", "tool_call_id": "1", "content": "a"},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "b"}], "name": "g"},
        USER,
        {"role": "tool", "tool_call_id": "3", "content": None},
    )
    assert conversation.turns == [
        Turn("user", [ToolResult("1", [Text("a")]), ToolResult("2", [Text("b")], name="g")]),
        Turn("user", [Text("Hi")]),
        Turn("user", [ToolResult("3", [])]),
    ]


def test_deprecated_functions_are_tools_whose_results_find_their_call() -> None:
    conversation = parse(
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        functions=[{"name": "f", "description": "d", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    call, result = conversation.turns[1].blocks[0], conversation.turns[2].blocks[0]
    assert isinstance(call, ToolUse)
    assert isinstance(result, ToolResult)
    assert call.id == result.id
    assert conversation.tools == [Tool("f", "d", {"type": "object"})]
    assert conversation.tool_choice == ToolChoice("tool", name="f")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("required", ToolChoice("any")),
        ("none", ToolChoice("none")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("tool", name="f")),
        ({"type": "custom", "custom": {"name": "g"}}, ToolChoice("tool", name="g")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            ToolChoice("any", allowed=["f"]),
        ),
    ],
)
def test_the_choice_among_tools(choice: Any, expected: ToolChoice) -> None:
    tools = [
        {"type": "function", "function": {"name": "f"}},
        {"type": "custom", "custom": {"name": "g", "format": {"type": "grammar", "grammar": {"syntax": "lark"}}}},
    ]
    conversation = parse(tools=tools, tool_choice=choice)
    assert conversation.tool_choice == expected
    assert conversation.tools[1].grammar == {"type": "grammar", "syntax": "lark"}
    body = render_request(conversation, "m", Dropped())
    assert body["tool_choice"] == choice
    assert body["tools"][1] == tools[1]


def test_fields_have_their_place_and_unknown_ones_stay_as_they_are() -> None:
    conversation = parse(
        stop="x",
        max_tokens=5,
        top_k=3,
        n=2,
        logprobs=True,
        top_logprobs=4,
        response_format={"type": "json_object"},
        verbosity="low",
        service_tier="flex",
        store=True,
        metadata={"a": "b"},
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": False},
        logit_bias={"50256": -100},
        min_p=0.1,
        guided_json={"type": "object"},
        prediction=None,
    )
    assert (conversation.stop, conversation.max_tokens, conversation.top_k, conversation.n) == (["x"], 5, 3, 2)
    assert (conversation.logprobs, conversation.top_logprobs) == (True, 4)
    assert conversation.output == OutputFormat("json")
    assert (conversation.stream, conversation.include_usage, conversation.store) == (True, True, True)
    assert conversation.extra == {
        "logit_bias": {"50256": -100},
        "min_p": 0.1,
        "guided_json": {"type": "object"},
        "stream_options": {"include_obfuscation": False},
    }


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"reasoning_effort": "high"}, Reasoning(enabled=True, effort="high")),
        ({"reasoning_effort": "none"}, Reasoning(enabled=False, effort="none")),
        ({"reasoning": {"max_tokens": 2000}}, Reasoning(enabled=True, budget_tokens=2000)),
        ({"reasoning": {"enabled": False}}, Reasoning(enabled=False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, Reasoning(enabled=True, budget_tokens=1024)),
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
        ({"thinking": {"type": "adaptive"}}, Reasoning()),
    ],
)
def test_reasoning_is_asked_for_in_many_ways(fields: Any, reasoning: Reasoning) -> None:
    assert parse(**fields).reasoning == reasoning


def test_reasoning_of_earlier_turns_comes_in_many_ways() -> None:
    def thoughts(**fields: Any) -> list[Any]:
        return blocks_of({"role": "assistant", "content": None, **fields})

    assert thoughts(reasoning="a", reasoning_content="a") == [Thinking("a")]
    assert thoughts(reasoning="a") == [Thinking("a")]
    blocks = [{"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}]
    assert thoughts(thinking_blocks=blocks) == [Thinking("a", "s"), RedactedThinking("d")]
    deltas = [
        {"type": "reasoning.text", "text": "a", "index": 0},
        {"type": "reasoning.text", "text": "b", "index": 0},
        {"type": "reasoning.text", "signature": "s", "index": 0},
        {"type": "reasoning.text", "text": "c", "index": 1},
        {"type": "reasoning.summary", "summary": "d", "id": "rs_1", "signature": "e"},
        {"type": "reasoning.encrypted", "data": "f"},
        {"type": "reasoning.new"},
        7,
    ]
    assert thoughts(reasoning_details=deltas, reasoning="x") == [
        Thinking("ab", "s"),
        Thinking("c"),
        Thinking("d", "e", id="rs_1", summary=True),
        RedactedThinking("f"),
    ]


def test_cache_markers_on_parts_and_on_messages() -> None:
    mark = {"type": "ephemeral"}
    conversation = parse(
        {"role": "system", "content": "a", "cache_control": mark},
        {"role": "user", "content": [{"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}}]},
        {"role": "user", "content": "c", "cache_control": mark},
        tools=[{"type": "function", "function": {"name": "f"}, "cache_control": mark}],
    )
    assert conversation.system == [Text("a", cache=mark)]
    assert [turn.blocks for turn in conversation.turns] == [[Text("b", cache=mark)], [Text("c", cache=mark)]]
    assert conversation.tools[0].cache == mark


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]}, "messages[0].content[0].file"),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages[0].content[0]",
        ),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}, "messages[0].tool_calls[0].function"),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": 1}}]}
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": NESTED}}]}
                ]
            },
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"model": 1}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"n": True}, "n"),
        ({"stop": 3}, "stop"),
        ({"stop": ["a", 3]}, "stop[1]"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.type"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"metadata": []}, "metadata"),
    ],
)
def test_a_wrong_type_in_a_known_field_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    error = refusal_of(**body)
    assert error.param == param
    assert param.partition("[")[0].partition(".")[0] in error.message


# -- what upstreams get ----------------------------------------------------------------------------------------------


def test_a_stream_is_always_asked_for_its_usage() -> None:
    body, _ = render(stream=True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert "stream_options" not in render()[0]


def test_the_limit_of_tokens_keeps_the_name_its_client_gave_it() -> None:
    assert render(max_tokens=5)[0]["max_tokens"] == 5
    body = render_request(parse(max_completion_tokens=5), "m", Dropped())
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body


def test_what_a_tool_message_cannot_hold_comes_with_the_user() -> None:
    image = Image(media_type="image/png", data=PNG)
    results = Turn(
        "user",
        [
            Text("And now?"),
            ToolResult("1", [Text("a"), image, Text("b")]),
            ToolResult("2", [Document(text="c", title="t")], is_error=True),
        ],
    )
    body, _ = render(results)
    assert body["messages"] == [
        {"role": "tool", "tool_call_id": "1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "2", "content": "Error: Document: t\n\nc"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Attached to the result of tool call 1:"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]


def test_an_assistants_text_is_one_string_and_its_pieces_are_apart_only_where_something_was_between() -> None:
    turn = Turn("assistant", [Text("a"), Text("b"), ToolUse("1", "f", ""), Text("c"), Thinking("t"), Text(" d")])
    message = render(turn)[0]["messages"][0]
    assert message["content"] == "ab\n\nc d"
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"
    assert message["reasoning_content"] == "t"


def test_only_signatures_of_this_dialect_go_back_to_an_upstream() -> None:
    turn = Turn(
        "assistant",
        [
            Thinking("a", "EqQB"),
            RedactedThinking("EmwK"),
            Thinking("b", "chat:anthropic-claude-v1:sig"),
            RedactedThinking("chat::data"),
            ToolUse("1", "f", "{}", signature="gemini:abc"),
            ToolUse("2", "f", "{}", signature="def"),
        ],
    )
    body, dropped = render(turn)
    message = body["messages"][0]
    assert message["reasoning_content"] == "a\n\nb"
    assert message["reasoning_details"] == [
        {"index": 0, "type": "reasoning.text", "text": "a"},
        {"index": 1, "type": "reasoning.text", "text": "b", "signature": "sig", "format": "anthropic-claude-v1"},
        {"index": 2, "type": "reasoning.encrypted", "data": "data"},
    ]
    assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "abc"}}
    assert "extra_content" not in message["tool_calls"][1]
    assert dropped == ["redacted_thinking"]


def test_what_is_harmless_is_dropped_by_name() -> None:
    body, dropped = render(
        Turn("user", [Text("a", cache={"type": "ephemeral"}), Opaque("messages", {"type": "tool_reference"})]),
        top_k=3,
        user="u" * 65,
        metadata={"user_id": "1"},
        service_tier="standard",
        reasoning=Reasoning(enabled=True, summary="auto", encrypted=True),
        extra={"truncation": "auto", "logit_bias": {"1": 1}, "include": []},
    )
    assert dropped == [
        "cache_control",
        "tool_reference",
        "thinking",
        "reasoning.summary",
        "include",
        "user",
        "top_k",
        "metadata",
        "service_tier",
        "truncation",
    ]
    assert set(body) == {"model", "messages", "logit_bias"}


@pytest.mark.parametrize(
    ("turn", "fields", "param"),
    [
        (Turn("user", [Text("a"), Image(file_id="file_1")]), {}, "messages[0].content[1]"),
        (Turn("user", [Document(url="https://x/y.pdf")]), {}, "messages[0].content[0]"),
        (None, {"tools": [Tool("c", opaque={"type": "computer_use"})]}, "tools[0]"),
        (None, {"extra": {"previous_response_id": "resp_1"}}, "previous_response_id"),
        (None, {"extra": {"mcp_servers": [{}]}}, "mcp_servers"),
    ],
)
def test_what_would_change_the_meaning_is_refused_by_name(turn: Turn | None, fields: Any, param: str) -> None:
    with pytest.raises(Untranslatable) as found:
        render(*([turn] if turn else []), **fields)
    assert found.value.param == param


def test_web_search_tools_of_other_dialects_are_options() -> None:
    tool = {
        "type": "web_search_20250305",
        "name": "web_search",
        "user_location": {"type": "approximate", "city": "Rome"},
    }
    body, _ = render(tools=[Tool("web_search", opaque=tool)], tool_choice=ToolChoice("auto"), parallel_tools=False)
    assert body["web_search_options"] == {"user_location": {"type": "approximate", "approximate": {"city": "Rome"}}}
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body)


def test_what_options_of_web_search_cannot_say_is_named_or_refused() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    assert render(tools=[Tool("web_search", opaque=tool)])[1] == ["tools[0].max_uses"]
    for limit in ("allowed_domains", "blocked_domains"):
        with pytest.raises(Untranslatable) as caught:
            render(tools=[Tool("web_search", opaque={**tool, limit: ["a.org"]})])
        assert caught.value.param == f"tools[0].{limit}"


def test_a_turn_of_which_nothing_is_left_is_no_empty_message() -> None:
    gone = Turn("assistant", [Opaque("responses", {"type": "mcp_call"})])
    body, dropped = render(Turn("user", [Text("a")]), gone, Turn("user", [Text("b")]), Turn("assistant", [Text("")]))
    assert [message["content"] for message in body["messages"]] == ["a", "b", ""]
    assert dropped == ["mcp_call"]


def test_a_budget_of_thinking_becomes_an_effort() -> None:
    efforts = [render(reasoning=Reasoning(True, budget_tokens=n))[0]["reasoning_effort"] for n in (1024, 8000, 32000)]
    assert efforts == ["low", "medium", "high"]


def test_free_text_tools_of_other_dialects_are_functions_here() -> None:
    """OpenAI's own models are called in the responses dialect by its clients: what is left knows functions only."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    turns = [
        Turn("assistant", [ToolUse("1", "sql", 'SELECT "a"', custom=True)]),
        Turn("user", [ToolResult("1", [Text("a")])]),
    ]
    conversation = Conversation(
        "m",
        turns,
        tools=[Tool("sql", "Runs SQL", custom=True, grammar=grammar), Tool("text", custom=True)],
        tool_choice=ToolChoice("tool", "sql"),
        notes={"dialect": "responses"},
    )
    dropped = Dropped()
    body = render_request(conversation, "m", dropped)
    call, result = body["messages"]
    assert call["tool_calls"] == [
        {"id": "1", "type": "function", "function": {"name": "sql", "arguments": '{"input":"SELECT \\"a\\""}'}}
    ]
    assert (result["role"], result["tool_call_id"]) == ("tool", "1")
    assert [tool["type"] for tool in body["tools"]] == ["function", "function"]
    function = body["tools"][0]["function"]
    assert (function["name"], function["description"]) == ("sql", "Runs SQL")
    assert function["parameters"]["required"] == ["input"]
    assert "start: X" in function["parameters"]["properties"]["input"]["description"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "sql"}}
    assert dropped.names == ["tools[0].format"]
    assert [error.message for error in REQUEST.iter_errors(body)] == []


# -- there and back --------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
calls = st.builds(ToolUse, names, names, st.just('{"a":1}'), custom=st.booleans())
images = st.one_of(
    st.builds(Image, url=st.just("https://x/y"), detail=st.sampled_from([None, "low"])),
    st.builds(Image, media_type=st.just("image/png"), data=st.just(PNG)),
)
documents = st.builds(Document, media_type=st.just("application/pdf"), data=st.just("JVBERi0="), title=st.just("a.pdf"))
users = st.lists(
    st.one_of(st.builds(Text, texts), images, documents, st.builds(Audio, st.just("AAAA"), st.just("mp3"))),
    min_size=1,
    max_size=4,
).map(lambda blocks: Turn("user", list(blocks)))
results = st.lists(
    st.builds(ToolResult, names, st.builds(Text, texts).map(lambda text: [text])), min_size=1, max_size=3
)
assistants = st.tuples(
    st.lists(st.builds(Thinking, texts), max_size=1),
    st.lists(st.builds(Text, texts), max_size=1),
    st.lists(calls, max_size=3),
).map(lambda parts: Turn("assistant", [block for part in parts for block in part]))
tool_turns = results.map(lambda blocks: Turn("user", list(blocks)))
conversations = st.builds(
    Conversation,
    st.just("m"),
    st.lists(
        st.one_of(users, assistants, st.builds(Text, texts).map(lambda text: Turn("system", [text]))), max_size=4
    ).flatmap(
        lambda turns: st.tuples(st.just([Turn("user", [Text("first")]), *turns]), st.lists(tool_turns, max_size=1)).map(
            lambda pair: pair[0] + pair[1]
        )
    ),
    system=st.lists(st.builds(Text, texts), max_size=1),
    stream=st.booleans(),
    tools=st.lists(
        st.one_of(
            st.builds(Tool, names, st.none() | texts, st.just({"type": "object"}), st.none() | st.booleans()),
            st.builds(Tool, names, custom=st.just(True), grammar=st.just({"type": "text"})),
        ),
        max_size=2,
    ),
    temperature=st.none() | st.sampled_from([0, 0.5, 1]),
    top_p=st.none() | st.just(0.9),
    max_tokens=st.none() | st.integers(1, 99),
    stop=st.lists(texts, max_size=2),
    seed=st.none() | st.integers(0, 9),
    n=st.none() | st.integers(1, 3),
    output=st.sampled_from([None, OutputFormat("json"), OutputFormat("schema", "n", {"type": "object"}, True, "d")]),
    user=st.none() | names,
)


@given(conversations)
def test_any_conversation_goes_there_and_back_and_is_valid_on_the_way(conversation: Conversation) -> None:
    conversation.notes = {"dialect": "chat"}
    body = render_request(conversation, "m", Dropped())
    assert [error.message for error in REQUEST.iter_errors(body)] == []
    back = parse_request(body)
    back.notes = conversation.notes
    conversation.include_usage = conversation.stream  # is always asked for
    for turn in conversation.turns:
        turn.blocks = turn.blocks or [Text("")]
    for turn in back.turns:
        turn.blocks = turn.blocks or [Text("")]
    assert back == conversation


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
GOLDEN = [
    json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "golden").glob("*/client.chat.json"))
]


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths_of(inner, (*path, key))
    return found


@given(st.data())
def test_no_request_raises_anything_but_a_refusal(data: st.DataObject) -> None:
    body = json.loads(json.dumps(data.draw(st.sampled_from(GOLDEN))))
    for _ in range(data.draw(st.integers(1, 3))):
        places = paths_of(body)
        if not places:
            break
        path = data.draw(st.sampled_from(places))
        target = body
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = data.draw(json_values)
    with suppress(BadRequest):
        render_request(parse_request(body), "m", Dropped())


def test_the_golden_requests_are_valid_by_the_reference() -> None:
    for path in sorted((Path(__file__).parent / "golden").glob("*/*.chat*.json")):
        body = json.loads(path.read_text())
        if path.name.startswith(("client.", "upstream.")) and "untranslatable" not in body:
            assert [error.message for error in REQUEST.iter_errors(body)] == [], path.name
