"""What the provider remembers of the requests it received."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from plano.demo.journal import Entry, Journal
from plano.demo.provider import DemoProvider
from tests.demo.wire import chat_body, exchange


async def read(provider: DemoProvider, path: str, method: str = "GET") -> Any:
    return (await exchange(provider.url, path=f"/_demo/{path}", method=method)).json


async def wait_until_idle(provider: DemoProvider) -> None:
    async with asyncio.timeout(5):
        while provider.journal.in_flight:
            await asyncio.sleep(0.005)


async def test_a_request_is_kept_as_it_came(provider: DemoProvider) -> None:
    body = chat_body("gpt-4o", metadata={"a": "b"})
    await exchange(provider.url, body, headers={"X-Trace": "one", "x-trace": "two", "Authorization": "Bearer k"})
    (entry,) = await read(provider, "requests")
    assert (entry["method"], entry["path"], entry["model"]) == ("POST", "/v1/chat/completions", "gpt-4o")
    assert entry["body"] == body
    assert (entry["headers"]["authorization"], entry["headers"]["x-trace"]) == ("Bearer k", "one, two")
    assert (entry["status"], entry["completed"], entry["disconnected"]) == (200, True, False)


async def test_errors_and_bodies_that_are_no_json_are_kept_too(provider: DemoProvider) -> None:
    await exchange(provider.url, b"{oops")
    await exchange(provider.url, chat_body("demo-fail-503"))
    broken, failed = await read(provider, "requests")
    assert (broken["status"], broken["body"]) == (400, "{oops")
    assert (failed["status"], failed["fault"]) == (503, "fail-503")


@pytest.mark.parametrize(("model", "chunks"), [("demo-hang", 0), ("demo-stall-3", 3)])
async def test_a_client_that_leaves_is_noticed_at_once(provider: DemoProvider, model: str, chunks: int) -> None:
    await exchange(provider.url, chat_body(model, True), silence_s=0.1)
    await wait_until_idle(provider)
    (entry,) = await read(provider, "requests")
    assert entry["disconnected"]
    assert not entry["completed"]
    assert entry["chunks"] == chunks
    assert 50 <= entry["disconnected_after_ms"] < 5000
    assert (await read(provider, "stats"))["disconnects"] == 1


@pytest.mark.parametrize("model", ["demo-drop", "demo-cut-1", "demo-reset-1"])
async def test_a_connection_we_ended_is_not_a_client_that_left(provider: DemoProvider, model: str) -> None:
    await exchange(provider.url, chat_body(model, True))
    await wait_until_idle(provider)
    (entry,) = await read(provider, "requests")
    assert not entry["disconnected"]
    assert not entry["completed"]


async def test_totals_count_requests_connections_and_what_is_in_flight(provider: DemoProvider) -> None:
    async with aiohttp.ClientSession(provider.url) as session:
        for _ in range(3):
            async with session.post("/v1/chat/completions", json=chat_body("gpt-4o")) as answer:
                await answer.read()
        stats = await read(provider, "stats")
        assert (stats["requests"], stats["completed"], stats["connections_opened"]) == (3, 3, 1)
        async with session.post("/v1/chat/completions", json=chat_body("demo-stall-1", True)):
            assert (await read(provider, "stats"))["in_flight"] == 1
    await exchange(provider.url, chat_body("demo-fail-503"))
    await wait_until_idle(provider)
    stats = await read(provider, "stats")
    assert (stats["connections_opened"], stats["max_in_flight"]) == (2, 1)
    assert stats["statuses"] == {"200": 4, "503": 1}
    assert stats["faults"] == {"fail-503": 1, "stall-1": 1}


async def test_connections_are_numbered_in_the_journal(provider: DemoProvider) -> None:
    for _ in range(2):
        await exchange(provider.url, chat_body("gpt-4o"))
    assert [entry["connection"] for entry in await read(provider, "requests")] == [1, 2]


async def test_deleting_requests_keeps_totals(provider: DemoProvider) -> None:
    await exchange(provider.url, chat_body("gpt-4o"))
    assert await read(provider, "requests", "DELETE") == []
    assert await read(provider, "requests") == []
    assert (await read(provider, "stats"))["requests"] == 1


def make_entry() -> Entry:
    return Entry("POST", "/v1/chat/completions", {}, 1)


def test_a_journal_is_bounded_in_entries_and_bytes() -> None:
    journal = Journal(max_entries=3, max_body_bytes=10)
    for size in (4, 4, 4, 1, 1):
        entry = make_entry()
        journal.open(entry)
        journal.keep_body(entry, b"x" * size)
    assert [described["body_bytes"] for described in journal.describe_requests()] == [4, 1, 1]


def test_a_body_that_comes_after_its_entry_was_forgotten_is_not_kept() -> None:
    journal = Journal(max_body_bytes=10)
    entry = make_entry()
    journal.open(entry)
    journal.clear()
    journal.keep_body(entry, b"x" * 9)
    later = make_entry()
    journal.open(later)
    journal.keep_body(later, b"y" * 9)
    assert [described["body"] for described in journal.describe_requests()] == ["y" * 9]


async def test_an_unknown_control_path_is_not_found(provider: DemoProvider) -> None:
    assert (await exchange(provider.url, path="/_demo/nothing", method="GET")).status == 404
