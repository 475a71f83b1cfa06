"""Writes what was trained as the files that ship: vectors and transformer at four bits, n-gram rarity at one byte."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plano.inference.embedded.grams import BUCKETS, hash_text
from plano.inference.embedded.packing import pack


def write_static(
    folder: Path,
    vectors: NDArray[np.float32],
    vocabulary: list[str],
    rarity: NDArray[np.float32],
) -> None:
    """`static.npz` and `vocab.txt`. One scale per token: its vector's length carries its weight."""
    packed = pack(vectors, group=vectors.shape[1])
    step = float(rarity.max()) / 255
    np.savez_compressed(
        folder / "static.npz",
        nibbles=packed.nibbles,
        scales=packed.scales,
        rarity=np.rint(rarity / step).astype(np.uint8),
        rarity_step=np.float32(step),
    )
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")


def measure_rarity(texts: Iterable[str]) -> NDArray[np.float32]:
    """The inverse document frequency of each n-gram bucket, ln((1 + N) / (1 + n)) + 1."""
    seen = np.zeros(BUCKETS, dtype=np.int64)
    total = 0
    for text in texts:
        seen[np.unique(hash_text(text))] += 1
        total += 1
    return (np.log((1 + total) / (1 + seen)) + 1).astype(np.float32)


def write_student(folder: Path, state: dict[str, Tensor], layers: int, special: tuple[int, int]) -> None:
    """`student.npz` from the state of a transformers BertModel."""
    arrays: dict[str, NDArray[Any]] = {"layers": np.int64(layers), "special": np.array(special)}  # type: ignore[dict-item]

    def keep(name: str, value: NDArray[np.float32]) -> None:
        arrays[name] = value.astype(np.float16)

    def squeeze(name: str, value: NDArray[np.float32]) -> None:
        packed = pack(value)
        arrays[f"{name}.nibbles"], arrays[f"{name}.scales"] = packed

    def read(name: str) -> NDArray[np.float32]:
        return state[name].float().numpy()

    squeeze("words", read("embeddings.word_embeddings.weight"))
    # Everything is one segment: its embedding is a part of every position's.
    keep(
        "positions",
        read("embeddings.position_embeddings.weight")[:64] + read("embeddings.token_type_embeddings.weight")[0],
    )
    keep("embedding_scale", read("embeddings.LayerNorm.weight"))
    keep("embedding_shift", read("embeddings.LayerNorm.bias"))
    for number in range(layers):
        prefix = f"encoder.layer.{number}."
        attention = [prefix + f"attention.self.{part}" for part in ("query", "key", "value")]
        squeeze(f"{number}.attend", np.concatenate([read(name + ".weight") for name in attention]))
        keep(f"{number}.attend_bias", np.concatenate([read(name + ".bias") for name in attention]))
        for ours, theirs, norm in (
            ("merge", "attention.output.dense", "attention.output.LayerNorm"),
            ("narrow", "output.dense", "output.LayerNorm"),
        ):
            squeeze(f"{number}.{ours}", read(f"{prefix}{theirs}.weight"))
            keep(f"{number}.{ours}_bias", read(f"{prefix}{theirs}.bias"))
            keep(f"{number}.{ours}_scale", read(f"{prefix}{norm}.weight"))
            keep(f"{number}.{ours}_shift", read(f"{prefix}{norm}.bias"))
        squeeze(f"{number}.widen", read(f"{prefix}intermediate.dense.weight"))
        keep(f"{number}.widen_bias", read(f"{prefix}intermediate.dense.bias"))
    np.savez_compressed(folder / "student.npz", **arrays)
