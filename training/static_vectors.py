"""Fits the static token vectors: their sum over a text shall point where the teacher puts the text.

After model2vec (tokens through the teacher, principal components, inverse-frequency weights: the start of the fit) and
tokenlearn (the fit itself), https://github.com/MinishLab. Rare tokens keep their start, which the frames' words make
few: every alphabetic token of the vocabulary is met in them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional

from training.teacher import Teacher, say

EPOCHS = 6
BATCH = 1_024
RATE = 1e-2
UNKNOWN = 100
MAX_TOKENS = 64


def fit(
    teacher: Teacher,
    texts: Sequence[str],
    targets: NDArray[np.floating],
    dimensions: int = 256,
    epochs: int = EPOCHS,
    seed: int = 0,
) -> NDArray[np.float32]:
    """The vectors of all tokens, [vocabulary, dimensions]."""
    torch.manual_seed(seed)
    shuffler = np.random.default_rng(seed)
    full = np.asarray(targets, dtype=np.float32)
    _, directions = np.linalg.eigh(full.T @ full / len(full))
    components = directions[:, ::-1][:, :dimensions].copy()
    wanted = functional.normalize(torch.from_numpy(full @ components), dim=-1)
    tokens = split(teacher.tokenizer, texts)
    counts = np.bincount(np.concatenate(tokens), minlength=len(teacher.vocabulary))
    rarity = 1e-3 / (1e-3 + (counts + 1) / counts.sum())
    alone = teacher.embed([token.removeprefix("##") for token in teacher.vocabulary], batch=512)
    start = torch.from_numpy((alone @ components * rarity[:, None]).astype(np.float32))
    table = torch.nn.EmbeddingBag.from_pretrained(start, freeze=False, mode="sum")
    steps = epochs * (len(texts) // BATCH)
    optimiser = torch.optim.Adam(table.parameters(), RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, step / 50) * max(0.0, 1 - step / steps) + 0.01
    )
    started = time.monotonic()
    for epoch in range(epochs):
        order = shuffler.permutation(len(texts))
        for place in range(0, len(texts) - BATCH + 1, BATCH):
            rows = order[place : place + BATCH]
            flat, offsets = bag([tokens[row] for row in rows])
            loss = (1 - (functional.normalize(table(flat, offsets), dim=-1) * wanted[rows]).sum(-1)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        say(f"static: epoch {epoch + 1} of {epochs}, loss {loss.item():.4f}, {time.monotonic() - started:.0f} s")
    return table.weight.detach().numpy()


def split(tokenizer: Tokenizer, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """The tokens of each text, without the special ones; never none."""
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [np.array(encoding.ids[:MAX_TOKENS] or [UNKNOWN], dtype=np.int64) for encoding in encodings]


def bag(tokens: Sequence[NDArray[np.int64]]) -> tuple[torch.Tensor, torch.Tensor]:
    offsets = np.cumsum([0] + [len(one) for one in tokens[:-1]])
    return torch.from_numpy(np.concatenate(tokens)), torch.from_numpy(offsets)
