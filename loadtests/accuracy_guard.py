"""How much the embedded guard finds of attacks of which it has seen no kind, and how long it takes.

    python -m loadtests.accuracy_guard            # retrains six times, each time without some families: ten minutes
    python -m loadtests.accuracy_guard --quick    # with a fifth of our own training text

Needs `pip install -e '.[training]'` and the training data (`../shared/data/tlm-train`). Every figure of the first two
tables is of a model that was trained without the family it is asked about, attacks and the harmless texts written
against them alike; the thresholds are those at which one in a hundred unseen harmless texts of traffic is flagged.
The last table is of the shipped weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plano.inference.embedded.guard import EmbeddedGuard
from training.guard import CONFUSING, DATA, find_thresholds, fit_surprise
from training.guard_corpus import DATA as OWN_DATA
from training.guard_corpus import Sample, read_corpus, read_dev
from training.guard_folds import cross_score, deal_folds, separate
from training.guard_model import Settings, lay_out, read_lexicon

QUICK_SHARE = 0.2
LENGTHS = (50, 200, 1_000, 10_000)
LETTER = (
    "Thank you for your message of last Tuesday. We have looked at the three rooms you described and would like to "
    "book the one with the balcony for two adults from the 4th to the 9th of May. Is breakfast included, and can we "
    "leave the bicycles somewhere dry? "
)


def report(share: float = QUICK_SHARE, data: Path = DATA) -> str:
    """The tables, in Markdown. `share`: of our own training text."""
    samples = read_corpus(data, share)
    settings = Settings()
    design = lay_out(
        [sample.text for sample in samples], fit_surprise(data), read_lexicon(OWN_DATA / "guard_lexicon.txt"), settings
    )
    scores = cross_score(samples, design, deal_folds(samples), settings)
    return "\n\n".join((tabulate_families(samples, scores), tabulate_shipped(EmbeddedGuard())))


def tabulate_families(samples: Sequence[Sample], scores: NDArray[np.float64]) -> str:
    """Of held-out families: AUROC and recall of attacks, false positives among harmless texts."""
    attack = np.array([sample.attack for sample in samples])
    family = np.array([sample.family for sample in samples])
    traffic = ~attack & ~np.isin(family, sorted(CONFUSING))
    block, flag = find_thresholds(samples, scores)
    lines = ["| attacks never seen | texts | AUROC | flagged | blocked |", "|---|--:|--:|--:|--:|"]
    rows = []
    for name in sorted(set(family[attack])):
        found = scores[attack & (family == name)]
        rows.append((separate(found, scores[traffic]).auroc, (found > flag).mean(), (found > block).mean()))
        lines.append(f"| {name} | {len(found)} | {rows[-1][0]:.3f} | {rows[-1][1]:.1%} | {rows[-1][2]:.1%} |")
    auroc, flagged, blocked = np.mean(rows, axis=0)
    lines.append(f"| **mean of the families** | {attack.sum()} | **{auroc:.3f}** | **{flagged:.1%}** | {blocked:.1%} |")
    lines += ["", "| harmless texts never seen | texts | flagged | blocked |", "|---|--:|--:|--:|"]
    for name in sorted(set(family[~attack])):
        found = scores[~attack & (family == name)]
        note = " (made to confuse)" if name in CONFUSING else ""
        lines.append(f"| {name}{note} | {len(found)} | {(found > flag).mean():.2%} | {(found > block).mean():.2%} |")
    return "\n".join(lines)


def tabulate_shipped(guard: EmbeddedGuard) -> str:
    """The shipped weights: the hand-written texts that nothing was trained on, and the time a verdict takes."""
    verdicts = [(sample, guard.judge([sample.text])) for sample in read_dev()]
    attacks = [verdict for sample, verdict in verdicts if sample.attack]
    harmless = [verdict for sample, verdict in verdicts if not sample.attack]
    found = separate(
        np.array([verdict.probability for verdict in attacks]), np.array([verdict.probability for verdict in harmless])
    )
    lines = ["| shipped weights | |", "|---|--:|"]
    lines.append(
        f"| hand-written texts, never trained on ({len(attacks)} + {len(harmless)}): AUROC | {found.auroc:.3f} |"
    )
    for name, verdicts_of in (("attacks", attacks), ("harmless", harmless)):
        flagged = np.mean([verdict.flagged for verdict in verdicts_of])
        blocked = np.mean([verdict.probability >= 0.5 for verdict in verdicts_of])
        lines.append(f"| ... {name} flagged / blocked | {flagged:.1%} / {blocked:.1%} |")
    for length in LENGTHS:
        half, most = time_verdict(guard, (LETTER * (length // len(LETTER) + 1))[:length])
        lines.append(f"| a verdict on {length:,} characters, one thread: p50 / p95 | {half:.2f} / {most:.2f} ms |")
    return "\n".join(lines)


def time_verdict(guard: EmbeddedGuard, text: str, times: int = 300) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        guard.judge([text])
        taken.append((time.perf_counter() - started) * 1e3)
    return float(np.quantile(taken, 0.5)), float(np.quantile(taken, 0.95))


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy and latency of the embedded guard.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    print(report(QUICK_SHARE if options.quick else 1.0, options.data))


if __name__ == "__main__":
    main()
