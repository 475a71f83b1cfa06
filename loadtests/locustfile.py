"""Load on a model listener: chat completions, whole and streamed, with time to first token as its own metric.

    locust -f loadtests/locustfile.py --headless -u 20 -r 20 -t 10s --host http://127.0.0.1:12000

Every answer is checked; one wrong answer makes the exit status 1. What the rows of the report mean, and the options,
stand in README.md beside this file.
"""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, ClassVar

import gevent
import orjson
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import ResponseContextManager
from locust.env import Environment

CHAT = "chat"
STREAM = "stream chat"
TIME_TO_FIRST_TOKEN = f"ttft {STREAM}"
LONGEST_GAP = f"gap {STREAM}"
CHUNKS = f"chunks {STREAM}"
EXTRA_ROWS = (TIME_TO_FIRST_TOKEN, LONGEST_GAP, CHUNKS)

PATH = "/v1/chat/completions"
FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
WEIGHT_STEPS = 1000
PROMPT_WORDS = ("Tell", "me", "what", "the", "gateway", "adds", "to", "the", "time", "of", "this", "answer.")


class WrongAnswerError(Exception):
    """An answer that arrived and is not what a chat completion must be."""


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Add our options; each can come from the environment instead."""
    group = parser.add_argument_group("chat completions")
    group.add_argument("--model", env_var="PLANO_LOAD_MODEL", default="demo-chat", help="the model to ask for")
    group.add_argument("--stream-share", env_var="PLANO_LOAD_STREAM_SHARE", type=float, default=0.5, help="0 to 1")
    group.add_argument("--max-tokens", env_var="PLANO_LOAD_MAX_TOKENS", type=int, default=128, help="of each answer")
    group.add_argument(
        "--prompt-words", env_var="PLANO_LOAD_PROMPT_WORDS", type=int, default=100, help="of each question"
    )
    group.add_argument(
        "--think-s", env_var="PLANO_LOAD_THINK_S", type=float, default=0.0, help="pause between requests"
    )
    group.add_argument(
        "--stop-after", env_var="PLANO_LOAD_STOP_AFTER", type=int, default=0, help="answers of each kind"
    )
    group.add_argument("--answer-timeout-s", env_var="PLANO_LOAD_TIMEOUT_S", type=float, default=120.0, help="per read")


@events.init.add_listener
def share_users(environment: Environment, **_: Any) -> None:
    """Give the two kinds of users the share that was asked for."""
    options = environment.parsed_options
    if options is None:
        return
    if not 0 <= options.stream_share <= 1:
        raise ValueError(f"--stream-share must lie between 0 and 1, not at {options.stream_share}")
    StreamUser.weight = round(options.stream_share * WEIGHT_STEPS)
    ChatUser.weight = WEIGHT_STEPS - StreamUser.weight
    wanted = [user for user in environment.user_classes if user.weight]
    if wanted:
        environment.user_classes[:] = wanted


@events.init.add_listener
def stop_after_enough(environment: Environment, **_: Any) -> None:
    """End the run when each kind of user has had as many answers as were asked for, right or wrong."""
    options = environment.parsed_options
    if options is None or not options.stop_after:
        return
    missing = {user.row: options.stop_after for user in environment.user_classes}

    def count(name: str, **_: Any) -> None:
        if name in missing:
            missing[name] -= 1
            if all(left <= 0 for left in missing.values()):
                missing.clear()
                # Not from here: quitting kills the users, and one of them is who called.
                gevent.spawn(environment.runner.quit)

    environment.events.request.add_listener(count)


@events.quitting.add_listener
def refuse_empty_run(environment: Environment, **_: Any) -> None:
    """A run that measured nothing has not passed."""
    if environment.stats.total.num_requests == 0:
        environment.process_exit_code = 1


@dataclass
class StreamReading:
    """What has been seen of one stream. Times are seconds of `time.perf_counter`."""

    started_s: float
    first_token_s: float | None = None
    newest_s: float | None = None
    longest_gap_s: float = 0.0
    chunks: int = 0
    finish_reasons: dict[int, str] = field(default_factory=dict)
    done: bool = False

    def take(self, data: bytes, now_s: float) -> None:
        """Take the data of one event. Raises WrongAnswerError."""
        if self.done:
            raise WrongAnswerError("an event came after [DONE]")
        if data == b"[DONE]":
            self.done = True
            return
        chunk = parse_object(data)
        for choice in chunk.get("choices") or ():
            if choice.get("finish_reason"):
                self.finish_reasons[choice["index"]] = choice["finish_reason"]
            delta = choice.get("delta") or {}
            if delta.get("content") or delta.get("tool_calls") or delta.get("reasoning_content"):
                self._take_content(now_s)

    def _take_content(self, now_s: float) -> None:
        self.chunks += 1
        if self.newest_s is None:
            self.first_token_s = now_s - self.started_s
        else:
            self.longest_gap_s = max(self.longest_gap_s, now_s - self.newest_s)
        self.newest_s = now_s

    def check(self) -> None:
        """Raise WrongAnswerError where the stream was not a whole answer."""
        if self.first_token_s is None:
            raise WrongAnswerError("the stream held no content")
        if not self.finish_reasons or not FINISH_REASONS.issuperset(self.finish_reasons.values()):
            raise WrongAnswerError("the stream named no reason for its finish")
        if not self.done:
            raise WrongAnswerError("the stream ended without [DONE]")


class Caller(FastHttpUser):
    """What both kinds of users have in common."""

    abstract = True
    row: ClassVar[str]

    def __init__(self, environment: Environment) -> None:
        options = environment.parsed_options or Namespace()
        # Read by the client when it is made, which the parent does.
        self.network_timeout = self.connection_timeout = options.answer_timeout_s
        super().__init__(environment)
        self._think_s = options.think_s
        self._body = {
            "model": options.model,
            "messages": [{"role": "user", "content": make_prompt(options.prompt_words)}],
            "max_tokens": options.max_tokens,
        }
        # Only from the environment: a key on the command line is readable by everyone on the machine.
        key = os.environ.get("PLANO_LOAD_API_KEY", "sk-load")
        self._headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"}

    def wait_time(self) -> float:
        """Return the pause before the next request, in seconds."""
        return float(self._think_s)


class ChatUser(Caller):
    """Asks for whole answers."""

    row = CHAT

    @task
    def ask(self) -> None:
        """Ask once and check the answer."""
        with self.client.post(PATH, name=CHAT, json=self._body, headers=self._headers, catch_response=True) as answer:
            try:
                check_status(answer)
                check_completion(parse_object(answer.content))
            except WrongAnswerError as error:
                answer.failure(error)


class StreamUser(Caller):
    """Asks for streamed answers, and times their tokens."""

    row = STREAM

    @task
    def ask(self) -> None:
        """Ask once, read the stream to its end and check it."""
        reading = StreamReading(time.perf_counter())
        body = self._body | {"stream": True}
        with self.client.post(
            PATH, name=STREAM, json=body, headers=self._headers, stream=True, catch_response=True
        ) as answer:
            try:
                check_status(answer)
                received = 0
                for line in read_lines(answer):
                    received += len(line)
                    if line.startswith(b"data:"):
                        reading.take(line[5:].strip(), time.perf_counter())
                    elif line.startswith(b"{") or line.startswith(b"<"):
                        raise WrongAnswerError("the body is no event stream")
                reading.check()
            except WrongAnswerError as error:
                answer.failure(error)
            except Exception as error:  # noqa: BLE001 - whatever breaks a stream is a result of the test
                answer.failure(WrongAnswerError(f"the stream broke: {type(error).__name__}"))
            else:
                self._report(reading)
            finally:
                release(answer)
            # Locust took the time of the head; what counts for a stream is its end.
            answer.request_meta["response_time"] = (time.perf_counter() - reading.started_s) * 1000

    def _report(self, reading: StreamReading) -> None:
        assert reading.first_token_s is not None
        values = (reading.first_token_s * 1000, reading.longest_gap_s * 1000, reading.chunks)
        for name, value in zip(EXTRA_ROWS, values, strict=True):
            self.environment.events.request.fire(
                request_type="SSE", name=name, response_time=value, response_length=0, exception=None, context={}
            )


def make_prompt(words: int) -> str:
    """Return a question of that many words."""
    return " ".join(islice(cycle(PROMPT_WORDS), max(1, words)))


def check_status(answer: ResponseContextManager) -> None:
    """Raise WrongAnswerError for anything but a 200 that came whole (as far as locust has read it)."""
    if answer.status_code == 0:
        raise WrongAnswerError(f"no answer: {type(answer.error).__name__}")
    if answer.status_code != 200:
        raise WrongAnswerError(f"status {answer.status_code}")
    broken = answer.request_meta["exception"]
    if broken is not None:
        raise WrongAnswerError(f"the answer broke: {type(broken).__name__}")


def parse_object(text: bytes | None) -> dict[str, Any]:
    """Return a JSON object. Raises WrongAnswerError where it is none, or holds an error."""
    try:
        value = orjson.loads(text or b"")
    except orjson.JSONDecodeError as error:
        raise WrongAnswerError("not JSON") from error
    if not isinstance(value, dict):
        raise WrongAnswerError("no JSON object")
    if value.get("error"):
        raise WrongAnswerError("an error in a 200")
    return value


def check_completion(completion: dict[str, Any]) -> None:
    """Raise WrongAnswerError where a chat completion is not a whole answer."""
    choices = completion.get("choices")
    if not isinstance(choices, list) or not choices:
        raise WrongAnswerError("no choices")
    for choice in choices:
        message = choice.get("message") or {}
        if not message.get("content") and not message.get("tool_calls"):
            raise WrongAnswerError("an empty message")
        if choice.get("finish_reason") not in FINISH_REASONS:
            raise WrongAnswerError("no reason for the finish")


def read_lines(answer: ResponseContextManager) -> Iterator[bytes]:
    """Yield the lines of a stream as they arrive.

    Locust's own `iter_lines` waits for 1024 bytes at a time, which would make every token late.
    """
    stream = answer.stream
    while line := stream.readline(b"\n"):
        yield bytes(line)


def release(answer: ResponseContextManager) -> None:
    """Close a connection whose stream was not read to its end; locust keeps the others for the next request."""
    if answer.status_code:
        answer.release()
