"""Conversations as Bedrock Converse requests; every body is checked against the service's own model (botocore)."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from botocore.serialize import create_serializer

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
from plano.dialects.converse.names import converse_tool_id, converse_tool_name
from plano.dialects.converse.request import converse_path, render_request
from tests.dialects.bedrock import check_request, service

NEW = "us.anthropic.claude-sonnet-4-6"
SONNET_45 = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
OLD = "anthropic.claude-3-haiku-20240307-v1:0"
LLAMA = "meta.llama3-1-70b-instruct-v1:0"
NOVA = "amazon.nova-pro-v1:0"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = Tool("get_weather", "Current weather", {"type": "object", "properties": {"city": {"type": "string"}}})


def user(*blocks: Block | str) -> Turn:
    return Turn("user", [Text(block) if isinstance(block, str) else block for block in blocks])


def model_says(*blocks: Block | str) -> Turn:
    return Turn("assistant", [Text(block) if isinstance(block, str) else block for block in blocks])


def render(*turns: Turn, model: str = NEW, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    dropped = Dropped()
    body = render_request(Conversation("m", list(turns), **fields), model, dropped)
    check_request(body)
    return body, dropped.names


def messages(*turns: Turn, model: str = NEW) -> list[dict[str, Any]]:
    return render(*turns, model=model)[0]["messages"]


def refused(*turns: Turn, model: str = NEW, **fields: Any) -> Untranslatable:
    with pytest.raises(Untranslatable) as caught:
        render_request(Conversation("m", list(turns), **fields), model, Dropped())
    return caught.value


# -- the path ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [SONNET_45, "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0"])
@pytest.mark.parametrize(("operation", "stream"), [("Converse", False), ("ConverseStream", True)])
def test_the_path_is_the_one_of_the_sdk(model: str, operation: str, stream: bool) -> None:
    request = create_serializer("rest-json").serialize_to_request(
        {"modelId": model}, service().operation_model(operation)
    )
    assert converse_path(model, stream) == request["url_path"]


# -- turns ------------------------------------------------------------------------------------------------------------


def test_system_texts_come_first_wherever_they_stood() -> None:
    body, _ = render(
        user("hi"), Turn("system", [Text("Be brief.")]), user("you?"), system=[Text("Be kind."), Text(" ")]
    )
    assert body["system"] == [{"text": "Be kind."}, {"text": "Be brief."}]
    assert body["messages"] == [{"role": "user", "content": [{"text": "hi"}, {"text": "you?"}]}]


def test_neighbours_of_one_role_become_one_message() -> None:
    assert [
        (message["role"], len(message["content"]))
        for message in messages(user("a"), user("b", "c"), model_says("d"), model_says("e"), user("f"))
    ] == [("user", 3), ("assistant", 2), ("user", 1)]


def test_a_conversation_that_begins_with_the_model_gets_a_user() -> None:
    assert messages(model_says("Hello!"), user("Hi"))[0] == {"role": "user", "content": [{"text": "(empty)"}]}


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u3000"])
def test_blank_texts_are_left_out_and_no_message_stays_empty(blank: str) -> None:
    """Bedrock refuses a text of white space alone, so a single space is no way out."""
    assert messages(user(blank)) == [{"role": "user", "content": [{"text": "(empty)"}]}]
    assert messages(user("a"), model_says(blank), user(blank, "b")) == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}]}
    ]


def test_an_answer_to_be_continued_does_not_end_with_white_space() -> None:
    assert messages(user("List:"), model_says("1. one\n2. "))[-1]["content"] == [{"text": "1. one\n2."}]


def test_a_refusal_of_the_past_is_text_and_a_name_is_dropped() -> None:
    body, dropped = render(Turn("user", [Text("a")], name="Ann"), model_says(Refusal("No.")), user("b"))
    assert body["messages"][1]["content"] == [{"text": "No."}]
    assert dropped == ["messages[0].name"]


# -- media ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image(media_type="image/png", data=PNG), {"format": "png", "source": {"bytes": PNG}}),
        (Image(media_type="image/jpg", data=PNG), {"format": "jpeg", "source": {"bytes": PNG}}),
        (Image(data=PNG), {"format": "png", "source": {"bytes": PNG}}),
        (Image(url=f"data:image/webp;base64,{PNG}"), {"format": "webp", "source": {"bytes": PNG}}),
        (Image(url="s3://bucket-a/b.gif"), {"format": "gif", "source": {"s3Location": {"uri": "s3://bucket-a/b.gif"}}}),
    ],
)
def test_images(image: Image, expected: dict[str, Any]) -> None:
    assert messages(user("see", image))[0]["content"] == [{"text": "see"}, {"image": expected}]


@pytest.mark.parametrize(
    "image",
    [
        Image(url="https://example.com/a.png"),
        Image(file_id="file-1"),
        Image(media_type="image/tiff", data="AAAA"),
        Image(data="AAAA"),
    ],
)
def test_images_that_bedrock_cannot_have(image: Image) -> None:
    assert refused(user("see", image)).param == "messages[0].content[1]"


def test_media_come_from_the_user_only() -> None:
    refused(user("a"), model_says(Image(data=PNG)))


def test_the_detail_of_an_image_is_dropped() -> None:
    assert render(user(Image(data=PNG, detail="low")))[1] == ["messages[0].content[0].detail"]
    assert render(user(Image(data=PNG, detail="auto")))[1] == []


def test_documents_get_formats_names_and_a_text_beside_them() -> None:
    pdf = Document(media_type="application/pdf", data="JVBERi0=", title="Q3: results_v2 (final).pdf")
    content = messages(
        user(
            pdf,
            pdf,
            Document(text="Grass is green.", title="facts", citations=True, context="trusted"),
            Document(text="héllo"),
            Document(media_type="application/octet-stream", data="AAAA", title="table.xlsx"),
        )
    )[0]["content"]
    assert [block["document"]["name"] for block in content[:5]] == [
        "Q3- results-v2 (final)",
        "Q3- results-v2 (final) (2)",
        "facts",
        "document",
        "table",
    ]
    assert [block["document"]["format"] for block in content[:5]] == ["pdf", "pdf", "txt", "txt", "xlsx"]
    assert content[2]["document"] == {
        "format": "txt",
        "name": "facts",
        "source": {"text": "Grass is green."},
        "context": "trusted",
        "citations": {"enabled": True},
    }
    assert base64.b64decode(content[3]["document"]["source"]["bytes"]).decode() == "héllo"
    assert content[5:] == [{"text": "(empty)"}]


@pytest.mark.parametrize(
    "document",
    [Document(url="https://example.com/a.pdf"), Document(file_id="f"), Document(media_type="video/mp4", data="AAAA")],
)
def test_documents_that_bedrock_cannot_have(document: Document) -> None:
    refused(user("see", document))


def test_audio() -> None:
    assert messages(user("hear", Audio("AAAA", "wav")))[0]["content"][1] == {
        "audio": {"format": "wav", "source": {"bytes": "AAAA"}}
    }
    refused(user(Audio("AAAA", "g711")))


# -- tools ------------------------------------------------------------------------------------------------------------


def test_tool_results_come_first_and_together() -> None:
    body, dropped = render(
        user("Rome and Oslo?"),
        model_says("Looking.", ToolUse("t1", "get_weather", '{"city":"Rome"}'), ToolUse("t2", "get_weather", "")),
        user("by the way", ToolResult("t1", [Text("18"), Text(""), Image(data=PNG)])),
        user(ToolResult("t2", [], is_error=True), "thanks"),
        tools=[WEATHER],
    )
    assert body["messages"][1]["content"][1:] == [
        {"toolUse": {"toolUseId": "t1", "name": "get_weather", "input": {"city": "Rome"}}},
        {"toolUse": {"toolUseId": "t2", "name": "get_weather", "input": {}}},
    ]
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    assert body["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "t1", "content": [{"text": "18"}, image]}},
        {"toolResult": {"toolUseId": "t2", "content": [{"text": "(empty)"}], "status": "error"}},
        {"text": "by the way"},
        {"text": "thanks"},
    ]
    assert dropped == []


@pytest.mark.parametrize(
    ("content", "told"), [([Text("x")], "Error: x"), ([], "Error"), ([Text("Error 7")], "Error 7")]
)
def test_models_that_know_no_status_of_results_are_told_in_words(content: list[Block], told: str) -> None:
    turns = user("a"), model_says(ToolUse("t", "f", "{}")), user(ToolResult("t", content, is_error=True))
    body, dropped = render(*turns, model=LLAMA)
    assert body["messages"][2]["content"][0]["toolResult"] == {"toolUseId": "t", "content": [{"text": told}]}
    assert dropped == []


@pytest.mark.parametrize("arguments", ["{", "[1]", '"text"', "1", "null"])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    assert refused(user("a"), model_says(ToolUse("t", "f", arguments))).param == "messages[1].content[0]"


def test_names_and_ids_fit_and_agree() -> None:
    name, long_id = "files.read/ünï", "call|" + "x" * 100
    body, _ = render(
        user("a"),
        model_says(ToolUse(long_id, name, "{}")),
        user(ToolResult(long_id, [Text("x")])),
        tools=[Tool(name)],
        tool_choice=ToolChoice("tool", name),
    )
    use = body["messages"][1]["content"][0]["toolUse"]
    assert use["name"] == converse_tool_name(name) == body["toolConfig"]["tools"][0]["toolSpec"]["name"]
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": use["name"]}}
    assert use["toolUseId"] == body["messages"][2]["content"][0]["toolResult"]["toolUseId"] == converse_tool_id(long_id)
    assert converse_tool_name("a.b") != converse_tool_name("a_b") == "a_b"


def test_ids_that_a_provider_counts_anew_in_every_turn_are_told_apart() -> None:
    def turn() -> list[Turn]:
        return [model_says(ToolUse("0", "f", "{}")), user(ToolResult("0", [Text("x")]))]

    body, _ = render(user("a"), *turn(), *turn())
    ids = [message["content"][0] for message in body["messages"][1:]]
    assert [block.get("toolUse", block.get("toolResult"))["toolUseId"] for block in ids] == ["0", "0", "0_2", "0_2"]


def test_tools_without_schema_or_description_and_of_free_text() -> None:
    body, dropped = render(
        user("a"), tools=[Tool("f"), Tool("g", schema={"properties": {}}), Tool("h", "Runs code", custom=True)]
    )
    specs = [tool["toolSpec"] for tool in body["toolConfig"]["tools"]]
    assert specs[0] == {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert specs[1]["inputSchema"]["json"]["type"] == "object"
    assert specs[2]["inputSchema"]["json"]["required"] == ["input"]
    assert dropped == []
    call = messages(user("a"), model_says(ToolUse("t", "h", "print(1)", custom=True)))[1]["content"][0]
    assert call["toolUse"]["input"] == {"input": "print(1)"}


def test_strict_tools_are_strict_where_the_model_can() -> None:
    tools = [Tool("f", schema={"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}}, strict=True)]
    spec = render(user("a"), tools=tools)[0]["toolConfig"]["tools"][0]["toolSpec"]
    assert spec["strict"] is True
    assert spec["inputSchema"]["json"]["additionalProperties"] is False
    body, dropped = render(user("a"), tools=tools, model=LLAMA)
    assert "strict" not in body["toolConfig"]["tools"][0]["toolSpec"]
    assert dropped == ["tools[0].strict"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        (ToolChoice("auto"), {"auto": {}}),
        (ToolChoice("any"), {"any": {}}),
        (ToolChoice("tool", "get_weather"), {"tool": {"name": "get_weather"}}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, expected: Any) -> None:
    assert render(user("a"), tools=[WEATHER], tool_choice=choice)[0]["toolConfig"].get("toolChoice") == expected


def test_no_tool_choice_means_no_tools_unless_the_history_has_calls() -> None:
    none = ToolChoice("none")
    body, dropped = render(user("a"), tools=[WEATHER], tool_choice=none)
    assert "toolConfig" not in body
    assert dropped == []
    history = user("a"), model_says(ToolUse("t", "get_weather", "{}")), user(ToolResult("t", [Text("x")]))
    body, dropped = render(*history, tools=[WEATHER], tool_choice=none)
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["get_weather"]
    assert "toolChoice" not in body["toolConfig"]
    assert dropped == ["tool_choice"]
    body, _ = render(*history)  # no tools at all: Converse wants those that the calls name
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["get_weather"]


def test_a_tool_choice_without_tools_is_no_tool_config() -> None:
    assert "toolConfig" not in render(user("a"), tool_choice=ToolChoice("any"))[0]


def test_only_allowed_tools_are_offered() -> None:
    body, _ = render(user("a"), tools=[WEATHER, Tool("f")], tool_choice=ToolChoice("any", allowed=["f"]))
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["f"]


def test_tools_of_a_provider() -> None:
    bash = {"type": "bash_20250124", "name": "bash"}
    body, _ = render(user("a"), tools=[Tool("bash", opaque=bash), Tool("f")])
    assert body["additionalModelRequestFields"] == {"tools": [bash]}
    assert refused(user("a"), tools=[Tool("s", opaque={"type": "web_search"})]).param == "tools[0]"
    refused(user("a"), tools=[Tool("bash", opaque=bash)], model=LLAMA)


def test_one_call_at_a_time_cannot_be_asked_for() -> None:
    assert render(user("a"), tools=[WEATHER], parallel_tools=False)[1] == ["parallel_tool_calls"]


# -- caching ----------------------------------------------------------------------------------------------------------

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def test_cache_points_follow_what_was_marked() -> None:
    body, dropped = render(
        user(Text("long", cache=HOUR), Text("", cache=MARK), "question"),
        model_says(ToolUse("t", "f", "{}", cache=MARK)),
        user(ToolResult("t", [Text("x", cache=MARK)])),
        system=[Text("rules", cache=MARK)],
        tools=[Tool("f", cache=MARK)],
    )
    point, hour = {"cachePoint": {"type": "default"}}, {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["system"] == [{"text": "rules"}, point]
    assert body["toolConfig"]["tools"][1] == point
    assert body["messages"][0]["content"] == [{"text": "long"}, hour, {"text": "question"}]
    assert body["messages"][1]["content"][1] == point
    assert body["messages"][2]["content"][1] == point
    assert dropped == []


def test_models_without_caching_are_not_asked_for_it() -> None:
    body, dropped = render(user(Text("long", cache=HOUR)), model=OLD)
    assert body["messages"][0]["content"] == [{"text": "long"}]
    assert dropped == ["cache_control"]
    body, dropped = render(user(Text("long", cache=HOUR)), tools=[Tool("f", cache=MARK)], model=NOVA)
    assert body["messages"][0]["content"][1] == {"cachePoint": {"type": "default"}}
    assert len(body["toolConfig"]["tools"]) == 1
    assert dropped == ["cache_control"]


# -- reasoning --------------------------------------------------------------------------------------------------------


def test_signed_reasoning_goes_back_as_it_came() -> None:
    body, dropped = render(
        user("a"),
        model_says(
            Thinking("Hmm.", "c2ln"),
            RedactedThinking("AQID"),
            Thinking("unsigned"),
            Thinking("of OpenAI", "gAAAAAbc"),
            Thinking("of a chat upstream", "chat:x:c2ln"),
            "b",
        ),
        user("c"),
    )
    assert body["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hmm.", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "AQID"}},
        {"text": "b"},
    ]
    assert dropped == [f"messages[1].content[{index}].thinking" for index in (2, 3, 4)]


def test_reasoning_of_one_model_does_not_go_to_another_kind_of_model() -> None:
    turns = user("a"), model_says(Thinking("h", "c2ln"), RedactedThinking("AQID"), "b"), user("c")
    body, dropped = render(*turns, model=LLAMA)
    assert body["messages"][1]["content"] == [{"text": "b"}]
    assert len(dropped) == 2
    profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
    assert len(render(*turns, model=profile)[0]["messages"][1]["content"]) == 3


def test_redacted_reasoning_that_is_no_base64_is_not_bedrocks() -> None:
    assert render(user("a"), model_says(RedactedThinking("<x>"), "b"))[1] == [
        "messages[1].content[0].redacted_thinking"
    ]


@pytest.mark.parametrize(
    ("model", "wish", "max_tokens", "fields", "effort"),
    [
        (NEW, Reasoning(effort="high"), None, {"thinking": {"type": "adaptive"}}, "high"),
        (NEW, Reasoning(effort="minimal"), None, {"thinking": {"type": "adaptive"}}, "low"),
        (NEW, Reasoning(effort="xhigh"), None, {"thinking": {"type": "adaptive"}}, "high"),
        (NEW, Reasoning(enabled=True), None, {"thinking": {"type": "adaptive"}}, None),
        (NEW, Reasoning(enabled=False), None, {"thinking": {"type": "disabled"}}, None),
        (NEW, Reasoning(effort="none"), None, {"thinking": {"type": "disabled"}}, None),
        (
            NEW,
            Reasoning(enabled=True, budget_tokens=5000),
            None,
            {"thinking": {"type": "enabled", "budget_tokens": 5000}},
            None,
        ),
        (SONNET_45, Reasoning(effort="low"), None, {"thinking": {"type": "enabled", "budget_tokens": 2048}}, None),
        (SONNET_45, Reasoning(effort="high"), 8000, {"thinking": {"type": "enabled", "budget_tokens": 4000}}, None),
        (SONNET_45, Reasoning(enabled=False), None, None, None),
        ("openai.gpt-oss-120b-1:0", Reasoning(effort="minimal"), None, {"reasoning_effort": "low"}, None),
        (
            "us.amazon.nova-2-lite-v1:0",
            Reasoning(effort="max"),
            None,
            {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}},
            None,
        ),
    ],
)
def test_reasoning(model: str, wish: Reasoning, max_tokens: int | None, fields: Any, effort: str | None) -> None:
    body, dropped = render(user("a"), model=model, reasoning=wish, max_tokens=max_tokens)
    assert body.get("additionalModelRequestFields") == fields
    assert body.get("outputConfig", {}).get("effort") == effort
    assert dropped == []


@pytest.mark.parametrize(
    ("model", "wish", "max_tokens"),
    [
        (OLD, Reasoning(effort="high"), None),
        (LLAMA, Reasoning(effort="high"), None),
        (LLAMA, Reasoning(enabled=False), None),
        ("openai.gpt-oss-20b-1:0", Reasoning(effort="none"), None),
        (NOVA, Reasoning(enabled=True), None),
        ("anthropic.claude-mythos-preview", Reasoning(enabled=False), None),
        (SONNET_45, Reasoning(effort="high"), 1500),  # no room for the least of budgets
    ],
)
def test_reasoning_that_a_model_does_not_have(model: str, wish: Reasoning, max_tokens: int | None) -> None:
    body, dropped = render(user("a"), model=model, reasoning=wish, max_tokens=max_tokens)
    assert "additionalModelRequestFields" not in body
    assert dropped == ["reasoning"]


def test_an_effort_gives_way_where_thinking_would_make_the_request_fail() -> None:
    effort = Reasoning(effort="high")
    body, dropped = render(user("a"), tools=[WEATHER], tool_choice=ToolChoice("any"), reasoning=effort)
    assert "outputConfig" not in body
    assert dropped == ["reasoning"]
    call = ToolUse("t", "get_weather", "{}")
    unsigned = [user("a"), model_says(call), user(ToolResult("t", [Text("x")]))]
    signed = [user("a"), model_says(Thinking("h", "s"), call), user(ToolResult("t", [Text("x")]))]
    assert render(*unsigned, model=SONNET_45, reasoning=effort)[1] == ["reasoning"]
    assert render(*signed, model=SONNET_45, reasoning=effort)[1] == []
    assert render(*unsigned, model=NEW, reasoning=effort)[1] == []


def test_an_effort_wins_over_a_temperature() -> None:
    body, dropped = render(user("a"), reasoning=Reasoning(effort="high"), temperature=0.2, top_k=5)
    assert "inferenceConfig" not in body
    assert dropped == ["top_k", "temperature"]


# -- structured output ------------------------------------------------------------------------------------------------


def test_structured_output() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    output = OutputFormat("schema", "answer", schema, True, "What it is")
    for model in (NEW, LLAMA):
        definition = render(user("a"), output=output, model=model)[0]["outputConfig"]["textFormat"]
        assert definition == {
            "type": "json_schema",
            "structure": {
                "jsonSchema": {
                    "schema": '{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}',
                    "name": "answer",
                    "description": "What it is",
                }
            },
        }
    assert refused(user("a"), output=output, model=OLD).param == "response_format"
    assert render(user("a"), output=OutputFormat("json"))[1] == ["response_format"]
    assert "outputConfig" not in render(user("a"), output=OutputFormat("text"))[0]


# -- everything else --------------------------------------------------------------------------------------------------


def test_inference_parameters() -> None:
    body, dropped = render(
        user("a"), model=LLAMA, max_tokens=5, temperature=1.7, top_p=0.5, stop=["END", ""], seed=0, user="u"
    )
    assert body["inferenceConfig"] == {"maxTokens": 5, "temperature": 1, "topP": 0.5, "stopSequences": ["END"]}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert dropped == ["temperature", "seed", "user"]


def test_newer_claude_models_take_fewer_of_them() -> None:
    body, dropped = render(user("a"), model=SONNET_45, temperature=0.5, top_p=0.9)
    assert body["inferenceConfig"] == {"temperature": 0.5}
    assert dropped == ["top_p"]
    body, dropped = render(user("a"), model="anthropic.claude-opus-4-7", temperature=0.5, top_p=0.9, top_k=3)
    assert "inferenceConfig" not in body
    assert dropped == ["top_k", "temperature", "top_p"]
    # Both at 1 say nothing.
    body, dropped = render(user("a"), model="anthropic.claude-opus-4-7", temperature=1, top_p=1)
    assert "inferenceConfig" not in body
    assert dropped == []


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (SONNET_45, {"top_k": 7}),
        (NOVA, {"inferenceConfig": {"topK": 7}}),
        ("mistral.mistral-large-2407-v1:0", {"top_k": 7}),
        ("cohere.command-r-v1:0", {"k": 7}),
        (LLAMA, None),
    ],
)
def test_top_k(model: str, fields: Any) -> None:
    body, dropped = render(user("a"), model=model, top_k=7)
    assert body.get("additionalModelRequestFields") == fields
    assert dropped == ([] if fields else ["top_k"])


def test_tiers_and_metadata() -> None:
    body, dropped = render(
        user("a"), service_tier="flex", metadata={"team": "a/b", "x": 1, "ü": "b"}, store=False, logprobs=False
    )
    assert body["serviceTier"] == {"type": "flex"}
    assert body["requestMetadata"] == {"team": "a/b"}
    assert dropped == ["metadata"]
    assert render(user("a"), service_tier="auto", store=True)[1] == ["store"]
    assert render(user("a"), service_tier="scale")[1] == ["service_tier"]


def test_fields_of_bedrocks_own() -> None:
    guardrail = {"guardrailIdentifier": "g1", "guardrailVersion": "1"}
    body, dropped = render(
        user("a"),
        model=SONNET_45,
        top_k=3,
        stop=["x"],
        extra={
            "guardrailConfig": guardrail,
            "performanceConfig": {"latency": "optimized"},
            "additionalModelRequestFields": {"anthropic_beta": ["b"]},
            "additionalModelResponseFieldPaths": ["/usage", "/stop_sequence"],
            "logit_bias": {"1": 2},
            "store_this": None,
        },
    )
    assert body["guardrailConfig"] == guardrail
    assert body["additionalModelRequestFields"] == {"top_k": 3, "anthropic_beta": ["b"]}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence", "/usage"]
    assert dropped == ["logit_bias"]
    for name in ("guardrailConfig", "additionalModelResponseFieldPaths"):
        with pytest.raises(BadRequest) as caught:
            render(user("a"), extra={name: "x"})
        assert caught.value.param == name


def test_several_answers_cannot_be_had() -> None:
    assert refused(user("a"), n=2).param == "n"
    render(user("a"), n=1)


def test_blocks_of_other_dialects_are_dropped_by_name_and_own_ones_pass() -> None:
    own = {"guardContent": {"text": {"text": "x"}}}
    theirs = Opaque("messages", {"type": "server_tool_use"})
    body, dropped = render(user("a", Opaque("converse", own)), model_says("b", theirs), user("c"))
    assert [message["content"] for message in body["messages"]] == [
        [{"text": "a"}, own],
        [{"text": "b"}],
        [{"text": "c"}],
    ]
    assert dropped == ["messages[1].content[1]"]


def test_citations_of_the_past_are_dropped_but_not_their_text() -> None:
    body, dropped = render(user("a"), model_says(Text("b", citations=[{"type": "char_location"}])), user("c"))
    assert body["messages"][1]["content"] == [{"text": "b"}]
    assert dropped == ["messages[1].content[0].citations"]
