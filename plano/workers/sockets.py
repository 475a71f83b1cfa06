"""The listening sockets of the cluster: made by the supervisor, handed down to the children.

Every frontend has its own SO_REUSEPORT socket for each listener, so that the kernel spreads connections. The supervisor
keeps them all open: a frontend that dies leaves its accept queue behind, and its successor goes on with it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from plano.config.plan import ListenerPlan
from plano.workers.failures import StartError

BACKLOG = 4096  # the kernel caps it at net.core.somaxconn


@dataclass(frozen=True, slots=True)
class Address:
    """A resolved socket address. Port 0 lets the kernel choose."""

    family: socket.AddressFamily
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.family is socket.AF_INET6 else f"{self.host}:{self.port}"

    def url(self, scheme: str = "http") -> str:
        """Where a client on this machine reaches it: a wildcard address is spelled as loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - a comparison
        return f"{scheme}://{Address(self.family, host, self.port)}"


@dataclass(slots=True)
class BoundListener:
    """One listener's sockets, one per frontend, all on the same address."""

    plan: ListenerPlan
    address: Address
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where a client on this machine reaches it."""
        return self.address.url("https" if self.plan.tls is not None else "http")


def bind_listeners(listeners: Iterable[ListenerPlan], frontends: int) -> list[BoundListener]:
    """Binds and listens for every listener and frontend.

    Raises StartError naming the listener and port; then nothing stays open.
    """
    bound: list[BoundListener] = []
    try:
        for plan in listeners:
            bound.append(_bind_listener(plan, frontends))  # noqa: PERF401 - those bound so far are closed on failure
    except StartError:
        close_listeners(bound)
        raise
    return bound


def close_listeners(listeners: Iterable[BoundListener]) -> None:
    """Closes this process' copies. What the children inherited stays open in them."""
    for listener in listeners:
        for sock in listener.sockets:
            sock.close()
        listener.sockets.clear()


def bind_admin(host: str, port: int) -> tuple[socket.socket, Address]:
    """The admin port's listening socket, and its address. Raises StartError."""
    what, advice = "the admin port", "choose another with --admin HOST:PORT"
    address = _resolve(host, port, what)
    sock = _listen(address, what, advice, reuse_port=False)
    return sock, _actual_address(sock, address)


def _bind_listener(plan: ListenerPlan, frontends: int) -> BoundListener:
    what, advice = f"listener {plan.name!r}", "change its port in the config"
    wanted = _resolve(plan.address, plan.port, what)
    # SO_REUSEPORT would let us share the port with another cluster of the same user without a word: ask plainly first.
    probe = _listen(wanted, what, advice, reuse_port=False, backlog=None)
    probe.close()
    listener = BoundListener(plan, wanted)
    try:
        for _ in range(frontends):
            sock = _listen(listener.address, what, advice, reuse_port=True)
            listener.sockets.append(sock)
            listener.address = _actual_address(sock, wanted)
    except StartError:
        close_listeners([listener])
        raise
    return listener


def _resolve(host: str, port: int, what: str) -> Address:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StartError(f"{what}: the address {host!r} cannot be resolved ({error})") from error
    family, _, _, _, sockaddr = found[0]
    return Address(family, str(sockaddr[0]), port)


def _actual_address(sock: socket.socket, wanted: Address) -> Address:
    return Address(wanted.family, wanted.host, sock.getsockname()[1])


def _listen(
    address: Address, what: str, advice: str, *, reuse_port: bool, backlog: int | None = BACKLOG
) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.family is socket.AF_INET6:
            # So that 0.0.0.0 and :: may both be listeners on one port, as in nginx.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted connections inherit it: no system call per connection.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((address.host, address.port))
        if backlog is not None:
            sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise StartError(_explain(error, address, what, advice)) from error
    return sock


def _explain(error: OSError, address: Address, what: str, advice: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{what}: {address} is in use by another process; stop that one, or {advice}"
    if error.errno == errno.EACCES:
        return (
            f"{what}: not allowed to listen on {address}; ports below 1024 need the capability CAP_NET_BIND_SERVICE: "
            f"grant it, or {advice}"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{what}: {address.host} is not an address of this machine; use 0.0.0.0 for all, or 127.0.0.1"
    return f"{what}: cannot listen on {address}: {error.strerror or error}"
