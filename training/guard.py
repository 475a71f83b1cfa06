"""Builds the embedded guard: `python -m training.guard [--data FOLDER] [--share 1.0] [--out FOLDER]`.

Reads the public training rows and our grammars, holds whole families out to find the two thresholds, trains on
everything and writes `guard.npz` (int8 weights, thresholds) and `guard.json` (how it was measured, sha256).
Deterministic for one version of numpy; about ten minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plano.inference.embedded.guard import SURPRISE_STEP
from plano.inference.embedded.guard_lexicon import Lexicon
from plano.inference.embedded.guard_ngrams import SHAPE_SIZE, WINDOW
from training.guard_card import write_card
from training.guard_corpus import DATA as OWN_DATA
from training.guard_corpus import SEED, Sample, read_corpus, read_dev, read_sentences
from training.guard_folds import cross_score, deal_folds, score, separate, separate_families, train
from training.guard_model import CHARS, WORDS, Floats, Settings, fit_characters, lay_out, read_lexicon, take_best

DATA = Path(__file__).parents[2] / "shared" / "data" / "tlm-train"
OUT = Path(__file__).parents[1] / "plano" / "inference" / "embedded" / "weights"
CHARACTER_SOURCES = ("wiki", "gpteacher", "hwu", "selfinst", "gsm")
SHAPES = slice(CHARS + WORDS, CHARS + WORDS + SHAPE_SIZE)
ROLES = slice(CHARS + WORDS + SHAPE_SIZE, -1)
BLOCK, FLAG = 0.001, 0.01
# Harmless text made to confuse: it takes part in training and in the report, not in the thresholds for traffic.
CONFUSING = {"benign_twins", "benign_gateway", "benign_document", "benign_fiction"}


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def fit_surprise(data: Path) -> Floats:
    """The character model, rounded as it is stored."""
    table = fit_characters(read_sentences(data, CHARACTER_SOURCES)[::2])
    return np.asarray(np.round(table / SURPRISE_STEP) * SURPRISE_STEP, np.float32)


def find_thresholds(samples: Sequence[Sample], scores: NDArray[np.float64]) -> tuple[float, float]:
    """Scores that BLOCK and FLAG of unseen traffic exceed; families count by the root of their size."""
    traffic = np.array([not sample.attack and sample.family not in CONFUSING for sample in samples])
    family = np.array([sample.family for sample in samples])
    sizes = {name: int((traffic & (family == name)).sum()) for name in set(family[traffic])}
    weights = np.array([sizes[name] ** -0.5 for name in family[traffic]])
    order = np.argsort(scores[traffic])
    above = 1 - np.cumsum(weights[order]) / weights.sum()
    ranked = scores[traffic][order]
    return tuple(float(ranked[np.searchsorted(-above, -share)]) for share in (BLOCK, FLAG))  # type: ignore[return-value]


def quantise(weights: NDArray[np.float64]) -> tuple[NDArray[np.int8], float]:
    """int8 with one scale; the few largest weights are cut off at four fifths of the largest."""
    scale = float(np.abs(weights).max()) * 0.8 / 127
    return np.clip(np.round(weights / scale), -127, 127).astype(np.int8), scale


def write_weights(
    path: Path,
    point: NDArray[np.float64],
    surprise: Floats,
    lexicon: Lexicon,
    thresholds: tuple[float, float],
    settings: Settings,
) -> str:
    """The weights file; answers its sha256."""
    chars, char_scale = quantise(point[:CHARS])
    words, word_scale = quantise(point[CHARS : CHARS + WORDS])
    block, flag = thresholds
    scales = np.array(
        [char_scale * settings.char_scale, word_scale * settings.word_scale, point[-1], block, flag, settings.slope]
    )
    np.savez_compressed(
        path,
        chars=chars,
        words=words,
        shape=(point[SHAPES] * settings.shape_scale).astype(np.float32),
        roles=(point[ROLES] * settings.role_scale).astype(np.float32),
        stems=lexicon.stems,
        classes=lexicon.classes,
        surprise=np.round(surprise / SURPRISE_STEP).astype(np.uint8),
        scales=scales,
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def measure(samples: Sequence[Sample], scores: NDArray[np.float64], thresholds: tuple[float, float]) -> dict[str, Any]:
    """The figures of the held-out families."""
    attack = np.array([sample.attack for sample in samples])
    family = np.array([sample.family for sample in samples])
    found = separate_families(samples, scores, CONFUSING)
    return {
        "macro_auroc": round(float(np.mean([one.auroc for one in found.values()])), 4),
        "macro_recall_at_1_percent": round(
            float(np.mean([(scores[attack & (family == name)] > thresholds[1]).mean() for name in found])), 4
        ),
        "attacks": {
            name: [round(one.auroc, 3), round(float((scores[attack & (family == name)] > thresholds[1]).mean()), 3)]
            for name, one in found.items()
        },
        "flagged_harmless": {
            name: round(float((scores[~attack & (family == name)] > thresholds[1]).mean()), 4)
            for name in sorted(set(family[~attack]))
        },
    }


def build(data: Path, share: float, out: Path) -> None:
    settings = Settings()
    samples = read_corpus(data, share)
    dev = read_dev()
    say(f"{len(samples)} texts")
    surprise = fit_surprise(data)
    lexicon = read_lexicon(OWN_DATA / "guard_lexicon.txt")
    design = lay_out([sample.text for sample in samples], surprise, lexicon, settings)
    say(f"{design.rows.shape[0]} windows, {design.rows.nnz} n-grams")
    scores = cross_score(samples, design, deal_folds(samples), settings)
    thresholds = find_thresholds(samples, scores)
    report = measure(samples, scores, thresholds)
    say(f"held-out families: AUROC {report['macro_auroc']}, recall {report['macro_recall_at_1_percent']}")
    point = train(samples, design, np.ones(len(samples), bool), settings)
    dev_design = lay_out([sample.text for sample in dev], surprise, lexicon, settings)
    dev_scores = take_best(dev_design, score(dev_design.rows, point), len(dev))
    dev_attack = np.array([sample.attack for sample in dev])
    found = separate(dev_scores[dev_attack], dev_scores[~dev_attack], 0.05)
    report["written_dev"] = {
        "auroc": round(found.auroc, 4),
        "flagged_attacks": round(float((dev_scores[dev_attack] > thresholds[1]).mean()), 4),
        "flagged_harmless": round(float((dev_scores[~dev_attack] > thresholds[1]).mean()), 4),
    }
    say(f"hand-written: {report['written_dev']}")
    out.mkdir(parents=True, exist_ok=True)
    sha256 = write_weights(out / "guard.npz", point, surprise, lexicon, thresholds, settings)
    report |= {"stems": len(lexicon.stems), "window": WINDOW}
    report |= {"sha256": sha256, "seed": SEED, "texts": len(samples), "thresholds": [round(t, 4) for t in thresholds]}
    (out / "guard.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    write_card(out)
    say(f"wrote {out / 'guard.npz'} ({(out / 'guard.npz').stat().st_size // 1024} KiB), sha256 {sha256[:16]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--share", type=float, default=1.0, help="share of our own texts to write, for a quick look")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    build(arguments.data, arguments.share, arguments.out)


if __name__ == "__main__":
    main()
