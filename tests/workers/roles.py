"""Small roles that children of the tests' clusters run in place of a frontend."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time

from plano.workers.boot import FrontendBoot, InferenceBoot
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
    await control.ready(listeners=sorted(boot.sockets), inference=list(boot.inference))
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


async def infer(boot: InferenceBoot, control: Control) -> None:
    """An inference process that has nothing to load."""
    await control.ready(address=boot.address, proven=control.proven)
    await control.draining.wait()


async def load_slowly(boot: InferenceBoot, control: Control) -> None:
    """Loads for longer than everything else takes, and tells so."""
    control.tell(roles={"guard": {"state": "loading"}})
    await asyncio.sleep(2.5)
    await control.ready(roles={"guard": {"state": "ready"}})
    await control.draining.wait()


async def hang_while_loading(boot: InferenceBoot, control: Control) -> None:
    """Says that it loads, then hangs; its successor does better."""
    control.tell(roles={})
    marker = os.path.join(os.path.dirname(boot.address.removeprefix("ipc://")), "hung")
    if not os.path.exists(marker):
        with open(marker, "w", encoding="ascii"):
            pass
        await asyncio.sleep(0.2)
        while True:
            time.sleep(1)
    await control.ready()
    await control.draining.wait()


async def refuse(boot: InferenceBoot, control: Control) -> None:
    """Cannot work with this configuration."""
    await control.refuse("inference.guard: engine 'vllm' needs a model")


async def refuse_later(boot: InferenceBoot, control: Control) -> None:
    """Works at first; its successors do not."""
    if control.proven:
        await control.refuse("the GPU is gone")
        return
    await control.ready()
    await control.draining.wait()
