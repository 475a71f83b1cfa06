"""Conversations as bodies of generateContent."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from plano.dialects.conversation import (
    Audio,
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
from plano.dialects.gemini.request import gemini_path, render_request

MODEL = "gemini-2.5-pro"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("get_weather", "The weather of a city", SCHEMA)
PNG = "iVBORw0KGgo="


def say(*blocks: Block | str) -> Turn:
    return Turn("user", [Text(block) if isinstance(block, str) else block for block in blocks])


def reply(*blocks: Block | str) -> Turn:
    return Turn("assistant", [Text(block) if isinstance(block, str) else block for block in blocks])


def render(*turns: Turn, model: str = MODEL, drops: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    dropped = Dropped()
    body = render_request(Conversation("alias", list(turns) or [say("Hi")], **fields), model, dropped)
    assert dropped.names == list(drops)
    return body


def parts_of(*blocks: Block | str, model: str = MODEL, drops: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    (content,) = render(say(*blocks), model=model, drops=drops)["contents"]
    parts: list[dict[str, Any]] = content["parts"]
    return parts


def config(model: str = MODEL, drops: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    generation: dict[str, Any] = render(model=model, drops=drops, **fields).get("generationConfig", {})
    return generation


def test_roles_are_named_geminis_way_and_neighbours_merged() -> None:
    body = render(say("One"), say("Two", ""), reply("Three"), reply(""), say("Four"))
    assert body == {
        "contents": [
            {"role": "user", "parts": [{"text": "One"}, {"text": "Two"}]},
            {"role": "model", "parts": [{"text": "Three"}]},
            {"role": "user", "parts": [{"text": "Four"}]},
        ]
    }


def test_every_system_text_is_kept_in_order() -> None:
    late = Turn("system", [Text("Be brief.")])
    body = render(say("Hi"), late, say("Go"), system=[Text("Be kind."), Text("Be wise.", {"type": "ephemeral"})],
                  drops=("cache_control",))  # fmt: skip
    assert body["systemInstruction"] == {"parts": [{"text": "Be kind."}, {"text": "Be wise."}, {"text": "Be brief."}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Hi"}, {"text": "Go"}]}]


def test_instructions_alone_are_said_as_the_user_and_nothing_at_all_is_refused() -> None:
    dropped = Dropped()
    assert render_request(Conversation(None, [], system=[Text("Greet me.")]), MODEL, dropped) == {
        "contents": [{"role": "user", "parts": [{"text": "Greet me."}]}]
    }
    with pytest.raises(Untranslatable):
        render_request(Conversation(None, [say("")]), MODEL, dropped)


def test_parallel_calls_and_their_results_stay_together_by_name_and_id() -> None:
    body = render(
        say("Weather in Oslo and Rome?"),
        reply("Looking.", ToolUse("a", "get_weather", '{"city":"Oslo"}'), ToolUse("b", "get_weather", "")),
        say("By the way", ToolResult("b", [Text("hot"), Text("dry")])),
        say(ToolResult("a", [Text("no such city")], is_error=True)),
        tools=[WEATHER],
    )
    model, user = body["contents"][1:]
    assert model["parts"] == [
        {"text": "Looking."},
        {"functionCall": {"id": "a", "name": "get_weather", "args": {"city": "Oslo"}}},
        {"functionCall": {"id": "b", "name": "get_weather", "args": {}}},
    ]
    assert user == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "b", "name": "get_weather", "response": {"output": "hot\ndry"}}},
            {"functionResponse": {"id": "a", "name": "get_weather", "response": {"error": "no such city"}}},
            {"text": "By the way"},
        ],
    }


def test_images_of_a_result_stand_in_it_since_gemini_3_and_beside_it_before() -> None:
    turns = (
        reply(ToolUse("a", "draw", "{}")),
        say(ToolResult("a", [Text("done"), Image(media_type="image/png", data=PNG)])),
    )
    inline = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    new = render(*turns, model="gemini-3-pro-preview")["contents"][1]["parts"]
    assert new == [{"functionResponse": {"id": "a", "name": "draw", "response": {"output": "done"}, "parts": [inline]}}]
    old = render(*turns)["contents"][1]["parts"]
    assert old == [{"functionResponse": {"id": "a", "name": "draw", "response": {"output": "done"}}}, inline]


def test_a_result_without_its_call_needs_a_name() -> None:
    body = render(say(ToolResult("x", [Text("1")], name="count")))
    assert body["contents"][0]["parts"][0]["functionResponse"]["name"] == "count"
    with pytest.raises(Untranslatable, match="'x'"):
        render(say(ToolResult("x", [Text("1")])))


@pytest.mark.parametrize("arguments", ["{", "[]", "1", '"x"'])
def test_arguments_that_are_no_object_are_refused(arguments: str) -> None:
    with pytest.raises(Untranslatable, match="'a'") as caught:
        render(reply(ToolUse("a", "f", arguments)))
    assert caught.value.param == "messages[0].content[0]"


def test_only_signatures_of_google_go_back_to_google() -> None:
    turn = reply(
        Thinking("Hm.", "gemini:QUJD"),
        Thinking("Claude's", "ErUB"),
        RedactedThinking("xyz"),
        ToolUse("a", "f", "{}", signature="gemini:REVG"),
        ToolUse("b", "f", "{}", signature="ErUB"),
    )
    body = render(say("Hi"), turn, drops=("thinking", "redacted_thinking"))
    assert body["contents"][1]["parts"] == [
        {"text": "Hm.", "thought": True, "thoughtSignature": "QUJD"},
        {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": "REVG"},
        {"functionCall": {"id": "b", "name": "f", "args": {}}},
    ]


def test_since_gemini_3_the_first_call_of_a_step_is_signed_somehow() -> None:
    turns = (
        say("Hi"),
        reply("Go", ToolUse("a", "f", "{}"), ToolUse("b", "f", "{}")),
        say(ToolResult("a", []), ToolResult("b", [])),
        reply(ToolUse("c", "f", "{}", signature="gemini:QUJD")),
    )
    contents = render(*turns, model="gemini-3-flash-preview")["contents"]
    signatures = [[part.get("thoughtSignature") for part in content["parts"]] for content in contents]
    assert signatures == [[None], [None, "skip_thought_signature_validator", None], [None, None], ["QUJD"]]


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (Image(media_type="image/webp", data="AAAA"), {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}}),
        (Image(data=PNG), {"inlineData": {"mimeType": "image/png", "data": PNG}}),
        (Image(url=f"data:image/gif;base64,{PNG}"), {"inlineData": {"mimeType": "image/gif", "data": PNG}}),
        (
            Image(url="https://example.com/a/cat.JPG?x=1"),
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a/cat.JPG?x=1"}},
        ),
        (Image(url="https://example.com/cat"), {"fileData": {"fileUri": "https://example.com/cat"}}),
        (Image(url="gs://bucket/cat.png"), {"fileData": {"fileUri": "gs://bucket/cat.png"}}),
        (
            Image(file_id="files/abc"),
            {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
        ),
    ],
)
def test_images_go_inline_or_by_a_url_that_google_reads(image: Image, part: dict[str, Any]) -> None:
    assert parts_of(image) == [part]


@pytest.mark.parametrize(
    ("image", "model"),
    [
        (Image(url="http://example.com/cat.png"), MODEL),
        (Image(url="ftp://example.com/cat.png"), MODEL),
        (Image(url="https://[broken"), MODEL),
        (Image(url="https:///cat.png"), MODEL),
        (Image(url="https://example.com/cat.png"), "gemini-2.0-flash"),
        (Image(file_id="file-abc"), MODEL),
        (Image(data="AAAA"), MODEL),
        (Image(), MODEL),
    ],
)
def test_images_google_cannot_get_are_refused(image: Image, model: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        parts_of("Look:", image, model=model)
    assert caught.value.param == "messages[0].content[1]"


def test_documents_and_audio_go_inline() -> None:
    plain = base64.b64encode("Bonjour été".encode()).decode()
    assert parts_of(
        Document(text="Bonjour été", title="a.txt", context="From Marie", citations=True),
        Document(data="JVBERi0=", media_type="application/pdf"),
        Document(data="AAAA", title="b.csv"),
        Document(url="https://example.com/c.pdf"),
        Audio("UklG", "wav"),
        drops=("citations", "title"),
    ) == [
        {"text": "From Marie"},
        {"inlineData": {"mimeType": "text/plain", "data": plain}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/c.pdf"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}},
    ]


def test_what_only_another_dialect_knows_is_left_out_by_name() -> None:
    own = {"executableCode": {"language": "PYTHON", "code": "1"}}
    assert parts_of(
        "Hi",
        Opaque("gemini", own),
        Opaque("messages", {"type": "tool_reference"}),
        Image(data=PNG, detail="high", cache={"type": "ephemeral"}),
        Refusal("No."),
        drops=("tool_reference", "cache_control", "detail"),
    ) == [{"text": "Hi"}, own, {"inlineData": {"mimeType": "image/png", "data": PNG}}, {"text": "No."}]


def test_tools_keep_their_json_schema() -> None:
    body = render(
        tools=[
            WEATHER,
            Tool("now", strict=True),
            Tool("sql", custom=True, grammar={"type": "grammar", "syntax": "lark", "definition": "start: X"}),
            Tool("googleSearch", opaque={"googleSearch": {}}),
        ],
        parallel_tools=False,
        drops=("tools[1].strict", "tools[2].format", "parallel_tool_calls"),
    )
    declared, search = body["tools"]
    weather, now, sql = declared["functionDeclarations"]
    assert weather == {
        "name": "get_weather",
        "description": "The weather of a city",
        "parametersJsonSchema": SCHEMA,
    }
    assert now == {"name": "now"}
    assert sql["parametersJsonSchema"]["required"] == ["input"]
    assert search == {"googleSearch": {}}
    with pytest.raises(Untranslatable) as caught:
        render(tools=[WEATHER, Tool("web", opaque={"type": "web_search_20250305"})])
    assert caught.value.param == "tools[1]"


@pytest.mark.parametrize(
    ("choice", "rendered"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("any"), {"mode": "ANY"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("tool", "get_weather"), {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}),
        (ToolChoice("any", allowed=["now"]), {"mode": "ANY", "allowedFunctionNames": ["now"]}),
    ],
)
def test_tool_choice(choice: ToolChoice, rendered: dict[str, Any]) -> None:
    body = render(tools=[WEATHER, Tool("now")], tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": rendered}
    assert "toolConfig" not in render(tool_choice=choice)


def test_tools_that_may_not_be_chosen_are_not_offered() -> None:
    body = render(tools=[WEATHER, Tool("now")], tool_choice=ToolChoice("auto", allowed=["now"]))
    assert body["tools"] == [{"functionDeclarations": [{"name": "now"}]}]


def test_sampling_and_limits() -> None:
    assert config(
        max_tokens=9,
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        stop=["x"],
        seed=-(2**40) - 1,
        n=2,
        presence_penalty=0.1,
        frequency_penalty=0.2,
    ) == {
        "maxOutputTokens": 9,
        "temperature": 0.0,
        "topP": 0.5,
        "topK": 3,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "stopSequences": ["x"],
        "seed": 2**31 - 1,
        "candidateCount": 2,
    }


def test_structured_output() -> None:
    assert config(output=OutputFormat("text")) == {}
    assert config(output=OutputFormat("json")) == {"responseMimeType": "application/json"}
    assert config(output=OutputFormat("schema", "mood", SCHEMA, True)) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }


@pytest.mark.parametrize(
    ("model", "reasoning", "thinking"),
    [
        ("gemini-2.5-pro", Reasoning(effort="low"), {"thinkingBudget": 1024, "includeThoughts": True}),
        ("gemini-2.5-pro", Reasoning(effort="max"), {"thinkingBudget": 32768, "includeThoughts": True}),
        ("gemini-2.5-flash", Reasoning(effort="max"), {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-2.5-flash", Reasoning(enabled=False), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", Reasoning(enabled=False), {"thinkingBudget": 128}),
        ("gemini-2.5-pro", Reasoning(True, budget_tokens=5000), {"thinkingBudget": 5000, "includeThoughts": True}),
        ("gemini-2.5-pro", Reasoning(enabled=True), {"thinkingBudget": -1, "includeThoughts": True}),
        ("gemini-2.5-pro", Reasoning(summary="auto"), {"includeThoughts": True}),
        ("gemini-3-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", Reasoning(effort="medium"), {"thinkingLevel": "medium", "includeThoughts": True}),
        ("gemini-3-flash-preview", Reasoning(effort="none"), {"thinkingLevel": "minimal"}),
        ("gemini-3-pro-preview", Reasoning(enabled=False), {"thinkingLevel": "low"}),
        ("gemini-flash-latest", Reasoning(effort="xhigh"), {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3-pro-preview", Reasoning(enabled=True), {"includeThoughts": True}),
    ],
)
def test_reasoning(model: str, reasoning: Reasoning, thinking: dict[str, Any]) -> None:
    assert config(model, reasoning=reasoning) == {"thinkingConfig": thinking}


def test_models_that_do_not_think_are_not_asked_to() -> None:
    assert config("gemini-2.0-flash", drops=("reasoning",), reasoning=Reasoning(effort="high")) == {}


def test_what_has_no_place_is_named() -> None:
    body = render(
        logprobs=True,
        top_logprobs=3,
        verbosity="low",
        user="u",
        metadata={"a": "b"},
        store=True,
        service_tier="scale",
        extra={"logit_bias": {"1": 2}, "safetySettings": [{"category": "X"}], "cached_content": "cachedContents/1"},
        drops=("logprobs", "top_logprobs", "verbosity", "user", "metadata", "store", "service_tier", "logit_bias"),
    )
    assert body["safetySettings"] == [{"category": "X"}]
    assert body["cachedContent"] == "cachedContents/1"
    assert "serviceTier" not in body
    assert render(service_tier="flex", store=False)["serviceTier"] == "flex"


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-2.5-pro", False, "/v1beta/models/gemini-2.5-pro:generateContent"),
        ("models/gemini-2.5-pro", True, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", False, "/v1beta/tunedModels/mine:generateContent"),
        ("a/../b?c#d\r\n", False, "/v1beta/models/a%2F..%2Fb%3Fc%23d%0D%0A:generateContent"),
    ],
)
def test_the_model_stands_in_the_path(model: str, stream: bool, path: str) -> None:
    assert gemini_path(model, stream) == path


def test_a_name_full_of_digits_is_a_new_model() -> None:
    # Clients choose the names behind a wildcard; Python reads no number of more than 4,300 digits.
    assert config(f"gemini-{'9' * 5_000}", reasoning=Reasoning(effort="high")) == {
        "thinkingConfig": config("gemini-3-pro", reasoning=Reasoning(effort="high"))["thinkingConfig"]
    }
