"""TLS on listeners: HTTP/1.1 over TLS 1.2 or newer, with certificates that are read again when their files change."""

from __future__ import annotations

import logging
import os
import ssl
import time
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from plano.config.certificates import CertificateError, load_certificates
from plano.config.plan import TlsPlan

log = logging.getLogger(__name__)

# How often the files are looked at. They are read when two looks have seen the same change: a certificate and its key
# are seldom written in one instant.
RENEWAL_LOOK_S = 1.0

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# For TLS 1.2: forward secrecy and authenticated encryption only (RFC 9325, 4.2). Those of TLS 1.3 are all of that kind.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

# For who speaks plain HTTP here, as nginx and Go answer it: a TLS alert would be noise to them.
_PLAIN_TEXT = b"This listener speaks HTTPS: begin the URL with https://\n"
_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_PLAIN_TEXT), _PLAIN_TEXT)
)

Fingerprint = tuple[tuple[int, int, int] | None, ...]
Handshakes = WeakKeyDictionary[ssl.SSLObject, float]


class Handshake(ssl.SSLObject):
    """One connection's TLS, which is among the handshakes of its context until its own is over, well or not.

    The event loop cuts a connection whose handshake raises, and the client would not learn why. So it is told that more
    data is needed: then it sends what there is to send, the alert, and waits for the client to leave, for as long as it
    would for any handshake.
    """

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    refused = False

    def do_handshake(self) -> None:
        if not self.refused:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                self._refuse(error)
            else:
                self._leave()
                return
        self.incoming.read()  # a client that goes on sending costs no memory
        raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the client is refused")

    def _refuse(self, error: ssl.SSLError) -> None:
        self.refused = True
        self._leave()
        log.debug("a handshake failed: %s", error.reason)
        if error.reason == "HTTP_REQUEST":
            self.outgoing.read()
            self.outgoing.write(_PLAIN_ANSWER)

    def _leave(self) -> None:
        context = self.context
        if isinstance(context, ServerContext):
            context.handshakes.pop(self, None)


class ServerContext(ssl.SSLContext):
    """What the files held when they were read."""

    sslobject_class = Handshake
    handshakes: Handshakes
    ends_unix_s: float


class RenewableContext(ssl.SSLContext):
    """What the event loop is given: every new connection gets the newest of the contexts."""

    newest: ServerContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        newest = self.newest
        wrapped = newest.wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(wrapped, Handshake)
        wrapped.incoming, wrapped.outgoing = incoming, outgoing
        newest.handshakes[wrapped] = time.monotonic()
        return wrapped


class Terminator:
    """The TLS of one listener. `context` is for the event loop; `refused` says that newer files could not be used.

    Raises CertificateError when the files cannot be used at the beginning; later the certificate that was good stays.
    """

    def __init__(self, listener: str, plan: TlsPlan) -> None:
        self._listener = listener
        self._plan = plan
        self._handshakes: Handshakes = WeakKeyDictionary()
        self._tried = self._seen = _take_fingerprint(plan)
        self.refused = False
        self.context = RenewableContext(ssl.PROTOCOL_TLS_SERVER)
        self._adopt(_make_context(plan, self._handshakes))

    @property
    def ends_unix_s(self) -> float:
        """When the certificate in use ends, as a Unix time."""
        return self.context.newest.ends_unix_s

    def is_shaking_hands(self, since_s: float) -> bool:
        """Is a handshake under way that began after `since_s`, in monotonic seconds?"""
        return any(began_s > since_s for began_s in list(self._handshakes.values()))

    def is_outdated(self) -> bool:
        """Have the files changed since they were read, and stood still since the last look?"""
        before = self._seen
        self._seen = _take_fingerprint(self._plan)
        return self._seen == before and self._seen != self._tried

    def renew(self) -> None:
        """Read the files again, for the connections to come. If they cannot be used the old certificate stays."""
        self._tried = self._seen
        try:
            newest = _make_context(self._plan, self._handshakes)
        except CertificateError as error:
            self.refused = True
            log.error("listener %s goes on with its old certificate: %s", self._listener, error)
            return
        self.refused = False
        ends = datetime.fromtimestamp(newest.ends_unix_s, UTC)
        log.info("listener %s has a new certificate, good until %s", self._listener, ends.isoformat())
        self._adopt(newest)

    def _adopt(self, newest: ServerContext) -> None:
        if newest.ends_unix_s <= time.time():
            log.warning("the certificate of listener %s has expired: clients will refuse it", self._listener)
        self.context.newest = newest


def _make_context(plan: TlsPlan, handshakes: Handshakes) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[plan.min_version]
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.handshakes = handshakes
    context.ends_unix_s = load_certificates(context, plan)
    return context


def _take_fingerprint(plan: TlsPlan) -> Fingerprint:
    """What changes when one of the files does, however it is replaced."""
    return tuple(_look_at(path) for path in (plan.cert_file, plan.key_file, plan.client_ca_file) if path is not None)


def _look_at(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None  # a file that has gone is a change, which `renew` explains
    return found.st_mtime_ns, found.st_ino, found.st_size
