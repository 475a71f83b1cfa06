"""TLS towards upstreams: one context per CA file, TLS 1.2 or newer, sessions reused between connections."""

from __future__ import annotations

import ssl
from typing import Any


class SessionReusingContext(ssl.SSLContext):
    """A client context that offers the last session of a host when it connects there again.

    The event loop makes its SSL objects through `wrap_bio` and has no parameter for a session, hence the override.
    """

    _sessions: dict[str, ssl.SSLSession]

    def __new__(cls, protocol: int = ssl.PROTOCOL_TLS_CLIENT) -> SessionReusingContext:
        self = super().__new__(cls, protocol)
        self._sessions = {}
        return self

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if session is None and isinstance(server_hostname, str):
            session = self._sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, host: str, ssl_object: Any) -> None:
        """Keep the session of a connection that has served an answer (TLS 1.3 tickets come after the handshake)."""
        session = ssl_object.session
        if session is not None:
            self._sessions[host] = session


def client_context(ca_path: str | None) -> SessionReusingContext:
    """A verifying context: certificate and host name are checked, against `ca_path` (PEM) or the system's authorities.

    Raises OSError when `ca_path` cannot be read, ssl.SSLError when it is not PEM.
    """
    context = SessionReusingContext()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_path is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca_path)
    return context
