"""How a stream that has ended is judged: a whole answer, an error of the upstream, or half an answer."""

from __future__ import annotations

import json

import pytest

from plano.frontends.relay import check_end
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
    ("tail", "failure"),
    [
        (chunk() + DONE, None),
        (chunk() + b"data:[DONE]\r\n\r\n", None),
        (chunk(finish="stop") + DONE, None),
        (chunk(finish="stop"), None),
        (chunk(finish="tool_calls") + USAGE, None),
        (chunk(finish="stop") + b": bye\n\n", None),
        (chunk(), FailureKind.RESET),
        (chunk() + USAGE, FailureKind.RESET),
        (chunk("data: [DONE]"), FailureKind.RESET),
        (chunk('\n\ndata: [DONE]\n\n"finish_reason":"stop"'), FailureKind.RESET),
        (chunk() + ERROR, FailureKind.ERROR_EVENT),
        (chunk() + ERROR.replace(b"\n", b"\r\n"), FailureKind.ERROR_EVENT),
        (chunk() + ERROR.rstrip() + b"\n", FailureKind.ERROR_EVENT),
        (ERROR + chunk(), FailureKind.RESET),
        (b"", FailureKind.RESET),
    ],
)
def test_the_end_of_a_stream(tail: bytes, failure: FailureKind | None) -> None:
    assert kind_of(check_end(tail)) is failure


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
    assert kind_of(judge_stream(beginning, complete)) == verdict


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
