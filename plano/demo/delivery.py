"""How an answer reaches the client, faults included."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from uuid import uuid4

from aiohttp import web

from plano.demo.answers import Answer, AnswerSize, compose_answer
from plano.demo.dialect import Dialect, Event
from plano.demo.faults import Fault, FaultKind
from plano.demo.journal import Entry
from plano.demo.prompts import Prompt, PromptError

TRUNCATED_BYTES = 64

_BREAKING: frozenset[FaultKind] = frozenset({"cut", "reset", "role-then-cut", "stall", "error-first", "error-mid"})
_GARBAGE = b"\x00\x01\xfe\xff<<< neither JSON nor an event stream >>>\r\n\x80\x81"
_PAGE = (
    b"<html>\r\n<head><title>%d Bad Gateway</title></head>\r\n<body><center><h1>%d</h1></center></body>\r\n</html>\r\n"
)
_MESSAGES = {
    401: ("Incorrect API key provided.", "invalid_api_key"),
    404: ("The model does not exist or you do not have access to it.", "model_not_found"),
    429: ("Rate limit reached for requests. Please try again later.", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request. Sorry about that!", None),
    503: ("The engine is currently overloaded, please try again later.", None),
    529: ("Overloaded", None),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request for an answer, ready to be answered. `chunk_delay_s` lies between two chunks of a stream."""

    request: web.BaseRequest
    entry: Entry
    dialect: Dialect
    prompt: Prompt
    fault: Fault | None
    chunk_delay_s: float = 0.0

    @property
    def kind(self) -> FaultKind | None:
        """The kind of the fault, None without one."""
        return None if self.fault is None else self.fault.kind

    @property
    def number(self) -> int:
        """The first number of the fault."""
        return 0 if self.fault is None else self.fault.number

    @property
    def second(self) -> float:
        """The second number of the fault."""
        return 0.0 if self.fault is None else self.fault.second or 0.0


async def answer_call(call: Call) -> web.StreamResponse:
    """Answer one call and return its response; a fault may close the connection or wait for ever instead.

    Ends by CancelledError when the connection is lost. Raises PromptError where the prompt cannot be answered.
    """
    match call.kind:
        case "hang":
            await _wait_for_ever()
        case "drop":
            await _close_connection(call)
        case "slow":
            await asyncio.sleep(call.number / 1000)
        case "fail":
            return _make_failure(call)
        case "html":
            page = _PAGE % (call.number, call.number)
            return web.Response(status=call.number, body=page, content_type="text/html", headers=make_headers(call))
        case "error-200":
            return make_json(call.dialect.render_error(_make_error(503)), headers=make_headers(call))
    answer = _compose(call)
    return await (_stream(call, answer) if call.prompt.stream else _send_json(call, answer))


def make_headers(call: Call) -> dict[str, str]:
    """Return the headers by which a dialect names a request."""
    return {call.dialect.request_id_header: f"req_{uuid4().hex}"}


def make_json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a JSON response."""
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def make_error(dialect: Dialect, error: PromptError, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return the response by which a dialect reports an error."""
    return make_json(dialect.render_error(error), error.status, {**(headers or {}), **dialect.error_headers(error)})


def _compose(call: Call) -> Answer:
    match call.kind:
        case "big":
            return compose_answer(call.prompt, AnswerSize(kib=call.number))
        case "chunks":
            return compose_answer(call.prompt, AnswerSize(chunks=call.number))
        case "usage":
            return compose_answer(call.prompt, cached_tokens=call.number, reasoning_tokens=int(call.second))
    return compose_answer(call.prompt)


def _make_error(status: int) -> PromptError:
    message, code = _MESSAGES.get(status, (f"The demo provider was asked to fail with {status}.", None))
    return PromptError(status, message, code=code)


def _make_failure(call: Call) -> web.Response:
    headers = make_headers(call)
    if call.fault is not None and call.fault.second is not None:
        headers["Retry-After"] = f"{call.fault.second:g}"
    return make_error(call.dialect, _make_error(call.number), headers)


