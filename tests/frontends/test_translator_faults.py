"""A translator that breaks its promise never to raise: only the answer it was at may suffer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from plano.dialects.codecs import CLIENTS, UPSTREAMS
from plano.dialects.conversation import BadAnswer, Conversation, Text, Turn
from plano.dialects.events import Ended, Failed
from plano.frontends.translation import Translation
from plano.upstreams.failures import Failure, FailureKind


class Broken:
    """A reader, a writer, a parser: none works."""

    def __init__(self, *_: Any) -> None:
        pass

    def fail(self, *_: Any) -> Any:
        raise KeyError("a bug")

    feed = end = write = fail


def translate() -> Translation:
    conversation = Conversation("m", [Turn("user", [Text("Hi")])])
    return Translation("messages", "chat", conversation, "m", "1")


def test_a_reader_that_raises_is_a_stream_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPSTREAMS, "chat", UPSTREAMS["chat"]._replace(make_reader=Broken))
    (event,) = translate().read_stream(b"data: {}\n\n", False)
    assert isinstance(event, Failed)


def test_a_parser_that_raises_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPSTREAMS, "chat", UPSTREAMS["chat"]._replace(parse_answer=Broken().fail))
    verdict = translate().read_document(b"{}", False)
    assert isinstance(verdict, Failure)
    assert verdict.kind is FailureKind.PROTOCOL


def test_a_writer_that_raises_never_shortens_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLIENTS, "messages", CLIENTS["messages"]._replace(make_writer=Broken))
    with pytest.raises(BadAnswer):
        translate().write_stream([Ended()])


def test_a_call_that_the_client_could_not_read_is_a_failure_that_says_so() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "[1]"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = orjson.dumps({"id": "1", "model": "m", "choices": [{"index": 0, "message": message}]})
    verdict = translate().read_document(body, False)
    assert isinstance(verdict, Failure)
    assert "'f' with arguments that are not a JSON object" in verdict.message
    assert verdict.body == body


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_whose_arguments_are_no_json_is_told_by_its_name(caplog: pytest.LogCaptureFixture, stream: bool) -> None:
    call = b'{"id":"c","type":"function","function":{"name":"f","arguments":"{nope"}}'
    if stream:  # from an upstream that streams to a client that does not
        body = b'data: {"choices":[{"delta":{"tool_calls":[%b]},"finish_reason":"tool_calls"}]}\n\n' % call
    else:
        body = b'{"choices":[{"message":{"tool_calls":[%b]},"finish_reason":"tool_calls"}]}' % call
    verdict = translate().read_document(body, stream)
    assert isinstance(verdict, Failure)
    assert verdict.kind is FailureKind.PROTOCOL
    assert "'f'" in verdict.message
    assert not caplog.records  # the model's mistake, not a bug of ours
