"""What one HTTP filter and one MCP filter add to a request, beside the same request without them, in one run; and how
often an MCP server is shaken hands with.

    python loadtests/filters.py [--requests 1000] [--kind stateless|json|sse] [--json] [--write docs/performance.md]

One frontend with three listeners, the upstream and the filters, each a process of its own; one connection to each
listener, one request at a time, the three in turn, so that what disturbs the machine disturbs all alike. The HTTP
filter is a bare asyncio server; the MCP filter is a tool of the official SDK under uvicorn, by default with what the
SDK recommends for production (`stateless_http=True, json_response=True`); `json` keeps sessions, `sse` answers
with events as well. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script: this folder holds a `profile.py` that must not hide the standard one
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import argparse
import asyncio
import json
import multiprocessing as mp
import signal
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from loadtests.foreign import ForeignLoad
from loadtests.machine import describe_machine
from loadtests.performance import check_page, write_page
from loadtests.processes import BenchError, raise_on_sigterm, say
from plano.config.plan import ClusterPlan, EndpointPlan, FilterPlan, ListenerPlan, ProviderPlan
from plano.frontends.frontend import Frontend

MOST_ADDED_MS = {"http": 1.0, "mcp": 2.5}
MOST_HANDSHAKES = 1  # of one frontend
KINDS = {"stateless": (True, True), "json": (True, False), "sse": (False, False)}  # json_response, stateless_http
MARKERS = (
    "<!-- filters:begin (written by `loadtests/filters.py`, do not edit by hand) -->",
    "<!-- filters:end -->",
)
WARM_UP = 100
START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 30.0
BODY = json.dumps(
    {
        "model": "mock/m",
        "messages": [
            {"role": "system", "content": "You answer questions about our products, briefly and kindly."},
            {"role": "user", "content": "Please summarise the minutes of our meeting on Tuesday. " * 10},
        ],
        "temperature": 0.2,
    }
).encode()
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 150}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 140, "completion_tokens": 150, "total_tokens": 290},
    }
).encode()


# -- the processes --------------------------------------------------------------------------------------------------


class Responder(asyncio.Protocol):
    """The least HTTP server there is: answers every request with what `make` makes of its body."""

    def __init__(self, make: Callable[[bytes], bytes]) -> None:
        self._make = make
        self._data = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or len(body) < read_length(head):
            return
        self._data = b""
        self._transport.write(render_response(self._make(body)))


def render_response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def read_length(head: bytes) -> int:
    """The Content-Length of a message with this head; 0 without one."""
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


def serve_upstream(pipe: Connection) -> None:
    """A provider that answers at once."""
    uvloop.run(_serve_responder(lambda _: ANSWER, pipe))


def serve_http_filter(pipe: Connection) -> None:
    """A filter that hands back what it was given."""
    uvloop.run(_serve_responder(lambda body: body, pipe))


async def _serve_responder(make: Callable[[bytes], bytes], pipe: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Responder(make), "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def serve_mcp_filter(kind: str, pipe: Connection) -> None:
    """A tool that hands back what it was given. Says how many `initialize` have come whenever it is asked."""
    import uvicorn
    from mcp.server.mcpserver import MCPServer
    from mcp.types import CallToolResult

    server: MCPServer[Any] = MCPServer("bench", log_level="ERROR")
    handshakes = 0

    async def pass_on(body, path):  # type: ignore[no-untyped-def]
        return CallToolResult(content=[], structured_content={"result": body})

    # The SDK reads annotations where they stand, and must find the names in them.
    pass_on.__annotations__ = {"body": dict[str, Any], "path": str, "return": CallToolResult}
    server.add_tool(pass_on)
    json_response, stateless = KINDS[kind]
    app = server.streamable_http_app(json_response=json_response, stateless_http=stateless)

    async def count(scope: Any, receive: Any, send: Any) -> None:
        async def look() -> Any:
            nonlocal handshakes
            message = await receive()
            handshakes += b'"method":"initialize"' in message.get("body", b"")
            return message

        await app(scope, look, send)

    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(count, log_level="error", access_log=False, loop="uvloop", http="httptools")

    async def serve() -> None:
        def answer() -> None:
            pipe.recv()
            pipe.send(handshakes)

        asyncio.get_running_loop().add_reader(pipe.fileno(), answer)
        pipe.send(sock.getsockname()[1])
        await uvicorn.Server(config).serve([sock])

    uvloop.run(serve())


def serve_gateway(plan: ClusterPlan, telemetry: str, pipe: Connection) -> None:
    """A frontend; sends the ports of its listeners in their order."""
    uvloop.run(_serve_gateway(plan, telemetry, pipe))


async def _serve_gateway(plan: ClusterPlan, telemetry: str, pipe: Connection) -> None:
    frontend = Frontend(0, plan, telemetry)
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in plan.listeners]
    ports = [sock.getsockname()[1] for sock in sockets]
    names = (listener.name for listener in plan.listeners)
    await frontend.start({name: sock.detach() for name, sock in zip(names, sockets, strict=True)})
    pipe.send(ports)
    await asyncio.Event().wait()


@contextmanager
def run_process(serve: Callable[..., None], *arguments: Any) -> Iterator[tuple[Any, Connection]]:
    """Run `serve` in a fresh process while the block runs. Gives the first thing it sends, and the pipe.

    Raises BenchError when it sends nothing within a minute.
    """
    spawn = mp.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_run_process, args=(serve, *arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(START_TIMEOUT_S):
            raise BenchError(f"{serve.__name__} did not start within {START_TIMEOUT_S:.0f} s")
        try:
            first = ours.recv()
        except EOFError as error:
            raise BenchError(f"{serve.__name__} ended before it listened") from error
        yield first, ours
    finally:
        process.kill()
        process.join()


def _run_process(serve: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is the parent's, which ends its children
    serve(*arguments)


def make_plan(upstream: int, http_filter: int, mcp_filter: int) -> ClusterPlan:
    """Three listeners: without a filter, with the HTTP one, with the MCP one."""
    provider = ProviderPlan(
        name="mock/m",
        model="mock/m",
        provider="mock",
        owned_by="mock",
        upstream_model="m",
        scheme="http",
        host="127.0.0.1",
        port=upstream,
        authority=f"127.0.0.1:{upstream}",
        endpoints=(EndpointPlan("chat", "/v1/chat/completions", "/v1/chat/completions"),),
        base_path="/v1",
        access_key="sk-up",
        default=True,
    )
    ways: dict[str, tuple[str, ...]] = {"plain": (), "http": ("http",), "mcp": ("mcp",)}
    listeners = tuple(ListenerPlan(way, "model", "127.0.0.1", 0, input_filters=ids) for way, ids in ways.items())
    filters = (
        FilterPlan("http", "http", f"http://127.0.0.1:{http_filter}"),
        FilterPlan("mcp", "mcp", f"http://127.0.0.1:{mcp_filter}/mcp", "pass_on"),
    )
    return ClusterPlan(listeners, (provider,), {}, (), filters=filters)


# -- the measurement ------------------------------------------------------------------------------------------------


class Client:
    """One connection to one listener."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(BODY)}\r\n\r\n"
        self._request = head.encode() + BODY
        self.ms: list[float] = []

    def ask(self) -> None:
        """One request, timed. Raises BenchError when it does not get its answer."""
        begun_s = time.perf_counter()
        self._socket.sendall(self._request)
        data = b""
        while True:
            try:
                piece = self._socket.recv(65_536)
            except TimeoutError as error:
                raise BenchError(f"no answer within {ANSWER_TIMEOUT_S:.0f} s") from error
            data += piece
            head, found, body = data.partition(b"\r\n\r\n")
            if (found and len(body) >= read_length(head)) or not piece:
                break
        self.ms.append((time.perf_counter() - begun_s) * 1e3)
        if not data.startswith(b"HTTP/1.1 200 ") or body != ANSWER:
            raise BenchError(f"a request got another answer: {data[:300]!r}")

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, slots=True)
class FilterReport:
    """Milliseconds by way, `plain`, `http` and `mcp`; handshakes of the MCP server over all of them."""

    kind: str
    requests: int
    ms: dict[str, dict[str, float]]
    handshakes: int
    machine: dict[str, str]
    foreign: dict[str, float]

    def added_ms(self, way: str) -> float:
        """What this way's p50 is above that without a filter."""
        return self.ms[way]["p50"] - self.ms["plain"]["p50"]

    @property
    def met(self) -> bool:
        """Is every target met?"""
        return self.handshakes <= MOST_HANDSHAKES and all(
            self.added_ms(way) <= most for way, most in MOST_ADDED_MS.items()
        )

    def document(self) -> dict[str, Any]:
        """Everything as JSON."""
        return {
            "kind": self.kind,
            "requests": self.requests,
            "ms": self.ms,
            "added_p50_ms": {way: round(self.added_ms(way), 3) for way in MOST_ADDED_MS},
            "handshakes": self.handshakes,
            "met": self.met,
            "machine": self.machine,
            "foreign": self.foreign,
        }

    def render(self) -> str:
        """The table in Markdown, and what it was taken on."""
        titles = {"plain": "without a filter", "http": "one HTTP filter", "mcp": "one MCP filter"}
        lines = ["| Request | p50 ms | p99 ms | added p50 ms | Target | Met |", "|---|--:|--:|--:|---|---|"]
        for way, title in titles.items():
            figures = self.ms[way]
            line = f"| {title} | {figures['p50']:.2f} | {figures['p99']:.2f} |"
            if way in MOST_ADDED_MS:
                added, most = self.added_ms(way), MOST_ADDED_MS[way]
                line += f" {added:.2f} | at most {most:.1f} | {'yes' if added <= most else '**no**'} |"
            else:
                line += " | | |"
            lines.append(line)
        met = "yes" if self.handshakes <= MOST_HANDSHAKES else "**no**"
        lines.append(f"| handshakes of the MCP server | {self.handshakes} | | | at most {MOST_HANDSHAKES} | {met} |")
        json_response, stateless = KINDS[self.kind]
        return "\n".join(
            [
                *lines,
                "",
                f"{self.requests:,} requests each way, in turn, and {WARM_UP} before them. MCP server: mcp"
                f" {metadata.version('mcp')}, json_response={json_response}, stateless_http={stateless}.",
                f"Machine: {self.machine['cores']} cores, {self.machine['cpu']}, {self.machine['kernel']},"
                f" Python {self.machine['python']}. Foreign load (cores): mean {self.foreign['mean']:.2f},"
                f" max {self.foreign['max']:.2f}.",
            ]
        )


