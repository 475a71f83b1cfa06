"""Makes the weights of the embedded orchestrator from text: `python -m training.build` (`make embedded-models`).

Reads `shared/data/tlm-train`, writes `static.npz`, `vocab.txt`, `student.npz`, `background.npz`, `calibration.json` and
`sha256.txt`. What the teacher says about the text is kept in `--cache`, so that a second run begins where it counts.
About half an hour on two cores, five minutes of it the teacher's (a CPU with bfloat16 instructions). Seeds are fixed;
another CPU or version of torch rounds differently: weights made elsewhere are as good, but not the same to the bit.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

from plano.inference.embedded.vectors import WEIGHTS
from training.backgrounds import write_background
from training.calibrate import calibrate
from training.packing import measure_rarity, write_static, write_student
from training.static_vectors import fit
from training.student_layers import LAYERS, STEPS, teach
from training.teacher import Teacher, say
from training.texts import make_texts, read_corpus

SPECIAL = (101, 102)  # [CLS] and [SEP] of the teacher's vocabulary
FILES = ("background.npz", "calibration.json", "static.npz", "student.npz", "vocab.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the weights of the embedded orchestrator.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tlm-train"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "plano-training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the student")
    parser.add_argument("--only", choices=("static", "student", "calibration"), help="make one part anew")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only != "calibration":
        train(options)
    write_background(options.out)
    calibrate(options.data, options.out).write(options.out / "calibration.json")
    write_checksums(options.out)


def train(options: argparse.Namespace) -> None:
    teacher = Teacher()
    sentences = read_corpus(options.data)
    texts = make_texts(sentences, teacher.vocabulary)
    targets = ask_teacher(teacher, texts, options.cache)
    if options.only != "student":
        vectors = fit(teacher, texts, targets)
        write_static(options.out, vectors, teacher.vocabulary, measure_rarity(sentences))
    if options.only != "static":
        write_student(options.out, teach(texts, targets, options.steps), len(LAYERS), SPECIAL)


def ask_teacher(teacher: Teacher, texts: list[str], cache: Path) -> np.ndarray:
    """The teacher's vectors of the texts, float16; kept in a file named after the texts."""
    name = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    path = cache / f"teacher-{name}.npy"
    if path.exists():
        return np.load(path, mmap_mode="r")
    say(f"teacher: {len(texts):,} texts")
    cache.mkdir(parents=True, exist_ok=True)
    vectors = teacher.embed(texts).astype(np.float16)
    np.save(path, vectors)
    return vectors


def write_checksums(folder: Path) -> None:
    """`sha256.txt`, as `sha256sum` writes it."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in FILES]
    (folder / "sha256.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
