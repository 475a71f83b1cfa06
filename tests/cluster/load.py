"""A small load generator on raw sockets that knows what became of every single request.

An answer counts as "ok" only when every byte of it is as it must be. Whatever else happens has its own name: a load
generator that retries or averages would hide the one lost request that a test is looking for.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Self

OK = "ok"
REFUSED = "refused"  # no connection
LOST = "lost"  # a connection, but not a byte of an answer
BROKEN = "broken"  # part of an answer
CLOSED = "closed"  # a kept-alive connection was closed in order before the request got a byte of an answer
SILENT = "silent"  # nothing for too long
WRONG = "wrong"  # a whole answer, but not the right one
ERROR_EVENT = "error event"  # a stream that said it failed

# The words of an answer of a given length (`plano/demo/answers.py`).
FILLER = (
    *("the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"),
    *("while", "Plano", "relays", "every", "word", "without", "delay"),
)

ANSWER_TIMEOUT_S = 30.0
HEAD_BYTES = 256 * 1024


@dataclass(frozen=True)
class Answer:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body of a document."""
        return json.loads(self.body)

    def events(self) -> list[str]:
        """The data of the events of a stream."""
        return [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]

    def text(self) -> str:
        """What the model said, of a document or of a stream."""
        if not self.headers["content-type"].startswith("text/event-stream"):
            return str(self.json()["choices"][0]["message"]["content"])
        chunks = [json.loads(event) for event in self.events() if event != "[DONE]"]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]
        return "".join(delta.get("content") or "" for delta in deltas)


