"""Names to addresses. DNS is answered by the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from plano.upstreams.resolver import Resolver
from tests.upstreams.origin import wait_for

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


class Dns:
    """Answers `loop.getaddrinfo` of the running loop, from now on."""

    def __init__(self, *answer: str) -> None:
        self.answer: tuple[str, ...] | Exception = answer
        self.asked: list[tuple[str, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        asyncio.get_running_loop().getaddrinfo = self._answer  # type: ignore[method-assign,assignment]

    async def _answer(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append((host, port))
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.answer]


@pytest.fixture
async def dns() -> Callable[..., Dns]:
    return Dns


async def test_connections_spread_over_all_addresses(dns: Callable[..., Dns]) -> None:
    dns(A, B, C)
    resolver = Resolver("api.test", 443, refresh_s=60.0)
    answers = [await resolver.addresses() for _ in range(6)]
    assert [sorted(answer) for answer in answers] == [[A, B, C]] * 6
    assert sorted(answer[0] for answer in answers) == [A, A, B, B, C, C]


async def test_an_address_that_dns_repeats_is_one_address(dns: Callable[..., Dns]) -> None:
    dns(A, A, B, A)
    assert sorted(await Resolver("api.test", 443, 60.0).addresses()) == [A, B]


async def test_one_look_up_serves_all_who_wait_for_it(dns: Callable[..., Dns]) -> None:
    answers = dns(A, B)
    answers.gate.clear()
    resolver = Resolver("api.test", 8443, 60.0)
    waiting = [asyncio.create_task(resolver.addresses()) for _ in range(5)]
    await wait_for(lambda: answers.asked)
    answers.gate.set()
    assert all(sorted(found) == [A, B] for found in await asyncio.gather(*waiting))
    assert answers.asked == [("api.test", 8443)]


async def test_one_who_gives_up_leaves_the_look_up_to_the_others(dns: Callable[..., Dns]) -> None:
    answers = dns(A)
    answers.gate.clear()
    resolver = Resolver("api.test", 443, 60.0)
    impatient, patient = (asyncio.create_task(resolver.addresses()) for _ in range(2))
    await wait_for(lambda: answers.asked)
    impatient.cancel()
    await asyncio.wait([impatient])
    answers.gate.set()
    assert await patient == [A]
    assert len(answers.asked) == 1


async def test_a_refresh_holds_nobody_up(dns: Callable[..., Dns]) -> None:
    answers = dns(A)
    resolver = Resolver("api.test", 443, refresh_s=0.0)
    assert await resolver.addresses() == [A]
    answers.answer = (B,)
    answers.gate.clear()
    assert await resolver.addresses() == [A], "the old answer serves while the new one is looked up"
    answers.gate.set()
    await wait_for(lambda: len(answers.asked) == 2)
    assert [B] in [await resolver.addresses() for _ in range(3)]


async def test_an_answer_is_used_until_it_is_due(dns: Callable[..., Dns]) -> None:
    answers = dns(A)
    resolver = Resolver("api.test", 443, refresh_s=60.0)
    for _ in range(10):
        await resolver.addresses()
    assert len(answers.asked) == 1


async def test_the_last_good_answer_outlives_dns(dns: Callable[..., Dns]) -> None:
    answers = dns(A, B)
    resolver = Resolver("api.test", 443, refresh_s=0.0)
    await resolver.addresses()
    for failure in (socket.gaierror(socket.EAI_AGAIN, "try again"), ()):
        answers.answer = failure
        before = resolver.refresh_failures
        assert sorted(await resolver.addresses()) == [A, B]
        await wait_for(lambda: resolver.refresh_failures == before + 1)  # noqa: B023
    assert sorted(await resolver.addresses()) == [A, B]


async def test_a_first_look_up_that_fails_is_told_and_tried_again(dns: Callable[..., Dns]) -> None:
    answers = dns()
    answers.answer = socket.gaierror(socket.EAI_NONAME, "unknown")
    resolver = Resolver("api.test", 443, 60.0)
    for _ in range(2):
        with pytest.raises(OSError, match="unknown"):
            await resolver.addresses()
    answers.answer = ()
    with pytest.raises(OSError, match=r"no address for api\.test"):
        await resolver.addresses()
    answers.answer = (A,)
    assert await resolver.addresses() == [A]
    assert (len(answers.asked), resolver.refresh_failures) == (4, 3)


async def test_an_address_that_failed_comes_last_until_the_next_refresh(dns: Callable[..., Dns]) -> None:
    answers = dns(A, B, C)
    resolver = Resolver("api.test", 443, refresh_s=60.0)
    await resolver.addresses()
    resolver.demote(B)
    found = [await resolver.addresses() for _ in range(6)]
    assert {answer[-1] for answer in found} == {B}
    assert sorted(answer[0] for answer in found) == [A, A, A, C, C, C]
    resolver.demote(A)
    assert {tuple(await resolver.addresses()) for _ in range(4)} == {(C, B, A)}

    resolver = Resolver("api.test", 443, refresh_s=0.0)
    await resolver.addresses()
    resolver.demote(B)
    asked = len(answers.asked)
    await resolver.addresses()
    await wait_for(lambda: len(answers.asked) > asked)
    await asyncio.sleep(0)
    assert B in {(await resolver.addresses())[0] for _ in range(3)}


async def test_when_all_have_failed_all_are_as_good_again(dns: Callable[..., Dns]) -> None:
    dns(A, B)
    resolver = Resolver("api.test", 443, 60.0)
    await resolver.addresses()
    for address in (A, B, "203.0.113.9"):
        resolver.demote(address)
    assert {(await resolver.addresses())[0] for _ in range(2)} == {A, B}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "2001:db8::7"])
async def test_an_address_needs_no_look_up(dns: Callable[..., Dns], address: str) -> None:
    answers = dns()
    resolver = Resolver(address, 443, refresh_s=0.0)
    resolver.demote(address)
    assert [await resolver.addresses() for _ in range(3)] == [[address]] * 3
    assert answers.asked == []
