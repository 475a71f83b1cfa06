"""A client is told of fields in the words of its own request."""

from __future__ import annotations

from typing import Any

import pytest

from plano.dialects.chat.request import parse_request
from plano.dialects.field_names import name_field, name_message


@pytest.mark.parametrize(
    ("dialect", "name", "body", "told"),
    [
        ("responses", "messages[3].content[1]", {"input": []}, "input"),
        ("responses", "response_format", {"text": {}}, "text.format"),
        ("responses", "max_tokens", {"max_output_tokens": 3}, "max_output_tokens"),
        ("responses", "metadata", {"metadata": {}}, "metadata"),
        ("responses", "max_tokens", {"max_tokens": 3}, "max_tokens"),
        ("responses", "tools[2].function.strict", {"tools": []}, "tools[2].strict"),
        ("messages", "tools[2].function.strict", {"tools": []}, "tools[2].strict"),
        ("messages", "messages[3].content[1]", {"messages": []}, "messages[3].content[1]"),
        ("messages", "stop[1]", {"stop_sequences": []}, "stop_sequences[1]"),
        ("messages", "response_format", {"output_config": {}}, "output_config.format"),
        ("chat", "max_output_tokens", {"max_tokens": 1}, "max_tokens"),
        ("chat", "max_output_tokens", {"max_completion_tokens": 1}, "max_completion_tokens"),
        ("chat", "tools[2].function.strict", {"tools": []}, "tools[2].function.strict"),
        ("chat", "of_tomorrow", {"of_tomorrow": 1}, "of_tomorrow"),
        ("chat", "", {}, ""),
    ],
)
def test_a_field_is_named_as_the_client_did(dialect: str, name: str, body: dict[str, Any], told: str) -> None:
    assert name_field(dialect, name, body) == told


# Two system texts and two results in a row: turns and messages are counted differently.
LONG: list[dict[str, Any]] = [
    {"role": "system", "content": "s"},
    {"role": "developer", "content": "d"},
    {"role": "user", "content": [{"type": "text", "text": "a"}]},
    {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
    {"role": "tool", "tool_call_id": "c", "content": "r"},
    {"role": "tool", "tool_call_id": "c", "content": "r"},
    {"role": "user", "content": "b"},
    {"role": "system", "content": "late"},
    {"role": "user", "content": "c"},
]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("messages[0].content[2]", "messages[2].content[2]"),
        ("messages[0].name", "messages[2].name"),
        ("messages[1].content[2].thinking", "messages[3].thinking"),
        ("messages[2].content[0]", "messages[4]"),
        ("messages[2].content[1].content[3]", "messages[5].content[3]"),
        ("messages[3].content[1]", "messages[6].content[1]"),
        ("messages[4]", "messages[7]"),
        ("messages[5].content[0]", "messages[8].content[0]"),
        ("messages[6].content[0]", "messages[6].content[0]"),
        ("messages", "messages"),
        ("tools[0]", "tools[0]"),
    ],
)
def test_a_message_is_named_by_its_number_in_the_clients_request(name: str, told: str) -> None:
    assert name_message(name, parse_request({"model": "m", "messages": LONG})) == told
