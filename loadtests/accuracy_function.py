"""How well the embedded function role chooses tools, and how often it calls one wrongly.

    python -m loadtests.accuracy_function            # the table
    python -m loadtests.accuracy_function --wrong    # and every wrong call

The cases are in `loadtests/data` (hand-written, CC0): requests that say everything, requests that leave something out,
requests for several calls at once, requests that no tool serves, and replies to a question that was asked back. The
rules were written with the cases of `function` at hand (50 tools). `function_unseen` (25 other tools) was written after
them; when it was first tried 2.3 % of its prompts got a wrong call and 40 % of the full ones the right one, and what it
showed to be missing was then added. Both are development sets: on other people's tools the figures are lower.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from plano.inference.calls import FunctionAnswer, FunctionCall, Tool
from plano.inference.embedded.function import EmbeddedFunction, Ranker

DATA: Final = Path(__file__).parent / "data"
SETS: Final = ("function", "function_unseen")
DISTRACTORS: Final = 3
COLUMNS: Final = ("prompts", "tool chosen", "called", "exact", "wrong calls", "asked")


class Case(NamedTuple):
    """`kind`: call, missing, several, irrelevant or reply. `tool` is the right one ("" for irrelevant), `arguments` the
    ones of the right call."""

    kind: str
    text: str
    history: tuple[tuple[str, str], ...]
    tools: tuple[Tool, ...]
    tool: str
    arguments: dict[str, Any]


class Outcome(NamedTuple):
    case: Case
    answer: FunctionAnswer
    seconds: float

    @property
    def exact(self) -> bool:
        calls = self.answer.calls
        return (
            self.case.kind in ("call", "reply")
            and len(calls) == 1
            and calls[0].name == self.case.tool
            and calls[0].arguments == self.case.arguments
        )

    @property
    def wrong(self) -> bool:
        return self.answer.outcome == "calls" and not self.exact

    @property
    def chosen(self) -> bool:
        return bool(self.answer.candidates) and self.answer.candidates[0] == self.case.tool


def read_cases(name: str, distractors: int, seed: int = 7) -> Iterator[Case]:
    """The cases of the set `name`, each with its own tools and `distractors` others; the seed alone decides which."""
    described = json.loads((DATA / f"{name}_tools.json").read_text(encoding="utf-8"))
    tools = {key: Tool(key, tool["description"], tool["parameters"]) for key, tool in described.items()}
    draw = random.Random(seed)
    with (DATA / f"{name}_cases.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            names = case.get("tools") or [case["tool"]]
            others = sorted(tools.keys() - set(names))
            if case["kind"] != "irrelevant":
                names = [*names, *draw.sample(others, distractors)]
            draw.shuffle(names)
            yield Case(
                case["kind"],
                case["text"],
                tuple((role, text) for role, text in case.get("history", ())),
                tuple(tools[name] for name in names),
                case.get("tool", ""),
                case.get("arguments", {}),
            )


def measure(role: EmbeddedFunction, distractors: int = DISTRACTORS, name: str = "function") -> list[Outcome]:
    """Every case of the set `name` put to `role`."""
    outcomes: list[Outcome] = []
    for case in read_cases(name, distractors):
        messages = [{"role": speaker, "content": text} for speaker, text in case.history]
        call = FunctionCall((*messages, {"role": "user", "content": case.text}), case.tools)
        began = time.perf_counter()
        answer = role.answer(call)
        outcomes.append(Outcome(case, answer, time.perf_counter() - began))
    return outcomes


def measure_all(role: EmbeddedFunction) -> Iterator[tuple[str, list[Outcome]]]:
    """Every set, with the right tool alone and among others: what was measured, and the outcomes."""
    for name in SETS:
        for distractors in (0, DISTRACTORS):
            title = f"`{name}`, {1 + distractors} tools per request (irrelevant ones: as they are)"
            yield title, measure(role, distractors, name)


def report() -> str:
    """All tables as Markdown, for the page of measurements."""
    role = EmbeddedFunction(load_ranker())
    return "\n\n".join(
        f"{title}\n\n{tabulate(outcomes)}\n\n{latency(outcomes)}" for title, outcomes in measure_all(role)
    )


def tabulate(outcomes: list[Outcome]) -> str:
    """A Markdown table, one line per kind of case."""
    lines = [f"| cases | {' | '.join(COLUMNS)} |", "|---|" + "--:|" * len(COLUMNS)]
    for kind in (*dict.fromkeys(outcome.case.kind for outcome in outcomes), "all"):
        rows = [outcome for outcome in outcomes if kind in ("all", outcome.case.kind)]
        with_tool = [row for row in rows if row.case.tool]
        cells = [
            str(len(rows)),
            _share([row.chosen for row in with_tool]),
            _share([row.answer.outcome == "calls" for row in rows]),
            _share([row.exact for row in rows if row.case.kind in ("call", "reply")]),
            _share([row.wrong for row in rows]),
            _share([row.answer.outcome == "clarify" for row in rows]),
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def latency(outcomes: list[Outcome]) -> str:
    """p50 and p95 of an answer, in milliseconds."""
    times = sorted(outcome.seconds for outcome in outcomes)
    return f"p50 {times[len(times) // 2] * 1e3:.2f} ms, p95 {times[int(len(times) * 0.95)] * 1e3:.2f} ms"


def _share(hits: list[bool]) -> str:
    return f"{100 * sum(hits) / len(hits):.1f} %" if hits else ""


def load_ranker() -> Ranker:
    """The ranker that the embedded engine uses."""
    from plano.inference.embedded.vectors import TextRanker

    return TextRanker()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--wrong", action="store_true", help="list every wrong call")
    options = parser.parse_args()
    role = EmbeddedFunction(load_ranker())
    for title, outcomes in measure_all(role):
        print(f"\n{title}\n\n{tabulate(outcomes)}\n\n{latency(outcomes)}")
        if options.wrong:
            for outcome in outcomes:
                if outcome.wrong:
                    print(f"{outcome.case.kind}: {outcome.case.text!r} -> {outcome.answer.calls}")


if __name__ == "__main__":
    main()
