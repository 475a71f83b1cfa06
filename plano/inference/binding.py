"""Where a server listens, and whom it lets in."""

from __future__ import annotations

from collections.abc import Sequence

import zmq
from zmq.auth.asyncio import AsyncioAuthenticator

from plano.config.addresses import is_on_this_machine
from plano.config.keys import check_key
from plano.config.plan import CurvePlan
from plano.inference.sockets import (
    ZAP_DOMAIN,
    set_bounds,
    set_family,
    set_keepalive,
    set_server_keys,
)


class BindRefused(Exception):
    """An address that the server cannot or must not listen on. The message says what to do about it."""


class Admission:
    """What `zmq.auth` asks whether a key may come in (https://rfc.zeromq.org/spec/27/)."""

    def __init__(self, keys: set[bytes]) -> None:
        self._keys = keys

    def callback(self, domain: str, key: bytes) -> bool:
        return key in self._keys


def bind(
    socket: zmq.Socket[bytes],
    context: zmq.Context[zmq.Socket[bytes]],
    addresses: Sequence[str],
    curve: CurvePlan | None,
) -> tuple[tuple[str, ...], AsyncioAuthenticator | None]:
    """Let a ROUTER listen. Answers the real addresses, ports filled in, and who checks the keys of callers, if somebody
    does: to be stopped before the context ends. Raises BindRefused."""
    set_bounds(socket)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    # Options apply to what is bound after them: sockets in the file system need no keys.
    local = [address for address in addresses if not address.startswith("tcp://")]
    remote = [address for address in addresses if address.startswith("tcp://")]
    bound = {address: _bind_one(socket, address) for address in local}
    authenticator = None
    if remote:
        set_keepalive(socket)
        authenticator = _lock_up(socket, context, remote, curve)
    try:
        bound |= {address: _bind_one(socket, address) for address in remote}
    except BindRefused:
        if authenticator is not None:
            authenticator.stop()
        raise
    return tuple(bound[address] for address in addresses), authenticator


def _lock_up(
    socket: zmq.Socket[bytes],
    context: zmq.Context[zmq.Socket[bytes]],
    addresses: Sequence[str],
    curve: CurvePlan | None,
) -> AsyncioAuthenticator | None:
    if curve is None:
        for address in addresses:
            if not is_on_this_machine(address):
                raise BindRefused(
                    f"{address} can be reached from other machines, and there are no keys: make a pair with"
                    " `plano-cluster keys` and give it to both sides (inference.curve), or bind to 127.0.0.1"
                )
        return None
    try:
        admitted = {check_key(key).encode() for key in curve.client_public_keys}
        set_server_keys(socket, curve)
    except ValueError as error:
        raise BindRefused(f"{addresses[0]}: inference.curve: {error}") from error
    if not admitted:
        return None
    authenticator = AsyncioAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback(ZAP_DOMAIN.decode(), Admission(admitted))
    return authenticator


def _bind_one(socket: zmq.Socket[bytes], address: str) -> str:
    set_family(socket, address)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise BindRefused(f"cannot listen on {address}: {error.strerror}") from error
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.rstrip(b"\0").decode()