def measure(requests: int, kind: str) -> FilterReport:
    """Start everything, ask, end everything. Raises BenchError."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="plano-filters-"))
        say("starting the upstream, the filters and a frontend")
        upstream, _ = stack.enter_context(run_process(serve_upstream))
        http_filter, _ = stack.enter_context(run_process(serve_http_filter))
        mcp_filter, mcp_pipe = stack.enter_context(run_process(serve_mcp_filter, kind))
        plan = make_plan(upstream, http_filter, mcp_filter)
        ports, _ = stack.enter_context(run_process(serve_gateway, plan, f"ipc://{folder}/records"))
        ways = [listener.name for listener in plan.listeners]
        clients = dict(zip(ways, map(Client, ports), strict=True))
        for client in clients.values():
            stack.callback(client.close)
        foreign = stack.enter_context(ForeignLoad())
        for _ in range(WARM_UP):
            for client in clients.values():
                client.ask()
        say(f"{requests} requests each way")
        for client in clients.values():
            client.ms.clear()
        for _ in range(requests):
            for client in clients.values():
                client.ask()
        mcp_pipe.send("handshakes")
        handshakes = int(mcp_pipe.recv())
    ms = {way: summarise(client.ms) for way, client in clients.items()}
    return FilterReport(kind, requests, ms, handshakes, describe_machine(), foreign.summarise())


def summarise(ms: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the least of some latencies."""
    ordered = sorted(ms)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"p50": round(statistics.median(ordered), 3), "p99": round(p99, 3), "min": round(ordered[0], 3)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit code: 0, 1 when a target was missed or the bench failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help="each way (default 1000)")
    parser.add_argument("--kind", choices=sorted(KINDS), default="stateless", help="of MCP server (default stateless)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page, between its markers")
    options = parser.parse_args(arguments)
    raise_on_sigterm()
    try:
        if options.write:
            check_page(options.write, MARKERS)
        report = measure(options.requests, options.kind)
        print(json.dumps(report.document()) if options.json else report.render())
        if options.write:
            write_page(options.write, report.render(), MARKERS)
            say(f"wrote {options.write}")
    except BenchError as error:
        print(f"filters: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("filters: interrupted, everything it started has ended", file=sys.stderr)
        return 130
    return 0 if report.met else 1


if __name__ == "__main__":
    sys.exit(main())
