"""Names to addresses: several per name, refreshed in the background, the last good answer kept when DNS fails."""

from __future__ import annotations

import asyncio
import ipaddress
import socket


class Resolver:
    """The addresses of one upstream host.

    `addresses()` starts with a different address on every call, so connections spread over all of them. An address
    that refused a connection comes last until the next refresh. Raises OSError from the first look-up only;
    later failures keep the last good answer and are counted in `refresh_failures`.
    """

    __slots__ = (
        "_addresses",
        "_demoted",
        "_expires_s",
        "_host",
        "_looking",
        "_port",
        "_refresh_s",
        "_turn",
        "refresh_failures",
    )

    def __init__(self, host: str, port: int, refresh_s: float) -> None:
        self._host = host
        self._port = port
        self._refresh_s = refresh_s
        self._addresses: list[str] = []
        self._demoted: list[str] = []  # those that failed, the latest last; never all of them
        self._expires_s = 0.0
        self._turn = 0
        self._looking: asyncio.Task[None] | None = None
        self.refresh_failures = 0
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        self._addresses = [host]
        self._expires_s = float("inf")

    async def addresses(self) -> list[str]:
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._expires_s:
            if self._looking is None:
                self._looking = asyncio.ensure_future(self._look_up())
                self._looking.add_done_callback(self._finish_look_up)
            if not self._addresses:
                # shield: a caller that gives up must not cancel the look-up others wait for
                await asyncio.shield(self._looking)
        self._turn += 1
        turn = self._turn % len(self._addresses)
        return self._addresses[turn:] + self._addresses[:turn] + self._demoted

    def demote(self, address: str) -> None:
        """A connection to this address failed: try it last until the next refresh."""
        if address not in self._addresses:
            return
        self._addresses.remove(address)
        self._demoted.append(address)
        if not self._addresses:  # none is better than the others
            self._addresses, self._demoted = self._demoted, []

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        if not addresses:
            raise OSError(f"no address for {self._host}")
        self._addresses, self._demoted = addresses, []
        self._expires_s = loop.time() + self._refresh_s

    def _finish_look_up(self, task: asyncio.Task[None]) -> None:
        self._looking = None
        if task.cancelled() or task.exception() is not None:
            self.refresh_failures += 1
            if self._addresses:  # go on with the last good answer, ask again soon
                self._expires_s = task.get_loop().time() + min(1.0, self._refresh_s)
