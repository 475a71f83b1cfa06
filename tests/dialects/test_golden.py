"""Golden files: one folder per feature, one file per dialect and direction, for every pair of dialects.

    client.D.json           a request in client dialect D
    upstream.U.json         that request for upstream dialect U (the model stays the client's own), or
                            {"untranslatable": the field that it has nothing for}
    dropped.U.json          names of what was left out for it, checked where there is such a file
    answer.U.json           an answer of upstream dialect U
    answer-for.D.json       that answer for client dialect D
    stream.U.txt (.hex)     a recorded stream of upstream dialect U (.hex: binary, in hexadecimal, spaces ignored)
    stream-for.D.txt        that stream for client dialect D

The expected files are `upstream.U.from-D.json`, `answer-for.D.from-U.json` and so on where they depend on what they
came from; one without `from-` holds for all sources. An expected file that is not there fails its test;
`PLANO_GOLDEN=chat pytest ...` writes those of chat (or several, by commas): read them before you commit them. With both
`answer.U.json` and `stream.U.txt` in a folder the two must be the same answer.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from plano.dialects.assembly import Assembler
from plano.dialects.conversation import Answer, Conversation, Dropped, Text, Turn, Untranslatable
from plano.dialects.events import Ended, Event

GOLDEN = Path(__file__).parent / "golden"
CLIENTS = ("chat", "messages", "responses")
UPSTREAMS = ("chat", "messages", "responses", "converse", "gemini")
CREATED = 1700000000
WRITTEN = os.environ.get("PLANO_GOLDEN", "").split(",")


def module_of(dialect: str, part: str) -> Any:
    return importlib.import_module(f"plano.dialects.{dialect}.{part}")


def expected_file(folder: Path, kind: str, target: str, source: str, suffix: str) -> Path:
    shared = folder / f"{kind}.{target}.{suffix}"
    return shared if shared.exists() else folder / f"{kind}.{target}.from-{source}.{suffix}"


def cases(kind: str, sources: tuple[str, ...], targets: tuple[str, ...]) -> list[Any]:
    """(folder, source, target) for everything that is to be translated, and every dialect to translate it to."""
    return [
        pytest.param(folder, source, target, id=f"{folder.name}-{source}-to-{target}")
        for folder in sorted(path for path in GOLDEN.glob("*") if path.is_dir())
        for source in sources
        if any((folder / f"{kind}.{source}.{end}").exists() for end in ("json", "txt", "hex"))
        for target in targets
    ]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def is_wanted(path: Path) -> bool:
    """Is this an expected file to be written? It fails the test where it is missing and nobody asked for it."""
    if path.exists():
        return False
    assert path.name.split(".")[1] in WRITTEN, f"{path.relative_to(GOLDEN)} is missing"
    return True


def check(path: Path, value: Any) -> None:
    if is_wanted(path):
        path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    assert value == read(path), f"differs from {path.relative_to(GOLDEN)}"


def conversation_of(folder: Path, client: str) -> Conversation:
    """The request that an answer in this folder answers: the folder's own, else a plain one."""
    path = folder / f"client.{client}.json"
    if path.exists():
        conversation: Conversation = module_of(client, "request").parse_request(read(path))
        return conversation
    return Conversation("model", [Turn("user", [Text("Hello")])], stream=True, include_usage=True)


def recorded(folder: Path, dialect: str) -> bytes:
    binary = folder / f"stream.{dialect}.hex"
    if binary.exists():
        return bytes.fromhex("".join(binary.read_text().split()))
    return (folder / f"stream.{dialect}.txt").read_bytes()


def read_stream(dialect: str, conversation: Conversation, *pieces: bytes) -> list[Event]:
    reader = module_of(dialect, "stream").Reader(conversation)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.end()


def assemble(dialect: str, events: list[Event]) -> Answer:
    assembler = Assembler(dialect)
    for event in events:
        assembler.add(event)
    return assembler.answer()


