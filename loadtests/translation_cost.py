"""What translating a stream costs: CPU microseconds per event, chat completions to messages, beside the same stream
relayed unchanged, in one run.

    python loadtests/translation_cost.py [--streams 300] [--events 200]

A real frontend without sockets: its client and upstream connections are given transports that keep nothing, so that
what is measured is parsing, relaying and translating, not the kernel. The two kinds of stream alternate, and the least
of the repetitions counts, because it is the one nothing else disturbed. Exit code 1 when the target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson

from plano.config.plan import ClusterPlan, EndpointPlan, ListenerPlan, ProviderPlan
from plano.frontends.frontend import Frontend
from plano.frontends.http1 import ClientConnection
from plano.upstreams.connection import UpstreamConnection

TARGET_US = 12.0  # an event, on one core
REPETITIONS = 9


class Sieve:
    """A transport that counts what is written and forgets it."""

    def __init__(self) -> None:
        self.writes = 0
        self.last = b""

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.last = data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        return None

    abort = pause_reading = resume_reading = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Way:
    """One way through the gateway: a client of one dialect, an upstream that speaks chat completions."""

    def __init__(self, frontend: Frontend, target: str, body: dict[str, Any]) -> None:
        listener = frontend.listeners[0]
        self._client: ClientConnection = listener.make_connection()  # type: ignore[assignment]
        self._sieve = Sieve()
        self._client.connection_made(self._sieve)  # type: ignore[arg-type]
        data = orjson.dumps(body)
        head = f"POST {target} HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(data)}\r\n\r\n"
        self._request = head.encode() + data
        self._pool = frontend.candidates.pools[0]

    def run(self, pieces: list[bytes]) -> tuple[float, bytes]:
        """CPU seconds of one request and its stream, and the last bytes the client got."""
        upstream = UpstreamConnection(self._pool)
        upstream.connection_made(Sieve())  # type: ignore[arg-type]
        self._pool.put_back(upstream)
        self._client.data_received(self._request)
        begun = time.process_time()
        for piece in pieces:
            upstream.data_received(piece)
        spent = time.process_time() - begun
        self._pool.take()
        return spent, self._sieve.last


def make_stream(events: int) -> list[bytes]:
    """The upstream's answer, one piece per event as a paced stream arrives."""
    pieces = [b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"]
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f" token{index}"} for index in range(events)]
    pieces += [_chunk({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) for delta in deltas]
    pieces.append(_chunk({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    usage = {"prompt_tokens": 12, "completion_tokens": events, "total_tokens": events + 12}
    pieces.append(_chunk({**base, "choices": [], "usage": usage}))
    pieces.append(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    return pieces


def _chunk(event: dict[str, Any]) -> bytes:
    data = b"data: %b\n\n" % orjson.dumps(event)
    return b"%x\r\n%b\r\n" % (len(data), data)


def make_frontend() -> Frontend:
    endpoint = EndpointPlan("chat", "/v1/chat/completions", "/v1/chat/completions")
    provider = ProviderPlan(
        name="mock/m",
        model="mock/m",
        provider="mock",
        owned_by="mock",
        upstream_model="m",
        scheme="http",
        host="127.0.0.1",
        port=9,
        authority="bench",
        endpoints=(endpoint,),
        base_path="/v1",
        default=True,
    )
    listener = ListenerPlan("llm", "model", "127.0.0.1", 9)
    frontend = Frontend(0, ClusterPlan((listener,), (provider,), {}, ()), "inproc://nobody")
    for dialect in ("chat", "messages"):
        frontend.candidates.chain("mock/m", dialect)
    return frontend


async def measure(streams: int, events: int) -> tuple[float, float]:
    """Least CPU microseconds per event: relayed, translated."""
    frontend = make_frontend()
    question = [{"role": "user", "content": "How much is it?"}]
    asked = {"model": "mock/m", "messages": question, "stream": True}
    same = Way(frontend, "/v1/chat/completions", {**asked, "stream_options": {"include_usage": True}})
    other = Way(frontend, "/v1/messages", {**asked, "max_tokens": 1_000})
    pieces = make_stream(events)
    least: dict[str, float] = {}
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    for _ in range(REPETITIONS):
        for name, path, end in (("same", same, b"[DONE]"), ("other", other, b"message_stop")):
            spent = _repeat(path.run, pieces, max(1, streams // REPETITIONS), end)
            least[name] = min(least.get(name, float("inf")), spent / events * 1e6)
    return least["same"], least["other"]


def _repeat(run: Callable[[list[bytes]], tuple[float, bytes]], pieces: list[bytes], times: int, end: bytes) -> float:
    total = 0.0
    for _ in range(times):
        spent, last = run(pieces)
        if end not in last:
            raise SystemExit(f"the stream did not end with {end!r} but with {last[-200:]!r}")
        total += spent
    return total / times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=300, help="streams of each kind (default 300)")
    parser.add_argument("--events", type=int, default=200, help="content events of a stream (default 200)")
    options = parser.parse_args()
    same, other = asyncio.run(measure(options.streams, options.events))
    print(f"relayed unchanged     {same:6.2f} us an event")
    print(f"chat to messages      {other:6.2f} us an event, {other / same:.1f} times as much")
    print(f"translating adds      {other - same:6.2f} us an event (target: at most {TARGET_US:g})")
    return 0 if other - same <= TARGET_US else 1


if __name__ == "__main__":
    sys.exit(main())
