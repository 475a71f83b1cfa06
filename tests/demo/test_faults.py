"""Every fault, as it looks on the wire."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest

from plano.demo.faults import FaultBook, parse_fault
from plano.demo.prompts import PromptError
from plano.demo.provider import DemoProvider, start_provider
from tests.demo.wire import RawAnswer, chat_body, exchange

ANSWER = "You said: Hi there"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


async def ask(provider: DemoProvider, fault: str, stream: bool, **more: Any) -> RawAnswer:
    return await exchange(provider.url, chat_body(f"demo-{fault}", stream), **more)


def has_error(value: Any) -> bool:
    return set(value["error"]) == {"message", "type", "param", "code"}


@BOTH
@pytest.mark.parametrize("status", [400, 401, 404, 408, 429, 500, 502, 503, 529])
async def test_fail_answers_the_status_without_advice(provider: DemoProvider, status: int, stream: bool) -> None:
    answer = await ask(provider, f"fail-{status}", stream)
    assert answer.status == status
    assert has_error(answer.json)
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(("fault", "advice"), [("fail-429-after-7", "7"), ("fail-503-after-0.5", "0.5")])
async def test_fail_after_says_when_to_come_back(provider: DemoProvider, fault: str, advice: str) -> None:
    assert (await ask(provider, fault, False)).headers["retry-after"] == advice


async def test_html_answers_a_page(provider: DemoProvider) -> None:
    answer = await ask(provider, "html-502", True)
    assert answer.status == 502
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.body.startswith(b"<html>")


@BOTH
async def test_hang_never_answers(provider: DemoProvider, stream: bool) -> None:
    answer = await ask(provider, "hang", stream, silence_s=0.2)
    assert answer.ending == "silent"
    assert answer.status is None


@BOTH
async def test_drop_closes_before_the_head(provider: DemoProvider, stream: bool) -> None:
    answer = await ask(provider, "drop", stream)
    assert answer.ending == "closed"
    assert answer.status is None


@BOTH
async def test_slow_delays_the_head(provider: DemoProvider, stream: bool) -> None:
    answer = await ask(provider, "slow-150", stream)
    assert answer.status == 200
    assert answer.complete
    assert answer.first_byte_s is not None
    assert answer.first_byte_s >= 0.15


@BOTH
async def test_slow_token_sends_the_head_at_once(provider: DemoProvider, stream: bool) -> None:
    answer = await ask(provider, "slow-token-400", stream)
    assert answer.complete
    assert answer.first_byte_s is not None
    assert answer.first_body_s is not None
    assert answer.first_byte_s < 0.4 <= answer.first_body_s


@pytest.mark.parametrize("chunks", [0, 1, 5])
async def test_cut_dies_in_the_middle_of_the_event_after_n_chunks(provider: DemoProvider, chunks: int) -> None:
    answer = await ask(provider, f"cut-{chunks}", True)
    assert answer.status == 200
    assert answer.ending == "closed"
    assert not answer.complete
    *whole, part = answer.body.decode().split("\n\n")
    assert part.startswith("data: {")
    with pytest.raises(json.JSONDecodeError):
        json.loads(part.removeprefix("data: "))
    contents = [json.loads(each.removeprefix("data: "))["choices"][0]["delta"]["content"] for each in whole]
    assert "".join(contents).split() == f"Hello! I am demo-cut-{chunks}, a demo".split()[:chunks]


async def test_role_then_cut_dies_after_the_role(provider: DemoProvider) -> None:
    answer = await ask(provider, "role-then-cut", True)
    whole, _ = answer.body.decode().split("\n\n")
    assert json.loads(whole.removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
    assert not answer.complete


async def test_reset_is_a_reset(provider: DemoProvider) -> None:
    answer = await ask(provider, "reset-2", True)
    assert answer.ending == "reset"
    assert not answer.complete


async def test_cut_reaches_a_short_answer_before_its_end_mark(provider: DemoProvider) -> None:
    answer = await ask(provider, "cut-1000", True)
    assert b"finish_reason" in answer.body
    assert b"[DONE]" not in answer.body
    assert not answer.complete


@pytest.mark.parametrize("fault", ["cut-3", "truncate", "role-then-cut"])
async def test_a_json_body_breaks_off_short_of_its_length(provider: DemoProvider, fault: str) -> None:
    answer = await ask(provider, fault, False)
    assert answer.status == 200
    assert answer.ending == "closed"
    assert not answer.complete
    assert len(answer.body) < int(answer.headers["content-length"])


async def test_truncate_promises_more_of_a_stream_than_comes(provider: DemoProvider) -> None:
    answer = await ask(provider, "truncate", True)
    assert len(answer.body) < int(answer.headers["content-length"])
    assert answer.text.endswith(ANSWER)


async def test_stall_goes_silent_after_n_chunks(provider: DemoProvider) -> None:
    answer = await ask(provider, "stall-2", True, silence_s=0.2)
    assert answer.ending == "silent"
    assert answer.text == "Hello! I"
    whole = await ask(provider, "stall-0", False, silence_s=0.2)
    assert whole.ending == "silent"
    assert whole.status == 200


@pytest.mark.parametrize(("fault", "text"), [("error-first", ""), ("error-mid-3", "Hello! I am"), ("error-mid-0", "")])
async def test_errors_come_as_events_of_a_200(provider: DemoProvider, fault: str, text: str) -> None:
    answer = await ask(provider, fault, True)
    assert answer.status == 200
    assert answer.complete
    *chunks, error = answer.events
    assert has_error(error)
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == text


@pytest.mark.parametrize(("fault", "stream"), [("error-200", False), ("error-200", True), ("error-first", False)])
async def test_errors_come_as_json_of_a_200(provider: DemoProvider, fault: str, stream: bool) -> None:
    answer = await ask(provider, fault, stream)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert has_error(answer.json)


@BOTH
async def test_empty_is_a_200_without_a_body(provider: DemoProvider, stream: bool) -> None:
    answer = await ask(provider, "empty", stream)
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


async def test_done_only_and_no_done(provider: DemoProvider) -> None:
    assert (await ask(provider, "done-only", True)).events == ["[DONE]"]
    without = await ask(provider, "no-done", True)
    assert without.complete
    assert without.text.endswith(ANSWER)
    assert "[DONE]" not in without.events


@BOTH
async def test_garbage_is_neither_json_nor_events(provider: DemoProvider, stream: bool) -> None:
    answer = await ask(provider, "garbage", stream)
    assert answer.status == 200
    assert answer.complete
    assert b"data:" not in answer.body
    with pytest.raises(ValueError):
        _ = answer.json


async def test_gzip_compresses_and_flushes_every_event(provider: DemoProvider) -> None:
    whole = await ask(provider, "gzip", False)
    assert whole.headers["content-encoding"] == "gzip"
    assert ANSWER in gzip.decompress(whole.body).decode()
    started = await start_provider(faults={"*": "gzip"}, chunk_delay_ms=60_000)
    try:
        # The second chunk is a minute away: the first must be readable by now.
        streamed = await exchange(started.url, chat_body("gpt-4o", True), silence_s=0.3)
        assert b'"Hello!"' in zlib.decompressobj(wbits=31).decompress(streamed.body)
    finally:
        await started.close()


async def test_comments_stand_before_every_event(provider: DemoProvider) -> None:
    answer = await ask(provider, "comments", True)
    assert answer.body.startswith(b": ping\n\ndata: ")
    assert answer.body.count(b": ping\n\n") == len(answer.events)
    assert answer.text.endswith(ANSWER)


async def test_crlf_ends_every_line(provider: DemoProvider) -> None:
    answer = await ask(provider, "crlf", True)
    assert answer.body.count(b"\n") == answer.body.count(b"\r\n") == 2 * len(answer.events)
    assert answer.text.endswith(ANSWER)


@BOTH
async def test_big_is_as_big_as_asked(provider: DemoProvider, stream: bool) -> None:
    answer = await exchange(provider.url, chat_body("demo-big-301", stream, max_tokens=5))
    text = answer.text if stream else answer.json["choices"][0]["message"]["content"]
    assert len(text) == 301 * 1024


async def test_chunks_are_as_many_and_as_far_apart_as_asked(provider: DemoProvider) -> None:
    started_s = asyncio.get_running_loop().time()
    answer = await ask(provider, "chunks-11-20", True)
    elapsed_s = asyncio.get_running_loop().time() - started_s
    assert elapsed_s >= 0.19
    assert len([event for event in answer.events if b"content" in json.dumps(event).encode()]) == 1 + 11


async def test_usage_reports_cached_and_reasoning_tokens(provider: DemoProvider) -> None:
    usage = (await ask(provider, "usage-64-32", False)).json["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 64
    assert usage["prompt_tokens"] >= 64
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 32


async def test_a_queue_of_faults_is_taken_one_per_request(provider: DemoProvider) -> None:
    order = {"model": "gpt-4o", "faults": ["fail-503", None, "demo-fail-429"]}
    queued = await exchange(provider.url, order, path="/_demo/faults")
    assert queued.json == {"model": "gpt-4o", "queued": 3}
    other = await exchange(provider.url, chat_body("gpt-4o-mini"))
    statuses = [(await exchange(provider.url, chat_body("openai/gpt-4o"))).status for _ in range(4)]
    assert (other.status, statuses) == (200, [503, 200, 429, 200])


async def test_deleting_faults_empties_the_queues(provider: DemoProvider) -> None:
    await exchange(provider.url, {"model": "gpt-4o", "faults": ["fail-503"]}, path="/_demo/faults")
    pending = await exchange(provider.url, path="/_demo/faults", method="GET")
    assert pending.json == {"pending": {"gpt-4o": ["fail-503"]}}
    await exchange(provider.url, path="/_demo/faults", method="DELETE")
    assert (await exchange(provider.url, chat_body("gpt-4o"))).status == 200


@pytest.mark.parametrize("order", [{}, {"model": "m", "faults": ["no-such"]}, {"model": "m", "faults": [1]}, []])
async def test_a_wrong_order_for_faults_is_refused_whole(provider: DemoProvider, order: Any) -> None:
    assert (await exchange(provider.url, order, path="/_demo/faults")).status == 400
    assert provider.faults.pending() == {}


def test_a_queue_goes_before_what_is_fixed_and_that_before_the_name() -> None:
    book = FaultBook({"demo-hang": "fail-500", "*": "drop"})
    book.queue("demo-hang", [None])
    assert book.take("demo-hang") is None
    assert [fault.name for fault in (book.take("demo-hang"), book.take("gpt-4o")) if fault] == ["fail-500", "drop"]
    assert FaultBook().take("openai/demo-hang") == parse_fault("hang")


def test_a_name_that_is_no_fault_has_none() -> None:
    assert FaultBook().take("demo-chat") is None
    assert FaultBook().take("demo-fail-200") is None
    assert FaultBook().take("fail-503") is None
    with pytest.raises(PromptError):
        FaultBook({"m": "no-such"})


@pytest.mark.parametrize(
    ("fault", "kind"), [("slow-5", "slow"), ("slow-token-5", "slow-token"), ("error-mid-1", "error-mid")]
)
def test_names_that_begin_alike_are_told_apart(fault: str, kind: str) -> None:
    parsed = parse_fault(fault)
    assert parsed is not None
    assert parsed.kind == kind
