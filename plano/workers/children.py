"""One child process as the supervisor sees it: from spawn to exit status."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from plano.workers.boot import ChildBoot
from plano.workers.frames import FrameError, Message, PipeProtocol, encode_boot, encode_message

log = logging.getLogger(__name__)

_TAIL_LINES = 40
_READ_BYTES = 64 * 1024
_OUTPUT_GRACE_S = 0.5


class Child:
    """A running child. Made by `spawn`; `exited` ends when the process has, and its output is read to the end.

    `last_heard` and `spawned` are monotonic seconds; `info` is what the child last said of itself; `refusal` why it
    cannot work, or ""; `unread_output_bytes` is what it wrote when our own stderr was closed. `on_word` is called when
    the child has become ready or `info` has changed.
    """

    def __init__(self, name: str, process: Process, on_word: Callable[[], None]) -> None:
        self.name = name
        self.pid = process.pid
        self.spawned = time.monotonic()
        self.spawned_unix_s = time.time()
        self.last_heard = self.spawned
        self.is_ready = False
        self.info: dict[str, Any] = {}
        self.refusal = ""
        self.unread_output_bytes = 0
        self._process = process
        self._on_word = on_word
        self._pipe = PipeProtocol(self._receive, self._pipe_closed)
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.exited: asyncio.Task[int] = asyncio.create_task(self._wait(), name=f"{name}: exit")

    @classmethod
    async def spawn(cls, boot: ChildBoot, inherited: Sequence[int], on_word: Callable[[], None]) -> Child:
        """Starts the process with its own end of the control pipe and the file descriptors it inherits.

        Never a fork: a fresh interpreter has none of the supervisor's memory, loop or locks. `-P` keeps the current
        folder, which is the user's, out of the child's import path. Raises OSError when no process can be made.
        """
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "plano.workers.child",
                "--control",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=PIPE,
                stderr=STDOUT,
                pass_fds=(theirs.fileno(), *inherited),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = cls(boot.name, process, on_word)
        ours.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: child._pipe, sock=ours)
        child._pipe.send(encode_boot(boot))
        return child

    @property
    def lifetime_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.spawned

    @property
    def output_tail(self) -> str:
        """The last lines the child wrote."""
        return "\n".join(self._tail)

    def send(self, message: Message) -> None:
        """Sends a message down the pipe; dropped when the child is gone."""
        self._pipe.send(encode_message(message))

    def ping(self) -> None:
        """Asks for a sign of life; any message from the child is one."""
        self.send({"type": "ping", "sent": time.monotonic()})

    def kill(self) -> None:
        """SIGKILL, which works on a stuck process too."""
        if self._process.returncode is None:
            self._process.kill()

    async def exits_within(self, seconds: float) -> bool:
        """Whether the process ends within this time."""
        done, _ = await asyncio.wait([self.exited], timeout=seconds)
        return bool(done)

    def _receive(self, message: Message) -> None:
        self.last_heard = time.monotonic()
        if message["type"] in ("ready", "info"):
            self.is_ready = self.is_ready or message["type"] == "ready"
            self.info = message.get("info") or {}
            self._on_word()
        elif message["type"] == "refused":
            self.refusal = str(message["message"])

    def _pipe_closed(self, failure: FrameError | None) -> None:
        if failure is not None:
            log.error("%s (pid %d) broke the control pipe (%s): killing it", self.name, self.pid, failure)
            self.kill()

    async def _wait(self) -> int:
        output = asyncio.create_task(self._forward_output(), name=f"{self.name}: output")
        status = await self._process.wait()
        # A grandchild may hold the output open for ever; what the child itself wrote is there already.
        _, unfinished = await asyncio.wait([output], timeout=_OUTPUT_GRACE_S)
        for task in unfinished:
            task.cancel()
        self._pipe.close()
        return status

    async def _forward_output(self) -> None:
        """Copies what the child writes to our stderr, in whole lines so that children do not mix within one."""
        assert self._process.stdout is not None
        pending = b""
        while piece := await self._process.stdout.read(_READ_BYTES):
            whole, newline, pending = (pending + piece).rpartition(b"\n")
            self._emit(whole + newline)
            if len(pending) > _READ_BYTES:
                self._emit(pending)
                pending = b""
        self._emit(pending)

    def _emit(self, output: bytes) -> None:
        if not output:
            return
        text = output.decode("utf-8", "replace")
        self._tail.extend(text.splitlines())
        try:
            sys.stderr.write(text if text.endswith("\n") else text + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            # Whoever read our stderr is gone, so there is nobody to tell. Reading must go on all the same: a child that
            # writes into a full pipe stands still.
            self.unread_output_bytes += len(output)


def describe_exit(status: int) -> str:
    """ "exit status 1", or "killed by SIGKILL"."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
