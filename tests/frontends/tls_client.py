"""A raw client over TLS, and the certificate files of the listener it talks to."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path

import trustme

from plano.config.plan import TlsPlan
from tests.frontends.client import TIMEOUT_S, Client

NAME = "gateway.test"


class CertificateFiles:
    """The files of a listener, as an operator keeps them: replaced one by one, each in one step."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.authority = authority
        self.chain, self.key, self.ca = folder / "chain.pem", folder / "key.pem", folder / "ca.pem"
        self.write(self.ca, authority.cert_pem.bytes())
        self.renew()

    def renew(self, *names: str) -> bytes:
        """New files; answers the certificate in DER form."""
        issued = self.authority.issue_cert(*(names or (NAME, "127.0.0.1")))
        self.write(self.chain, b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.write(self.key, issued.private_key_pem.bytes())
        return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())

    @staticmethod
    def write(path: Path, content: bytes) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        os.replace(fresh, path)

    def plan(self, **changes: str) -> TlsPlan:
        return TlsPlan(**{"cert_file": str(self.chain), "key_file": str(self.key), **changes})

    def trusting(self) -> ssl.SSLContext:
        """What a client uses that trusts the authority."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context


class TlsClient(Client):
    """One connection over TLS. `closed_properly`: the gateway has said that it closes."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=NAME)
        self.closed_properly = False

    @classmethod
    async def open(
        cls, port: int, context: ssl.SSLContext, *, handshake: bool = True, receive_buffer_bytes: int | None = None
    ) -> TlsClient:
        """A connection, with its handshake done unless `handshake` is left to the caller."""
        plain = await Client.connect(port, receive_buffer_bytes=receive_buffer_bytes)
        client = cls(plain._socket, context)
        if handshake:
            await client.shake_hands()
        return client

    async def begin_handshake(self) -> None:
        """Say hello, and leave it at that."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            await self._flush()

    async def shake_hands(self) -> None:
        """Raises ssl.SSLError when one side refuses the other."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                await self._flush()
                return

    async def send(self, data: bytes) -> None:
        self.tls.write(data)
        await self._flush()

    async def recv(self, limit: int = 1 << 20) -> bytes:
        while True:
            try:
                data = self.tls.read(limit)
            except ssl.SSLWantReadError:
                await self._fill()
            except ssl.SSLZeroReturnError:
                self.closed_properly = True
                return b""
            except ssl.SSLEOFError:
                return b""
            else:
                self.closed_properly = not data
                return data

    async def say_goodbye(self) -> None:
        """Send a close_notify and leave the connection open."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            await self._flush()

    async def wait_cut(self) -> None:
        """Return when the TCP connection has ended, whatever comes before."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                while await asyncio.get_running_loop().sock_recv(self._socket, 65_536):
                    pass
            except ConnectionResetError:
                pass

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await super().send(self._outgoing.read())

    async def _fill(self) -> None:
        data = await super().recv(65_536)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
