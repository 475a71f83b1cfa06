"""Addresses of inference processes: `ipc://PATH` or `tcp://HOST:PORT`, as everybody reads them."""

from __future__ import annotations

import ipaddress
from typing import Final

_TCP: Final = "tcp://"
_IPC: Final = "ipc://"
_NOT_IN_A_HOST: Final = frozenset("/@?#[]*%,")
_MAX_NAME_BYTES: Final = 253  # RFC 1035, 2.3.4, without the length bytes


def check_address(value: str) -> str:
    """An address to connect to, as it was given. Raises ValueError for anything else, a host that no name service can
    be asked for included."""
    if not _is_socket_path(value):
        host, port = split_tcp(value)
        _check_port(port, least=1)
        _check_host(host)
    return value


def check_bind_address(value: str) -> str:
    """An address to listen on, as it was given: port 0 stands for a free one, host `*` for everywhere. Raises
    ValueError."""
    if not _is_socket_path(value):
        host, port = split_tcp(value)
        _check_port(port, least=0)
        if host != "*":
            _check_host(host)
    return value


def split_tcp(address: str) -> tuple[str, str]:
    """Host, without the brackets of an IPv6 address, and port of `tcp://HOST:PORT`, neither of them checked. Raises
    ValueError when it does not look like that."""
    host, colon, port = address.removeprefix(_TCP).rpartition(":")
    if not (address.startswith(_TCP) and colon and host and port):
        raise ValueError("must name a host and a port, as in tcp://inference:5570")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], port
    if ":" in host:
        raise ValueError("must have brackets around an IPv6 address, as in tcp://[::1]:5570")
    return host, port


def is_on_this_machine(address: str) -> bool:
    """Whether what goes to an address, or comes to it, stays on this machine, as far as the address tells."""
    if address.startswith(_IPC):
        return True
    try:
        host, _ = split_tcp(address)
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_socket_path(value: str) -> bool:
    """Raises ValueError for what is neither a path nor TCP."""
    if not value.startswith((_TCP, _IPC)) or value == _IPC or any(c.isspace() for c in value):
        raise ValueError("must start with tcp:// or ipc://")
    return value.startswith(_IPC)


def _check_port(port: str, least: int) -> None:
    if not (port.isascii() and port.isdigit() and least <= int(port[:6]) <= 65535):
        raise ValueError(f"must name a host and a port from {least} to 65535, as in tcp://inference:5570")


def _check_host(host: str) -> None:
    if is_ip_address(host):
        return
    try:
        name = host.encode("idna")
    except UnicodeError as error:  # an empty label, one of more than 63 characters, or what IDNA has no form for
        raise ValueError("must name a host whose parts have 1 to 63 characters each") from error
    if ":" in host or len(name) > _MAX_NAME_BYTES or _NOT_IN_A_HOST & set(host):
        raise ValueError("must name a host and a port, as in tcp://inference:5570")
