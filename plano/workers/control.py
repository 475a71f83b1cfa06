"""A child's end of the control pipe."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable

from plano.workers.frames import FrameError, Message, PipeProtocol, encode_message

log = logging.getLogger(__name__)

EXIT_ORPHANED = 70  # EX_SOFTWARE of sysexits.h


class Control:
    """What the supervisor tells this process, and what this process tells the supervisor.

    `draining` is set when the supervisor wants the process to finish: the role stops taking work, completes what it
    has within `drain_deadline_s` seconds from that moment and returns. Pings are answered here. When the supervisor is
    gone the process ends at once. `proven`: a predecessor of this process was ready.
    """

    def __init__(self, *, proven: bool = False) -> None:
        self.proven = proven
        self.draining = asyncio.Event()
        self.drain_deadline_s = 0.0
        self._handlers: dict[str, Callable[[Message], None]] = {}
        self._last: dict[str, Message] = {}
        self._protocol = PipeProtocol(self._receive, self._end_orphaned)

    @classmethod
    async def connect(cls, pipe: socket.socket, *, proven: bool = False) -> Control:
        """Takes over this process' end of the socket pair, after the boot frame was read from it."""
        control = cls(proven=proven)
        pipe.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: control._protocol, sock=pipe)
        return control

    async def ready(self, **info: object) -> None:
        """Says that the role takes work now. `info` (msgpack values) is shown by `plano-cluster status`."""
        self._protocol.send(encode_message({"type": "ready", "info": info}))

    def tell(self, **info: object) -> None:
        """What `plano-cluster status` shows of this process from now on: before it is ready, how far it is."""
        self._protocol.send(encode_message({"type": "info", "info": info}))

    async def refuse(self, message: str) -> None:
        """Says why this process cannot do its work, and will not be able to if it is merely started again. The role
        then ends. Where it was never ready the start of the cluster ends with this message."""
        self._protocol.send(encode_message({"type": "refused", "message": message}))
        await self._protocol.flush()

    def on(self, kind: str, handler: Callable[[Message], None]) -> None:
        """Calls `handler` with each message of this type; at once with the last one if some came already."""
        self._handlers[kind] = handler
        if kind in self._last:
            handler(self._last.pop(kind))

    def _receive(self, message: Message) -> None:
        kind = message["type"]
        if kind == "ping":
            self._protocol.send(encode_message({"type": "pong", "sent": message.get("sent")}))
        elif kind == "drain":
            self.drain_deadline_s = float(message["deadline_s"])
            self.draining.set()
        elif kind in self._handlers:
            self._handlers[kind](message)
        else:
            self._last[kind] = message

    def _end_orphaned(self, failure: FrameError | None) -> None:
        log.error("the supervisor is gone%s: ending", f" ({failure})" if failure else "")
        # Not sys.exit: nothing that the role holds open may delay this.
        os._exit(EXIT_ORPHANED)