@pytest.mark.parametrize(("folder", "client", "upstream"), cases("client", CLIENTS, UPSTREAMS))
def test_a_request_is_rendered_for_an_upstream(folder: Path, client: str, upstream: str) -> None:
    conversation = module_of(client, "request").parse_request(read(folder / f"client.{client}.json"))
    dropped = Dropped()
    try:
        body = module_of(upstream, "request").render_request(conversation, conversation.model or "model", dropped)
    except Untranslatable as error:
        body = {"untranslatable": error.param}
    check(expected_file(folder, "upstream", upstream, client, "json"), body)
    names = expected_file(folder, "dropped", upstream, client, "json")
    if names.exists():
        assert dropped.names == read(names)


@pytest.mark.parametrize(("folder", "upstream", "client"), cases("answer", UPSTREAMS, CLIENTS))
def test_an_answer_is_rendered_for_a_client(folder: Path, upstream: str, client: str) -> None:
    answer = module_of(upstream, "answer").parse_answer(read(folder / f"answer.{upstream}.json"))
    body = module_of(client, "answer").render_answer(answer, conversation_of(folder, client), CREATED)
    check(expected_file(folder, "answer-for", client, upstream, "json"), body)


@pytest.mark.parametrize(("folder", "upstream", "client"), cases("stream", UPSTREAMS, CLIENTS))
def test_a_stream_is_rendered_for_a_client(folder: Path, upstream: str, client: str) -> None:
    conversation = conversation_of(folder, client)
    writer = module_of(client, "stream").Writer(conversation, CREATED)
    events = read_stream(upstream, conversation, recorded(folder, upstream))
    text = b"".join(writer.write(event) for event in events).decode()
    path = expected_file(folder, "stream-for", client, upstream, "txt")
    if is_wanted(path):
        path.write_text(text)
    assert text == path.read_text(), f"differs from {path.relative_to(GOLDEN)}"


STREAMS = [
    pytest.param(folder, dialect, id=f"{folder.name}-{dialect}")
    for folder in sorted(path for path in GOLDEN.glob("*") if path.is_dir())
    for dialect in UPSTREAMS
    if (folder / f"stream.{dialect}.txt").exists() or (folder / f"stream.{dialect}.hex").exists()
]


@pytest.mark.parametrize(("folder", "dialect"), STREAMS)
def test_every_byte_boundary_of_a_recorded_stream_gives_the_same_answer(folder: Path, dialect: str) -> None:
    conversation = conversation_of(folder, dialect if dialect in CLIENTS else "chat")
    data = recorded(folder, dialect)
    events = read_stream(dialect, conversation, data)
    whole = assemble(dialect, events)
    assert isinstance(events[-1], Ended)
    for cut in range(1, len(data), max(1, len(data) // 400)):
        assert read_stream(dialect, conversation, data[:cut], data[cut:]) == events, cut
    pieces = [data[place : place + 1] for place in range(len(data))]
    assert assemble(dialect, read_stream(dialect, conversation, *pieces)) == whole


@pytest.mark.parametrize(("folder", "dialect"), STREAMS)
def test_a_recorded_stream_is_the_answer_that_stands_beside_it(folder: Path, dialect: str) -> None:
    path = folder / f"answer.{dialect}.json"
    if not path.exists():
        pytest.skip("no answer to compare with")
    answer = module_of(dialect, "answer").parse_answer(read(path))
    conversation = conversation_of(folder, dialect if dialect in CLIENTS else "chat")
    streamed = assemble(dialect, read_stream(dialect, conversation, recorded(folder, dialect)))
    assert (streamed.blocks, streamed.stop, streamed.stop_sequence) == (
        answer.blocks,
        answer.stop,
        answer.stop_sequence,
    )
    assert streamed.usage == answer.usage
    assert [(choice.index, choice.blocks) for choice in streamed.alternatives] == [
        (choice.index, choice.blocks) for choice in answer.alternatives
    ]
