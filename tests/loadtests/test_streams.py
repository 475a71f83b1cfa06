"""The stream check against a server that keeps, loses, swaps or breaks chunks on purpose."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from loadtests.processes import BenchError
from loadtests.rig import REPOSITORY, find_source

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = 6


def harness_is_missing() -> bool:
    try:
        find_source()
    except BenchError:
        return True
    return shutil.which("gcc") is None and shutil.which("cc") is None


pytestmark = pytest.mark.skipif(harness_is_missing(), reason="needs ../shared/bench and a C compiler")


def event(data: str) -> bytes:
    line = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(line), line)


def token(index: int) -> bytes:
    """A content chunk as mock_llm writes it: its index and the monotonic clock."""
    return event(f'{{"choices":[{{"delta":{{"content":" tok{index:05d}@{time.monotonic_ns():016d}"}}}}]}}')


def whole(indices: Sequence[int]) -> bytes:
    return HEAD + b"".join(token(index) for index in indices) + event("[DONE]") + b"0\r\n\r\n"


@asynccontextmanager
async def serving(answer: Callable[[], bytes]) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                writer.write(answer())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the load generator has what it wanted
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions"


async def check(url: str, bench: Path, *extra: str) -> tuple[int, str]:
    script = REPOSITORY / "loadtests" / "streams.py"
    options = ["--mock-port", "0", "--streams", "4", "--rounds", "2", "--chunks", str(CHUNKS), "--interval-ms", "1"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), "--url", url, *options, *extra),
        env={**os.environ, "BENCH_ENV": str(bench)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, out.decode() + err.decode()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench environment of the module's own: the person's is neither needed nor touched."""
    return tmp_path_factory.mktemp("bench")


async def test_whole_streams_pass(bench: Path) -> None:
    async with serving(lambda: whole(range(CHUNKS))) as url:
        code, text = await check(url, bench)
    assert code == 0, text
    assert "8 of 8 whole" in text
    assert "every chunk arrived once and in order" in text


@pytest.mark.parametrize(
    ("answer", "flaw"),
    [
        (lambda: whole([0, 1, 2, 4, 5]), "8 with chunks lost or doubled"),
        (lambda: whole([0, 1, 2, 3, 4]), "8 with chunks lost or doubled"),
        (lambda: whole([0, 1, 3, 2, 4, 5]), "8 out of order"),
        (lambda: whole([0, 1, 2, 2, 3, 4, 5]), "8 out of order"),
        (lambda: HEAD + b"".join(token(i) for i in range(CHUNKS)) + b"0\r\n\r\n", "8 without end"),
        (lambda: b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
    ],
    ids=["gap", "last-missing", "swapped", "doubled", "no-end", "refused"],
)
async def test_a_broken_stream_fails(bench: Path, answer: Callable[[], bytes], flaw: str) -> None:
    async with serving(answer) as url:
        code, text = await check(url, bench)
    assert code == 1
    assert flaw in text
    assert "STREAMS WERE BROKEN" in text


async def test_a_late_chunk_fails_only_when_asked(bench: Path) -> None:
    def answer() -> bytes:
        kept = whole(range(CHUNKS))
        time.sleep(0.01)  # the stamps are 10 ms old when they are sent; a chunk is due each millisecond
        return kept

    async with serving(answer) as url:
        assert (await check(url, bench))[0] == 0
        code, text = await check(url, bench, "--fail-late")
    assert code == 1
    assert "LATE" in text


async def test_anything_but_loopback_is_refused(bench: Path) -> None:
    code, text = await check("http://192.0.2.1:80/v1/chat/completions", bench)
    assert code == 1
    assert "loopback only" in text
