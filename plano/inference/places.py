"""Where the replicas are: an address of the configuration stands for one socket, or, by its name, for several."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit


def split_addresses(addresses: Iterable[str]) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """The addresses that can be connected to as they are, and the (name, port) of those that have to be looked up.
    Raises ValueError for what is neither `ipc://` nor `tcp://host:port`."""
    literal: list[str] = []
    names: list[tuple[str, int]] = []
    for address in dict.fromkeys(addresses):
        if address.startswith(("ipc://", "inproc://")):
            literal.append(address)
            continue
        parts = urlsplit(address)
        if parts.scheme != "tcp" or not parts.hostname or not parts.port:
            raise ValueError(f"{address!r} is no address of an inference process: ipc://PATH or tcp://HOST:PORT")
        try:
            ipaddress.ip_address(parts.hostname)
            literal.append(address)
        except ValueError:
            names.append((parts.hostname, parts.port))
    return tuple(literal), tuple(names)


async def look_up(name: str, port: int) -> tuple[str, ...]:
    """Every address that a name has now (a headless Service has one per pod). Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    hosts = dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found)
    return tuple(
        f"tcp://[{host}]:{port}" if family == socket.AF_INET6 else f"tcp://{host}:{port}" for family, host in hosts
    )
