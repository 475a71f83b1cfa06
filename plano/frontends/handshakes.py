"""How a listening socket is closed without losing a connection.

Closing one resets what waits in its accept queue, and a handshake may end between the last `accept` and the `close`:
that client is connected, sends its request and is reset. (`listen(0)` makes it worse: the kernel then ignores the end
of handshakes whose client believes to be connected.) So the kernel is told first to begin no new ones.
"""

from __future__ import annotations

import ctypes
import logging
import socket
import struct
import sys

log = logging.getLogger(__name__)

# How long handshakes that have begun may take to end: a round trip between continents.
HANDSHAKE_S = 0.25

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Classic BPF (linux/filter.h: code, jump if true, jump if false, operand) over the TCP header, whose byte 13 holds the
# flags: a SYN without ACK, the first packet of a handshake, is dropped; everything else passes.
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load byte 13
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # yes: drop
    (0x06, 0, 0, 0xFFFFFFFF),  # no: take it whole
)


def refuse_handshakes(sock: socket.socket) -> bool:
    """Let no new connection begin on a listening socket, in whatever process holds it; those that have begun end well.

    A client that connects now sends its SYN again after a second and is refused then, as the socket has been closed.
    False where the system cannot do this (not Linux, or forbidden).
    """
    if sys.platform != "linux":
        return False
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN))
    try:
        sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
        )
    except OSError as error:
        log.warning("connections made in the instant of closing may be reset: no socket filter (%s)", error)
        return False
    return True
