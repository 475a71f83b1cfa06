"""One chat completion of a configured model provider, asked for by ourselves: the way of a request without a client.

Providers, pools, dialects and quirks are the gateway's own, so whatever serves clients serves a role too. Nothing is
awaited: a `Completion` is driven by its connection and ends with one call of `done`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from plano.dialects.chat.errors import parse_error
from plano.dialects.conversation import BadAnswer, BadRequest, StopReason, Text
from plano.inference.engines.question import (
    MAX_ANSWER_BYTES,
    Manners,
    Question,
    Reply,
    inflate,
    read_answer,
    render_question,
)
from plano.upstreams.candidate import Candidate
from plano.upstreams.connection import UpstreamConnection
from plano.upstreams.failures import Failure, FailureKind
from plano.upstreams.signing import SigningError

log = logging.getLogger(__name__)

MAX_MESSAGE_CHARS: Final = 200  # of what a provider says about its refusal
PAUSE_S: Final = (0.02, 0.06)  # before connecting again; the caller has hundreds of milliseconds

_TRY_AGAIN: Final = (FailureKind.CONNECT, FailureKind.RESET)
_REFUSALS: Final = (400, 422)


class Completion:
    """See the module. `candidates` are tried in order; one that cannot be reached gets a second chance if it is the
    last. `manners` are those of the candidates, in the same order; what is learnt of them is kept there.

    `done` gets the reply or why there is none, once, unless `cancel` came first. It may be called from within `start`.
    """

    __slots__ = (
        "_again",
        "_body",
        "_candidates",
        "_deadline_s",
        "_done",
        "_index",
        "_known",
        "_manners",
        "_payload",
        "_question",
        "_received",
        "_timer",
        "_traceparent",
        "_upstream",
        "began_s",
        "ended",
        "tries",
    )

    def __init__(
        self,
        question: Question,
        candidates: tuple[Candidate, ...],
        manners: tuple[Manners, ...],
        deadline_s: float,
        traceparent: bytes,
        done: Callable[[Completion, Reply | Failure], None],
    ) -> None:
        self._question = question
        self._candidates = candidates
        self._known = manners
        self._manners = replace(manners[0])
        self._deadline_s = deadline_s
        self._traceparent = traceparent
        self._done = done
        self._index = 0
        self._again = False
        self._payload = b""
        self._body: list[bytes] = []
        self._received = 0
        self._upstream: UpstreamConnection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.began_s = time.monotonic()
        self.ended = False
        self.tries = 0

    def start(self) -> None:
        self._try()

    def cancel(self) -> None:
        """Nobody waits any more: the connection is closed, which tells the provider to stop."""
        if not self.ended:
            self.ended = True
            self._let_go(whole=False)

    # -- one try ---------------------------------------------------------------------------------------------------

    @property
    def _candidate(self) -> Candidate:
        return self._candidates[self._index]

    def _try(self) -> None:
        self._timer = None
        candidate = self._candidate
        try:
            self._payload = render_question(self._question, candidate, self._manners, self._traceparent)
        except SigningError as unsigned:
            self.upstream_failed(Failure(FailureKind.CONNECT, str(unsigned)))
            return
        except BadRequest as bad:
            self._end(Failure(FailureKind.PROTOCOL, f"{candidate.name} cannot be asked this: {bad.message}"))
            return
        except Exception:
            log.exception("a request to %s could not be put together", candidate.name)
            self._end(Failure(FailureKind.PROTOCOL, "the request could not be put together"))
            return
        self.tries += 1
        self._body.clear()
        self._received = 0
        limit_s = candidate.stream_limit_s if candidate.always_streams else candidate.limit_s
        if limit_s is not None:
            self._timer = asyncio.get_running_loop().call_later(limit_s, self._time_out)
        upstream = candidate.pool.take()
        if upstream is not None:
            self.upstream_ready(upstream)
        else:
            candidate.pool.dial(self)

    def _time_out(self) -> None:
        self._timer = None
        self._let_go(whole=False)
        self.upstream_failed(Failure(FailureKind.TIMEOUT, "no answer in time"))

    def _let_go(self, *, whole: bool) -> None:
        """Done with the connection. One whose answer is not `whole` cannot be used again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            self._candidate.pool.forget(self)
        elif not whole:
            upstream.cancel()

    # -- Sink ------------------------------------------------------------------------------------------------------

    def upstream_ready(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        connection.send(self._payload, self)

    def upstream_stale(self) -> None:
        self._upstream = None
        self._candidate.pool.dial(self)

    def upstream_head(self, connection: UpstreamConnection, body: bytes, complete: bool) -> None:
        self.upstream_data(body, complete)

    def upstream_data(self, body: bytes, complete: bool) -> None:
        self._body.append(body)
        self._received += len(body)
        if self._received > MAX_ANSWER_BYTES:
            self._let_go(whole=complete)
            self.upstream_failed(Failure(FailureKind.PROTOCOL, "the answer is too large"))
        elif complete:
            connection = self._upstream
            assert connection is not None
            self._let_go(whole=True)
            self._judge(connection, b"".join(self._body))

    def upstream_failed(self, failure: Failure) -> None:
        """The next candidate, the same once more, or the end."""
        self._upstream = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if failure.may_retry(self._candidate.plan.retry.statuses):
            if self._index + 1 < len(self._candidates):
                self._index += 1
                self._manners = replace(self._known[self._index])
                self._try()
                return
            pause_s = random.uniform(*PAUSE_S)
            if not self._again and failure.kind in _TRY_AGAIN and time.monotonic() + pause_s < self._deadline_s:
                self._again = True
                self._timer = asyncio.get_running_loop().call_later(pause_s, self._try)
                return
        self._end(failure)

    # -- the answer ------------------------------------------------------------------------------------------------

    def _judge(self, connection: UpstreamConnection, body: bytes) -> None:
        status = connection.status
        manners = self._manners
        try:
            body = inflate(connection.coding, body)
        except BadAnswer as bad:
            self.upstream_failed(Failure(FailureKind.PROTOCOL, str(bad)))
            return
        if status >= 300:
            said = parse_error(_load(body), status).message
            if status in _REFUSALS and manners.give_way(said):
                self._try()
            else:
                self.upstream_failed(Failure(FailureKind.STATUS, self._explain(status, said), status=status))
            return
        streamed = connection.content_type.startswith((b"text/event-stream", b"application/vnd.amazon"))
        try:
            answer = read_answer(self._question, self._candidate, manners, body, streamed=streamed)
        except BadAnswer as bad:
            self.upstream_failed(Failure(FailureKind.PROTOCOL, self._hide(str(bad))))
            return
        except Exception:
            log.exception("an answer of %s could not be read", self._candidate.name)
            self.upstream_failed(Failure(FailureKind.PROTOCOL, "the answer could not be read"))
            return
        if answer.stop is StopReason.MAX_TOKENS and not manners.thinks:
            # Half an answer is none. Models that think spend the first tokens on that.
            manners.thinks = True
            self._try()
            return
        text = "".join(block.text for block in answer.blocks if isinstance(block, Text))
        if not text.strip():
            self.upstream_failed(Failure(FailureKind.EMPTY, f"the answer holds no text ({answer.stop.value})"))
            return
        self._known[self._index].adopt(manners)
        self._end(Reply(text, answer.usage.input, answer.usage.output))

    def _explain(self, status: int, said: str) -> str:
        # What is said about a key may quote it.
        if status in (401, 403):
            said = "the key was refused"
        return f"status {status}: {self._hide(said)}"

    def _hide(self, text: str) -> str:
        key = self._candidate.plan.access_key
        return " ".join((text.replace(key, "...") if key else text).split())[:MAX_MESSAGE_CHARS]

    def _end(self, result: Reply | Failure) -> None:
        if not self.ended:
            self.ended = True
            self._done(self, result)


def _load(body: bytes) -> Any:
    """An error's document, or its text."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:MAX_MESSAGE_CHARS].decode("utf-8", "replace")
