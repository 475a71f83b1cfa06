"""An example from start to end: start its stage, send its requests, say what comes of them and whether it is right.

    python -m demos.travel [--once] [--free-ports]

With `--once` it ends when the requests are answered: status 0 when all of them were answered as they should be.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shlex
import signal
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from demos.stage import Set, Stage, StageError

PATH = "/v1/chat/completions"
REPLY_TIMEOUT_S = 60.0
LINES_TIMEOUT_S = 5.0  # what a service says may come a moment later than the answer that it had a part in
TRIES = 5
AGAIN_AFTER_S = 0.5
WIDTH = 110


@dataclass(frozen=True, slots=True)
class Scene:
    """A request, and what should come of it.

    `messages` is the conversation: what the user says, what was answered, and so on in turns. `says` are parts of the
    answer, `lacks` what it must not hold; `told` are parts of lines of the services, in this order, and the services in
    `silent` say nothing. `route` is what was decided (`x-plano-route`).
    """

    title: str
    listener: str
    messages: tuple[str, ...]
    stream: bool = False
    status: int = 200
    route: str | None = None
    says: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    def body(self) -> str:
        """The request as a client sends it."""
        turns = [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(self.messages)]
        body: dict[str, Any] = {"messages": turns}
        if self.stream:
            body["stream"] = True
        return json.dumps(body, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `degraded` names a model of Plano's that did not answer in time."""

    status: int
    route: str
    degraded: str
    text: str


@dataclass(frozen=True, slots=True)
class Show:
    """An example: what it shows in a line, what it needs, and its requests."""

    title: str
    needs: Set
    scenes: tuple[Scene, ...]


def perform(show: Show) -> int:
    """Run an example as the command line wants it; returns the exit status."""
    parser = argparse.ArgumentParser(description=show.title)
    parser.add_argument("--once", action="store_true", help="end when the requests are answered; 0: all as they should")
    parser.add_argument("--free-ports", action="store_true", help="any free ports instead of those in config.yaml")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    stage = Stage(show.needs, free_ports=options.free_ports)
    try:
        print(f"{show.title}\nstarting a model provider, {len(show.needs.services)} services, and Plano", flush=True)
        with stage:
            _introduce(show, stage)
            wrong = sum(not _play(number, scene, stage) for number, scene in enumerate(show.scenes, 1))
            stage.say("All of it worked." if not wrong else f"{wrong} of {len(show.scenes)} went wrong.")
            if not options.once:
                _stay(stage)
            return 1 if wrong else 0
    except StageError as error:
        print(f"The example does not work: {error}", flush=True)
        return 1
    except _Stopped:
        print("stopped", flush=True)
        return 0


class _Stopped(BaseException):
    """Ctrl-C, or a signal that asks for the same."""


def _stop(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)  # the end, which has begun, is not to be stopped
    raise _Stopped


def _introduce(show: Show, stage: Stage) -> None:
    for name in show.needs.ports:
        stage.say(f"   {name:>10}  {stage.url(name)}")
    stage.say(f"   {'admin':>10}  {stage.admin_url}/metrics")
    stage.say()


def _stay(stage: Stage) -> None:
    stage.say("\nEverything stays up until Ctrl-C. Type one of the curl lines above, or your own.")
    while (ended := stage.find_ended()) is None:
        time.sleep(0.5)
    raise StageError(f"{ended} has ended")


def _play(number: int, scene: Scene, stage: Stage) -> bool:
    """Send the request of a scene and show what happens. Was it all as it should be?"""
    url = stage.url(scene.listener) + PATH
    stage.say(f"{number}. {scene.title}")
    flags = "-sN" if scene.stream else "-s"
    stage.say(f"   curl {flags} {url} -H 'content-type: application/json' -d {shlex.quote(scene.body())}")
    for attempt in range(1, TRIES + 1):
        mark = stage.mark()
        try:
            reply = _send(url, scene)
        except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
            stage.say(f"   WRONG: no answer ({error!r})\n")
            return False
        if not reply.degraded or attempt == TRIES:
            break
        # A machine that is very busy: requests go on without what was not decided in time.
        stage.say(f"   the {reply.degraded} model did not answer; once more")
        time.sleep(AGAIN_AFTER_S)
    faults = list(_judge(scene, reply, stage, mark))
    route = f", route: {reply.route}" if reply.route else ""
    stage.say(f"   -> {reply.status}{route}")
    for line in reply.text.splitlines():
        for piece in textwrap.wrap(line, WIDTH) or [""]:
            stage.say(f"      {piece}")
    for fault in faults:
        stage.say(f"   WRONG: {fault}")
    stage.say()
    return not faults


def _judge(scene: Scene, reply: Reply, stage: Stage, mark: int) -> Iterator[str]:
    if reply.status != scene.status:
        yield f"the status should be {scene.status}"
    if scene.route is not None and reply.route != scene.route:
        yield f"the route should be {scene.route!r}"
    for part in scene.says:
        if part not in reply.text:
            yield f"the answer should hold {part!r}"
    for part in scene.lacks:
        if part in reply.text:
            yield f"the answer should not hold {part!r}"
    deadline_s = time.monotonic() + LINES_TIMEOUT_S
    while (missing := _find_untold(scene, stage, mark)) is not None and time.monotonic() < deadline_s:
        time.sleep(0.02)
    if missing is not None:
        yield f"the services should have said {missing!r}, after what else they should have said"
    for line in stage.lines_since(mark):
        if line.service in scene.silent:
            yield f"{line.service} should not have been asked"


def _find_untold(scene: Scene, stage: Stage, mark: int) -> str | None:
    """The first of what the services should have said that they have not; each must come after the one before."""
    lines = iter(stage.lines_since(mark))
    for part in scene.told:
        if not any(part in f"{line.service}: {line.text}" for line in lines):
            return part
    return None


def _send(url: str, scene: Scene) -> Reply:
    parts = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(parts[0], timeout=REPLY_TIMEOUT_S)
    try:
        connection.request("POST", "/" + parts[2], scene.body().encode(), {"content-type": "application/json"})
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    return Reply(
        response.status,
        response.headers.get("x-plano-route", ""),
        response.headers.get("x-plano-degraded", ""),
        _read_events(data) if is_stream else _read_document(data),
    )


def _read_document(data: bytes) -> str:
    document = json.loads(data)
    if "error" in document:
        error = document["error"]
        return str(error["message"] if isinstance(error, dict) else document)
    return str(document["choices"][0]["message"]["content"])


def _read_events(data: bytes) -> str:
    """The text of a stream. Raises ValueError for one that does not end as it should."""
    text = ""
    events = [line.removeprefix("data: ") for line in data.decode().splitlines() if line.startswith("data: ")]
    if not events or events[-1] != "[DONE]":
        raise ValueError("the stream has no end")
    for event in events[:-1]:
        for choice in json.loads(event)["choices"]:
            delta = choice["delta"]
            if delta.get("role") != "tool":  # what an API has said comes before the answer (prompt targets)
                text += delta.get("content") or ""
    return text