class Connection:
    """One connection to a listener. `sent` and `received` tell how far the request in hand has come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.received = False

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Raises OSError when it is refused."""
        return cls(*await asyncio.open_connection(host, port, limit=HEAD_BYTES))

    @property
    def local_port(self) -> int:
        """The client's port: what tells one connection from another in the server's process."""
        return int(self._writer.get_extra_info("sockname")[1])

    async def send(self, body: dict[str, Any], path: str = "/v1/chat/completions") -> None:
        """Send a request."""
        payload = json.dumps(body).encode()
        self.received = False
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        await self._writer.drain()

    async def read_head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the answer."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.received = True
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return int(status.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def read_chunk(self) -> bytes:
        """The next chunk of a chunked body, b"" at its end."""
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        data = await self._reader.readexactly(size + 2)
        return data[:-2]

    async def read_answer(self) -> Answer:
        """Read an answer to its end. Raises IncompleteReadError or OSError where it breaks off."""
        status, headers = await self.read_head()
        if headers.get("transfer-encoding") != "chunked":
            return Answer(status, headers, await self._reader.readexactly(int(headers["content-length"])))
        pieces = []
        while piece := await self.read_chunk():
            pieces.append(piece)
        return Answer(status, headers, b"".join(pieces))

    async def ask(self, body: dict[str, Any]) -> Answer:
        """Send a request and read its answer."""
        await self.send(body)
        return await self.read_answer()

    def close(self) -> None:
        """Close, without waiting for the other side."""
        self._writer.close()


@asynccontextmanager
async def connected(host: str, port: int) -> AsyncIterator[Connection]:
    """A connection for the time of a block."""
    connection = await Connection.open(host, port)
    try:
        yield connection
    finally:
        connection.close()


async def ask_once(host: str, port: int, body: dict[str, Any]) -> Answer:
    """One request on a connection of its own."""
    async with connected(host, port) as connection:
        return await asyncio.wait_for(connection.ask(body), ANSWER_TIMEOUT_S)


def make_body(model: str, text: str = "Hi", **more: Any) -> dict[str, Any]:
    """A chat completion request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


@dataclass
class Tally:
    """What became of every request. `strays` are the first outcomes that were not ok, with what was seen."""

    outcomes: Counter[str] = field(default_factory=Counter)
    strays: list[str] = field(default_factory=list)

    def count(self, outcome: str, detail: str = "") -> None:
        """One request has ended."""
        self.outcomes[outcome] += 1
        if outcome != OK and len(self.strays) < 8:
            self.strays.append(f"{outcome}: {detail}")

    @property
    def ok(self) -> int:
        """Requests that had the right answer, whole."""
        return self.outcomes[OK]

    def others(self, *expected: str) -> dict[str, int]:
        """The outcomes other than ok and those expected."""
        return {name: count for name, count in self.outcomes.items() if name not in (OK, *expected)}


class Load:
    """Clients that ask one question after another until `stop`, each request on the tally.

    A client whose connection is refused ends when `ends_when_refused`: the cluster is going away on purpose.
    """

    def __init__(self, host: str, port: int, *, ends_when_refused: bool = False) -> None:
        self.tally = Tally()
        self._address = host, port
        self._ends_when_refused = ends_when_refused
        self._stopping = False
        self._clients: list[asyncio.Task[None]] = []
        self._numbers = iter(range(10**9))

    def add_clients(self, count: int, model: str, *, stream: bool = False, keep_alive: bool = False) -> None:
        """Start clients. Without `keep_alive` each request has a connection of its own."""
        for _ in range(count):
            self._clients.append(asyncio.create_task(self._run(model, stream, keep_alive)))

    async def wait_for(self, condition: Callable[[Tally], bool], timeout_s: float = 20.0) -> None:
        """Let the load run until the tally says so."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while not condition(self.tally):
            if asyncio.get_running_loop().time() > deadline_s:
                raise AssertionError(f"not within {timeout_s} s: {self.tally}")
            await asyncio.sleep(0.01)

    async def wait_for_more(self, count: int) -> None:
        """Let the load run until this many further requests went well."""
        wanted = self.tally.ok + count
        await self.wait_for(lambda tally: tally.ok >= wanted)

    async def stop(self) -> Tally:
        """Let every client finish what it is at."""
        self._stopping = True
        return await self.join()

    async def join(self) -> Tally:
        """Wait until every client has ended by itself."""
        await asyncio.gather(*self._clients)
        return self.tally

    async def _run(self, model: str, stream: bool, keep_alive: bool) -> None:
        connection: Connection | None = None
        while not self._stopping:
            reused = connection is not None
            if connection is None:
                try:
                    connection = await Connection.open(*self._address)
                except OSError as error:
                    self.tally.count(REFUSED, str(error))
                    if self._ends_when_refused:
                        return
                    await asyncio.sleep(0.01)
                    continue
            text = f"number {next(self._numbers)}"
            body = make_body(model, text, **({"stream": True} if stream else {}))
            outcome, detail, answer = await _try_once(connection, body, reused)
            if answer is not None:
                outcome, detail = judge(answer, text)
            self.tally.count(outcome, detail)
            if not (keep_alive and answer is not None and answer.headers.get("connection") != "close"):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


async def _try_once(connection: Connection, body: dict[str, Any], reused: bool) -> tuple[str, str, Answer | None]:
    try:
        answer = await asyncio.wait_for(connection.ask(body), ANSWER_TIMEOUT_S)
    except TimeoutError:
        return SILENT, "", None
    except (asyncio.IncompleteReadError, OSError) as error:
        if connection.received:
            return BROKEN, repr(error), None
        in_order = isinstance(error, asyncio.IncompleteReadError) and not error.partial
        return (CLOSED if reused and in_order else LOST), repr(error), None
    return OK, "", answer


def judge(answer: Answer, text: str) -> tuple[str, str]:
    """The outcome of a whole answer to `text`, by whichever model gave it, and what was seen."""
    if answer.status != 200:
        return f"status {answer.status}", answer.body.decode(errors="replace")[:300]
    if answer.headers["content-type"].startswith("text/event-stream"):
        events = answer.events()
        if any('"error"' in event for event in events):
            return ERROR_EVENT, events[-2][:300]
        if events[-1] != "[DONE]":
            return WRONG, f"no end mark after {events[-1][:100]}"
    said = answer.text()
    wanted = expected_text(answer.headers["x-plano-model"], text)
    return (OK, "") if said == wanted else (WRONG, f"{said!r} instead of {wanted!r}")


def expected_text(model: str, text: str) -> str:
    """What the demo provider says to a first question."""
    name = model.rpartition("/")[2]
    if name.startswith("demo-chunks-"):
        return " ".join(islice(cycle(FILLER), int(name.split("-")[2])))
    return f"Hello! I am {name}, a demo model that ships with Plano. You said: {text}"
