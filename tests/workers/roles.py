"""Small roles that children of the tests' clusters run in place of a frontend."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time

from plano.workers.boot import FrontendBoot
from plano.workers.control import Control


async def answer_pid(boot: FrontendBoot, control: Control) -> None:
    """HTTP: /pid answers with the process id, /slow takes 0.4 s between head and body, /stuck blocks for ever."""
    open_requests: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_requests.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1]
            if path == b"/stuck":
                while True:
                    time.sleep(1)
            body = str(os.getpid()).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
            if path == b"/slow":
                await asyncio.sleep(0.4)
            writer.write(body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            open_requests.discard(task)

    servers = [
        await asyncio.start_server(handle, sock=socket.socket(fileno=number)) for number in boot.sockets.values()
    ]
    await control.ready(listeners=sorted(boot.sockets))
    await control.draining.wait()
    for server in servers:
        server.close()
    if open_requests:
        await asyncio.wait(open_requests, timeout=control.drain_deadline_s)


async def die_at_start(boot: FrontendBoot, control: Control) -> None:
    """Fails before it is ready, and says why."""
    raise RuntimeError("the moon is in the wrong phase")


async def never_finish(boot: FrontendBoot, control: Control) -> None:
    """Is ready, and ignores the drain."""
    await control.ready()
    await asyncio.Event().wait()


async def list_modules(boot: FrontendBoot, control: Control) -> None:
    """Tells which modules this child has imported, and its memory in KiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[1])
    rss_kib = pages * os.sysconf("SC_PAGE_SIZE") // 1024
    await control.ready(modules=sorted(sys.modules), rss_kib=rss_kib)
    await control.draining.wait()
