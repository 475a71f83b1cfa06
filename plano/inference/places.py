"""Where the replicas are: an address of the configuration stands for one socket, or, by its name, for several."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from plano.config.addresses import check_address, is_ip_address, split_tcp


def split_addresses(addresses: Iterable[str]) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """The addresses that can be connected to as they are, and the (name, port) of those that have to be looked up.
    Raises ValueError for what is neither `ipc://` nor `tcp://host:port`."""
    literal: list[str] = []
    names: list[tuple[str, int]] = []
    for address in dict.fromkeys(addresses):
        try:
            check_address(address)
        except ValueError as error:
            raise ValueError(f"{address!r} is no address of an inference process: it {error}") from error
        if address.startswith("ipc://"):
            literal.append(address)
            continue
        host, port = split_tcp(address)
        if is_ip_address(host):
            literal.append(address)
        else:
            names.append((host, int(port)))
    return tuple(literal), tuple(names)


async def look_up(name: str, port: int) -> tuple[str, ...]:
    """Every address that a name has now (a headless Service has one per pod). Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{name!r} is no name of a host: {error}") from error
    hosts = dict.fromkeys((family, str(place[0])) for family, _, _, _, place in found)
    return tuple(
        f"tcp://[{host}]:{port}" if family == socket.AF_INET6 else f"tcp://{host}:{port}" for family, host in hosts
    )
