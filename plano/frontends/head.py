"""The head of an answer that comes from an upstream, and the framing of its body."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from plano.dialects.conversation import Dropped
from plano.frontends.http1 import STATUS_LINES
from plano.frontends.request import Request
from plano.upstreams.connection import UpstreamConnection

# The size lines of most chunks, ready made: formatting one costs more than all else that is done to a chunk.
_SIZE_LINES: Final = [b"%x\r\n" % size for size in range(2_048)]


def choose_framing(request: Request, length: int) -> tuple[bytes, bool]:
    """How the client learns where the answer ends: (header line, whether to write chunks). `length` is -1 when it is
    not known. A client of HTTP/1.0 gets it by the end of the connection."""
    if length >= 0:
        return b"content-length: %d\r\n" % length, False
    if request.chunked_ok:
        return b"transfer-encoding: chunked\r\n", True
    request.keep_alive = False
    request.connection_line = b""
    return b"connection: close\r\n", False


def frame_chunk(data: bytes) -> bytes:
    """`data` as a chunk of a chunked body (RFC 9112, 7.1). Not for b"", which would end the body."""
    size = len(data)
    return b"%b%b\r\n" % (_SIZE_LINES[size] if size < len(_SIZE_LINES) else b"%x\r\n" % size, data)


def render_head(
    connection: UpstreamConnection,
    content_type: bytes,
    origin: bytes,
    request_id: bytes,
    framing: bytes,
    coding: bytes,
    dropped: Dropped,
    connection_line: bytes,
) -> bytes:
    """Status line and headers. `origin` are the lines that say who answered, `coding` is the content coding that is
    passed on, empty for none."""
    lines = b"".join(connection.lines)
    if coding:
        lines += b"content-encoding: %b\r\n" % coding
    if dropped.names:
        lines += b"x-plano-dropped: %b\r\n" % dropped.header()
    return b"%bcontent-type: %b\r\n%bx-request-id: %b\r\n%b%b%b\r\n" % (
        STATUS_LINES[connection.status],
        content_type,
        origin,
        request_id,
        lines,
        framing,
        connection_line,
    )


def render_notes(routes: tuple[str, ...], degraded: tuple[str, ...]) -> bytes:
    """The header lines that say what was decided and who had no opinion. Names of routes are people's words: what a
    header cannot hold is percent-encoded (RFC 3986)."""
    lines = b""
    if routes:
        names = ", ".join(quote(name, safe=" !#$&'()*+/:;=?@[]~") for name in routes)
        lines += b"x-plano-route: %b\r\n" % names.encode("ascii")
    if degraded:
        lines += b"x-plano-degraded: %b\r\n" % ", ".join(degraded).encode("ascii")
    return lines