async def _send_json(call: Call, answer: Answer) -> web.StreamResponse:
    body = call.dialect.render_answer(call.prompt, answer)
    headers = make_headers(call)
    content_type = call.dialect.answer_type(call.prompt)
    match call.kind:
        case "garbage":
            body = body[: len(body) // 2] + b"\xff}"
        case "empty":
            body = b""
        case "error-first" | "error-mid":
            body = call.dialect.render_error(_make_error(503))
        case "gzip":
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        case "truncate":
            await _send_part(call, headers, content_type, body, len(body) + TRUNCATED_BYTES)
            await _close_connection(call)
        case "cut" | "reset" | "role-then-cut" | "stall":
            await _send_part(call, headers, content_type, body[: len(body) // 2], len(body))
            await _break_off(call)
        case "slow-token":
            response = await _send_part(call, headers, content_type, b"", len(body))
            await asyncio.sleep(call.number / 1000)
            await response.write(body)
            return response
    return web.Response(body=body, headers={**headers, "Content-Type": content_type})


async def _stream(call: Call, answer: Answer) -> web.StreamResponse:
    headers = {"Cache-Control": "no-cache"} | make_headers(call)
    events = call.dialect.render_events(call.prompt, answer)
    if call.kind == "truncate":
        body = b"".join(event.frame() for event in events)
        await _send_part(call, headers, call.dialect.stream_type, body, len(body) + TRUNCATED_BYTES)
        await _close_connection(call)
    if call.kind == "gzip":
        headers["Content-Encoding"] = "gzip"
    response = web.StreamResponse(headers=headers)
    response.headers["Content-Type"] = call.dialect.stream_type
    await response.prepare(call.request)
    call.entry.status = 200
    match call.kind:
        case "empty":
            return response
        case "garbage":
            await response.write(_GARBAGE)
            return response
        case "slow-token":
            await asyncio.sleep(call.number / 1000)
    squeeze = zlib.compressobj(wbits=31) if call.kind == "gzip" else None
    delay_s = call.second / 1000 if call.kind == "chunks" else call.chunk_delay_s
    due_s = 0.0
    for event in events:
        if call.kind in _BREAKING and _breaks_before(call, event):
            return await _break_stream(call, response, event)
        if _is_left_out(call, event):
            continue
        if event.kind == "content":
            due_s = await _wait_for_turn(due_s, delay_s)
            call.entry.chunks += 1
        frame = _dress(call, event)
        if squeeze is not None:
            frame = squeeze.compress(frame) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        await response.write(frame)
    if squeeze is not None:
        await response.write(squeeze.flush())
    return response


async def _wait_for_turn(due_s: float, delay_s: float) -> float:
    """Wait until the next chunk is due; return when the one after it is. The first chunk (0.0) is due at once."""
    now_s = asyncio.get_running_loop().time()
    if due_s == 0.0:
        due_s = now_s
    # Counted from the chunk before and not from now: a late chunk must not make all later ones late. Where nothing
    # is left to wait for, the loop still gets its turn, so that chunks leave one by one.
    await asyncio.sleep(max(0.0, due_s - now_s))
    return due_s + delay_s


def _breaks_before(call: Call, event: Event) -> bool:
    match call.kind:
        case "error-first":
            return True
        case "role-then-cut":
            return event.kind != "opening"
    # An answer shorter than the fault waits for breaks before its end mark.
    return call.entry.chunks >= call.number or event.kind == "done"


def _is_left_out(call: Call, event: Event) -> bool:
    return (call.kind == "no-done" and event.kind == "done") or (call.kind == "done-only" and event.kind != "done")


def _dress(call: Call, event: Event) -> bytes:
    if event.wire is not None:
        return event.wire  # comments and line ends are things of server-sent events
    match call.kind:
        case "comments":
            return b": ping\n\n" + event.frame()
        case "crlf":
            return event.frame().replace(b"\n", b"\r\n")
    return event.frame()


async def _break_stream(call: Call, response: web.StreamResponse, event: Event) -> web.StreamResponse:
    if call.kind in ("error-first", "error-mid"):
        await response.write(call.dialect.render_error_event(_make_error(503)).frame())
        return response
    if call.kind != "stall" and call.request.transport is not None:
        # Past aiohttp, which would end the chunk: the client must see the end in the middle of one.
        frame = event.frame()
        call.request.transport.write(b"%x\r\n%b" % (len(frame), frame[: len(frame) // 2]))
    return await _break_off(call)


async def _break_off(call: Call) -> NoReturn:
    match call.kind:
        case "stall":
            await _wait_for_ever()
        case "reset":
            await _reset_connection(call)
    await _close_connection(call)


async def _send_part(
    call: Call, headers: dict[str, str], content_type: str, body: bytes, promised_bytes: int
) -> web.StreamResponse:
    """Send a head that promises `promised_bytes`, and `body`, which may be less."""
    response = web.StreamResponse(headers=headers)
    response.headers["Content-Type"] = content_type
    response.content_length = promised_bytes
    await response.prepare(call.request)
    call.entry.status = 200
    if body:
        await response.write(body)
    return response


async def _close_connection(call: Call) -> NoReturn:
    """Close the connection after what was written; the loss of it then cancels this task."""
    call.entry.ended_by_fault = True
    if call.request.transport is not None:
        call.request.transport.close()
    await _wait_for_ever()


async def _reset_connection(call: Call) -> NoReturn:
    """End the connection by TCP reset, after what was written has left."""
    call.entry.ended_by_fault = True
    transport = call.request.transport
    if transport is not None:
        await asyncio.sleep(0)
        # Transports tell no one when their buffer has run empty.
        while transport.get_write_buffer_size():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        # Lingering for 0 seconds is how a close becomes a reset (socket(7), SO_LINGER).
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    await _wait_for_ever()


async def _wait_for_ever() -> NoReturn:
    while True:
        await asyncio.get_running_loop().create_future()
