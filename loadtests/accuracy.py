"""How often the embedded task-specific models are right, and how long they take, on data that did not make them.

    python -m loadtests.accuracy                                   # the orchestrator, three minutes
    python -m loadtests.accuracy --roles orchestrator,guard,function --write docs/performance.md
    python -m loadtests.accuracy --teacher                         # beside the model they were taught by (needs torch)

Routing is measured on HWU64 (`../shared/data/tlm-train`), none of whose text was used for the weights. The thresholds
were tuned on its sets with an even number and on the hand-written cases; the tables show the odd ones, and many larger
sets drawn from all 57 described intents, whose rank and AUROC no threshold touches.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from loadtests.processes import raise_on_sigterm, say
from plano.inference.calls import Decision, OrchestratorCall, Route, Turn
from plano.inference.embedded.routing import EmbeddedOrchestrator, describe_route

DATA: Final = Path("../shared/data/tlm-train")
BEGIN: Final = "<!-- accuracy:begin (written by `loadtests/accuracy.py --write`, do not edit by hand) -->"
END: Final = "<!-- accuracy:end -->"
ROLES: Final = ("orchestrator", "guard", "function")
SIZES: Final = (5, 10, 20)
DRAWN_SETS: Final = 20
DRAWN_SEED: Final = 11
COLUMNS: Final = ("sets", "requests", "rank 1", "AUROC", "exact", "none when none", "looked twice", "p50 / p95 ms")


class Case(NamedTuple):
    """A request and the routes it is for, in order; none where nothing serves."""

    text: str
    expected: tuple[str, ...]


class RoutingSet(NamedTuple):
    routes: tuple[Route, ...]
    cases: tuple[Case, ...]


class Answer(NamedTuple):
    """`best` and `probability` are what the engine thinks most likely, whatever its threshold says."""

    case: Case
    best: str
    probability: float
    decision: Decision
    looks: int
    seconds: float


def read_sets(data: Path, task: str, parity: int | None = 1) -> Iterator[RoutingSet]:
    """The development sets of a task, those with an odd number (parity None: all of them)."""
    sets: dict[str, list[dict[str, str]]] = json.loads((data / "route_sets_dev.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (data / "routing_dev.jsonl").read_text(encoding="utf-8").splitlines()]
    for name, routes in sets.items():
        cases = tuple(
            Case(row["messages"][-1]["content"], tuple(row["expected"]))
            for row in rows
            if row["route_set"] == name and row["task"] == task
        )
        if cases and (parity is None or int(name.rsplit("_", 1)[1]) % 2 == parity):
            yield RoutingSet(tuple(Route(route["name"], route["description"]) for route in routes), cases)


def draw_sets(data: Path, size: int, count: int = DRAWN_SETS, seed: int = DRAWN_SEED) -> Iterator[RoutingSet]:
    """Sets of `size` described HWU64 intents, with 60 requests of theirs and 20 of other intents each."""
    chooser = random.Random(seed * 100 + size)
    descriptions, requests = read_intents(data)
    labels = sorted(descriptions)
    for _ in range(count):
        chosen = chooser.sample(labels, size)
        others = [label for label in labels if label not in chosen]
        cases = [Case(chooser.choice(requests[label]), (label,)) for label in chooser.choices(chosen, k=60)]
        cases += [Case(chooser.choice(requests[label]), ()) for label in chooser.choices(others, k=20)]
        yield RoutingSet(tuple(Route(label, descriptions[label]) for label in chosen), tuple(cases))


def draw_pairs(data: Path, count: int = DRAWN_SETS, seed: int = DRAWN_SEED) -> Iterator[RoutingSet]:
    """Sets of ten intents with requests for two of them at once: "... and ..."."""
    chooser = random.Random(seed)
    descriptions, requests = read_intents(data)
    labels = sorted(descriptions)
    for _ in range(count):
        chosen = chooser.sample(labels, 10)
        cases: list[Case] = []
        for _ in range(20):
            first, second = chooser.sample(chosen, 2)
            joint = chooser.choice((" and ", " and then ", ", then ", ". "))
            cases.append(
                Case(chooser.choice(requests[first]) + joint + chooser.choice(requests[second]), (first, second))
            )
        yield RoutingSet(tuple(Route(label, descriptions[label]) for label in chosen), tuple(cases))


def read_intents(data: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Description and requests of each described HWU64 intent."""
    descriptions: dict[str, str] = {}
    requests: dict[str, list[str]] = {}
    for line in (data / "routing_intents.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["source"] == "HWU64" and row["description"]:
            descriptions[row["label"]] = row["description"]
            requests.setdefault(row["label"], []).append(row["text"])
    return descriptions, requests


def ask(engine: EmbeddedOrchestrator, sets: Iterable[RoutingSet], multiple: bool = False) -> Iterator[list[Answer]]:
    """The answers of each set. The time of a decision is the thread's CPU time, which other load leaves alone; what the
    first request to a new set of routes costs is not in it."""
    for routes, cases in sets:
        prepared = engine.prepare(routes)
        engine.decide(OrchestratorCall((Turn("user", "is anybody there"),), routes))
        answers: list[Answer] = []
        for case in cases:
            opinion = prepared.judge(case.text)
            call = OrchestratorCall((Turn("user", case.text),), routes, multiple)
            started = time.thread_time()
            decision = engine.decide(call)
            seconds = time.thread_time() - started
            best = prepared.names[opinion.route]
            answers.append(Answer(case, best, opinion.probability, decision, opinion.looks, seconds))
        yield answers


def row(name: str, by_set: Sequence[Sequence[Answer]]) -> str:
    """One line of the table."""
    answers = [answer for group in by_set for answer in group]
    served = [answer for answer in answers if answer.case.expected]
    unserved = [answer for answer in answers if not answer.case.expected]
    areas = [
        auroc([a.probability for a in group if a.case.expected], [a.probability for a in group if not a.case.expected])
        for group in by_set
        if any(not a.case.expected for a in group) and any(a.case.expected for a in group)
    ]
    times = np.sort([answer.seconds for answer in answers]) * 1e3
    cells = [
        str(len(by_set)),
        str(len(answers)),
        percent([answer.best in answer.case.expected for answer in served]),
        f"{np.mean(areas):.3f}" if areas else "",
        percent([answer.decision.routes == answer.case.expected for answer in answers]),
        percent([not answer.decision.routes for answer in unserved]) if unserved else "",
        percent([answer.looks == 2 for answer in answers]),
        f"{np.percentile(times, 50):.2f} / {np.percentile(times, 95):.1f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def percent(hits: Sequence[bool]) -> str:
    return f"{100 * float(np.mean(hits)):.1f} %"


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a request that is served scores above one that is not (ties count half)."""
    above = np.asarray(positive)[:, None] - np.asarray(negative)[None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def report_orchestrator(data: Path, teacher: bool = False) -> str:
    """The tables as Markdown."""
    threadpool_limits(limits=1)
    engine = EmbeddedOrchestrator()
    lines = [f"| routing on unseen text | {' | '.join(COLUMNS)} |", "|---|" + "--:|" * len(COLUMNS)]
    for size in SIZES:
        say(f"accuracy: {size} routes")
        lines.append(row(f"HWU64, {size} routes, odd dev sets", list(ask(engine, read_sets(data, f"hwu_rand{size}")))))
        lines.append(row(f"HWU64, {size} routes, drawn", list(ask(engine, draw_sets(data, size)))))
    lines.append(row("HWU64, two intents, 10 routes", list(ask(engine, draw_pairs(data), multiple=True))))
    hand = list(ask(engine, read_sets(data, "hand_dev", None), multiple=True))
    lines.append(row("hand-written (thresholds tuned on it)", hand))
    parts = ["\n".join(lines)]
    if teacher:
        parts.append(report_teacher(data))
    parts.append(
        "`exact`: the decision is right with the shipped threshold, requests that nothing serves included. `none when "
        "none`: requests that nothing serves and for which no route was named. Times are CPU time of one thread per "
        "decision. HWU64's intents are close to each other; `--teacher` measures the model that taught these."
    )
    return "\n\n".join(parts)


def report_teacher(data: Path) -> str:
    """Rank 1 of all-MiniLM-L6-v2 by plain cosine on the same drawn sets. Needs the extra `[training]`."""
    embed: Callable[[Sequence[str]], NDArray[np.float32]] = importlib.import_module("training.teacher").Teacher().embed
    lines = ["| all-MiniLM-L6-v2, cosine | rank 1 | AUROC |", "|---|--:|--:|"]
    for size in SIZES:
        hits: list[bool] = []
        areas: list[float] = []
        for routes, cases in draw_sets(data, size):
            scores = embed([case.text for case in cases]) @ embed([describe_route(route) for route in routes]).T
            best = scores.argmax(axis=1)
            hits += [
                routes[place].name in case.expected for place, case in zip(best, cases, strict=True) if case.expected
            ]
            top = scores.max(axis=1)
            served = np.array([bool(case.expected) for case in cases])
            areas.append(auroc(top[served].tolist(), top[~served].tolist()))
        lines.append(f"| HWU64, {size} routes, drawn | {percent(hits)} | {np.mean(areas):.3f} |")
    return "\n".join(lines)


def report(role: str, options: argparse.Namespace) -> str:
    """The section of a role. The guard's and the function's are made by modules of their own."""
    if role == "orchestrator":
        return report_orchestrator(options.data, options.teacher)
    section: str = importlib.import_module(f"loadtests.accuracy_{role}").report()
    return section


def write_page(page: Path, section: str) -> None:
    """Put the section between the markers of the page, or at its end where it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if bool(begin) != bool(end):
        raise SystemExit(f"{page} has only one of the two markers of this section")
    if not begin:
        before, after = f"{text.rstrip()}\n\n## How often the embedded models are right\n\n", "\n"
    page.write_text(f"{before}{BEGIN}\n{section.strip()}\n{END}{after}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--roles", default="orchestrator", help="of orchestrator,guard,function")
    parser.add_argument("--teacher", action="store_true")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args(arguments)
    raise_on_sigterm()
    roles: list[Any] = [role for role in options.roles.split(",") if role in ROLES]
    command = "    python -m loadtests.accuracy " + " ".join(sys.argv[1:] if arguments is None else arguments)
    section = "\n\n".join(
        [*(f"### {role.capitalize()}\n\n{report(role, options)}" for role in roles), command.rstrip()]
    )
    print(section)
    if options.write:
        write_page(options.write, section)


if __name__ == "__main__":
    main()
