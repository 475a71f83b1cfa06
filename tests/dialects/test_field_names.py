"""A client is told of fields in the words of its own request."""

from __future__ import annotations

from typing import Any

import pytest

from plano.dialects.field_names import name_field


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
