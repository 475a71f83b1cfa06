"""How a stream that has ended is judged: a whole answer, an error of the upstream, or half an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plano.dialects.identity.wire import CHAT, MESSAGES, RESPONSES, StreamEnd
from plano.frontends.verdicts import judge_document, judge_stream
from plano.upstreams.failures import Failure, FailureKind


def chunk(content: str = "x", finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()


ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"out of data: 7","type":"server_error"}}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'


def kind_of(verdict: Failure | bool | None) -> FailureKind | bool | None:
    return verdict.kind if isinstance(verdict, Failure) else verdict


@pytest.mark.parametrize(
    ("tail", "end"),
    [
        (chunk() + DONE, StreamEnd.WHOLE),
        (chunk() + b"data:[DONE]\r\n\r\n", StreamEnd.WHOLE),
        (chunk(finish="stop") + DONE, StreamEnd.WHOLE),
        (chunk(finish="stop"), StreamEnd.UNMARKED),
        (chunk(finish="tool_calls") + USAGE, StreamEnd.UNMARKED),
        (chunk(finish="stop") + b": bye\n\n", StreamEnd.UNMARKED),
        (chunk(), StreamEnd.CUT),
        (chunk(finish=""), StreamEnd.CUT),
        (chunk() + USAGE, StreamEnd.CUT),
        (chunk("data: [DONE]"), StreamEnd.CUT),
        (chunk('\n\ndata: [DONE]\n\n"finish_reason":"stop"'), StreamEnd.CUT),
        (chunk() + ERROR, StreamEnd.ERROR),
        (chunk() + ERROR.replace(b"\n", b"\r\n"), StreamEnd.ERROR),
        (chunk() + ERROR.rstrip() + b"\n", StreamEnd.ERROR),
        (ERROR + chunk(), StreamEnd.CUT),
        (b"", StreamEnd.CUT),
    ],
)
def test_the_end_of_a_stream(tail: bytes, end: StreamEnd) -> None:
    assert CHAT.check_end(tail) is end


MESSAGE_DELTA = (
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{}}\n\n'
)
MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
TEXT_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"text":"x"}}\n\n'
MESSAGE_ERROR = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'


@pytest.mark.parametrize(
    ("tail", "end"),
    [
        (TEXT_DELTA + MESSAGE_DELTA + MESSAGE_STOP, StreamEnd.WHOLE),
        (TEXT_DELTA + MESSAGE_DELTA, StreamEnd.UNMARKED),
        (TEXT_DELTA, StreamEnd.CUT),
        (TEXT_DELTA + MESSAGE_ERROR, StreamEnd.ERROR),
        (b"", StreamEnd.CUT),
    ],
)
def test_the_end_of_a_messages_stream(tail: bytes, end: StreamEnd) -> None:
    assert MESSAGES.check_end(tail) is end


@pytest.mark.parametrize(
    ("tail", "end"),
    [
        (b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n', StreamEnd.WHOLE),
        (b'... cut out of it ...,"usage":{"input_tokens":1,"output_tokens":2},"user":null}}\n\n', StreamEnd.WHOLE),
        (b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta"}\n\n', StreamEnd.CUT),
        (b'event: error\ndata: {"type":"error","code":"x","message":"y"}\n\n', StreamEnd.ERROR),
    ],
)
def test_the_end_of_a_responses_stream(tail: bytes, end: StreamEnd) -> None:
    assert RESPONSES.check_end(tail) is end


CREATED = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "status": "in_progress"}}
DELTA = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":7}\n\n'
GONE = b'{"error":{"message":"gone","code":"upstream_reset","param":null}}'


def events_in(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[5:]) for line in data.splitlines() if line.startswith(b"data:")]


def test_a_responses_stream_that_breaks_ends_with_the_error_and_the_failed_answer() -> None:
    first = b"event: response.created\ndata: %b\n\n" % json.dumps(CREATED).encode()
    end = RESPONSES.break_stream(GONE, first, DELTA)
    error, failed = events_in(end)
    assert (error["type"], error["code"], error["sequence_number"]) == ("error", "upstream_reset", 8)
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 9)
    assert failed["response"] == {
        "id": "resp_1",
        "status": "failed",
        "error": {"code": "server_error", "message": "gone"},
    }
    assert RESPONSES.check_end(end) is StreamEnd.WHOLE


@pytest.mark.parametrize("first", [b"", DELTA, b"data: nonsense\n\n", b"event: response.created\ndata: {", b": hi\n\n"])
def test_without_the_beginning_of_the_answer_there_is_the_error_alone(first: bytes) -> None:
    assert [event["type"] for event in events_in(RESPONSES.break_stream(GONE, first, DELTA))] == ["error"]


@pytest.mark.parametrize(
    ("beginning", "complete", "verdict"),
    [
        (b"", False, False),
        (b": hello\n\n", False, False),
        (ROLE, False, False),
        (ROLE + USAGE, False, False),
        (ROLE + chunk()[:-1], False, False),
        (ROLE + chunk(), False, True),
        (chunk("", "stop"), False, True),
        (b"", True, FailureKind.EMPTY),
        (ROLE, True, FailureKind.EMPTY),
        (ROLE + DONE, False, FailureKind.EMPTY),
        (ERROR, False, FailureKind.ERROR_EVENT),
        (ROLE + ERROR, False, FailureKind.ERROR_EVENT),
        (ERROR.rstrip(), True, FailureKind.ERROR_EVENT),
        (b"data: <html>\n\n", False, FailureKind.PROTOCOL),
        (chunk().rstrip(), True, True),
    ],
)
def test_the_beginning_of_a_stream(beginning: bytes, complete: bool, verdict: FailureKind | bool) -> None:
    assert kind_of(judge_stream(CHAT, beginning, complete)) == verdict


JSON = b"application/json"


@pytest.mark.parametrize(
    ("content_type", "body", "complete", "verdict"),
    [
        (JSON, b'{"id":"x"}', True, True),
        (JSON, b' \n{"id":"x"}\n', True, True),
        (b"application/problem+json", b'{"id":"x"}', True, True),
        (JSON, b'{"id":', False, False),
        (JSON, b"", False, False),
        (JSON, b"  ", False, False),
        (JSON, b"", True, FailureKind.EMPTY),
        (JSON, b" \n ", True, FailureKind.EMPTY),
        (JSON, b'{"id":', True, FailureKind.PROTOCOL),
        (JSON, b"[1]", True, FailureKind.PROTOCOL),
        (JSON, b"<html>", False, FailureKind.PROTOCOL),
        (b"text/html", b'{"id":"x"}', True, FailureKind.PROTOCOL),
        (b"", b'{"id":"x"}', True, FailureKind.PROTOCOL),
        (JSON, b'{"error":{"message":"no"}}', True, FailureKind.ERROR_EVENT),
        (JSON, b'{"error":null,"id":"x"}', True, True),
    ],
)
def test_a_document(content_type: bytes, body: bytes, complete: bool, verdict: FailureKind | bool) -> None:
    assert kind_of(judge_document(content_type, body, complete)) == verdict
