"""Output items that say nothing of their type pass between two sides that speak responses."""

from __future__ import annotations

from typing import Any

import pytest

from plano.dialects.assembly import events_of
from plano.dialects.conversation import Conversation
from plano.dialects.responses import answer as responses_answer
from plano.dialects.responses import stream as responses_stream

TEXT = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}


@pytest.mark.parametrize("items", [[{"id": "x"}, TEXT], [TEXT, {"id": "x"}], [{"id": "x"}, {"type": 5}, TEXT]])
def test_an_item_without_a_type_passes(items: list[dict[str, Any]]) -> None:
    answer = responses_answer.parse_answer(
        {"id": "r", "object": "response", "model": "m", "status": "completed", "output": items}
    )
    conversation = Conversation("m", [])
    rendered = responses_answer.render_answer(answer, conversation, 1)["output"]
    assert "Hi" in str(rendered)
    writer = responses_stream.Writer(conversation, 1)
    written = b"".join(writer.write(event) for event in events_of(answer))
    assert b'"response.completed"' in written
    assert b'"Hi"' in written
