"""A bundled LLM provider: what the demo, the tests and the load tests call instead of OpenAI or Anthropic.

    python -m plano.demo.provider --port 0

prints one line, `{"url": "http://127.0.0.1:PORT"}`, when it listens, and serves until SIGTERM or SIGINT. Inside a
process, `start_provider` does the same.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import orjson
import setproctitle
import uvloop

from plano.demo.prompts import PromptError
from plano.demo.server import DemoProvider, start_provider

__all__ = ["DemoProvider", "main", "start_provider"]


class _ParentWatch(asyncio.Protocol):
    """Sets an event when the pipe that stdin is reaches its end."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


def _parse_faults(context: click.Context, parameter: click.Parameter, pairs: tuple[str, ...]) -> Mapping[str, str]:
    faults = {}
    for pair in pairs:
        model, equals, fault = pair.partition("=")
        if not model or not equals or not fault:
            raise click.BadParameter(f"{pair!r} is not MODEL=FAULT")
        faults[model] = fault
    return faults


@click.command(
    help="Serve a demo LLM provider (the shapes of OpenAI, Anthropic, Bedrock and Gemini) until SIGTERM or SIGINT."
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Certificate chain, PEM."
)
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its key, PEM.")
@click.option("--chunk-delay-ms", default=0.0, show_default=True, type=click.FloatRange(0), help="Between two chunks.")
@click.option("--require-key", metavar="KEY", help="Answer 401 to every other key.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="MODEL=FAULT",
    callback=_parse_faults,
    help="For good; * for all models.",
)
@click.option("--exit-with-parent", is_flag=True, help="End when stdin, a pipe, is closed.")
def main(
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    chunk_delay_ms: float,
    require_key: str | None,
    faults: Mapping[str, str],
    exit_with_parent: bool,
) -> None:
    """Run the provider until it is told to end."""
    setproctitle.setproctitle("plano: demo provider")

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        if exit_with_parent:
            await loop.connect_read_pipe(lambda: _ParentWatch(ended), sys.stdin)
        provider = await start_provider(
            host,
            port,
            chunk_delay_ms=chunk_delay_ms,
            require_key=require_key,
            faults=faults,
            tls_cert=tls_cert,
            tls_key=tls_key,
        )
        sys.stdout.buffer.write(orjson.dumps({"url": provider.url}) + b"\n")
        sys.stdout.buffer.flush()
        await ended.wait()
        await provider.close()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
    except (OSError, PromptError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
