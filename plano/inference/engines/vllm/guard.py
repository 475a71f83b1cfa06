"""The guard on vLLM's pooling runner: a classifier over windows of the texts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

from plano.config.plan import RolePlan
from plano.inference.calls import GuardCall, Verdict
from plano.inference.engines.engine import EngineError
from plano.inference.engines.vllm.arguments import Runner
from plano.inference.engines.vllm.engine import Json, VllmEngine
from plano.inference.engines.vllm.prompts import encoder_of
from plano.inference.engines.vllm.runtime import Runtime
from plano.inference.roles.guard import OVERLAP_TOKENS, WINDOW_TOKENS, split_windows

_ATTACK_LABELS: Final = ("jailbreak", "injection", "attack", "unsafe", "malicious", "harmful")
_SUSPICIOUS: Final = 0.35


class GuardEngine(VllmEngine):
    """Judges texts by a sequence classifier. All windows of all texts of a call are in the engine at once; the most
    suspicious one counts."""

    runner: ClassVar[Runner] = "pooling"

    def __init__(self, plan: RolePlan) -> None:
        super().__init__(plan)
        self._encode: Callable[[str], list[int]]
        self._before: list[int] = []
        self._after: list[int] = []
        self._window_tokens = WINDOW_TOKENS
        self._attack: tuple[int, ...] = ()

    async def warm_up(self, runtime: Runtime) -> None:
        tokenizer = runtime.tokenizer
        self._encode = encoder_of(tokenizer)
        self._before, self._after = _specials(tokenizer, self._encode)
        room = min(WINDOW_TOKENS, runtime.max_tokens) - len(self._before) - len(self._after)
        if room < 2 * OVERLAP_TOKENS:
            raise EngineError(f"{self.model} reads {runtime.max_tokens} tokens at once, too few for a guard")
        self._window_tokens = room
        labels = getattr(runtime.model_config.hf_config, "id2label", None) or {}
        self._attack = attack_classes(labels)
        for text in ("Hello", "What is the weather like? " * 200):
            await self.answer(GuardCall((text,)).pack(), b"")

    async def answer(self, body: Any, traceparent: bytes) -> Json:
        call = GuardCall.unpack(body)
        windows = [
            [*self._before, *window, *self._after]
            for text in call.texts
            for window in split_windows(self._encode(text), self._window_tokens, OVERLAP_TOKENS)
        ]
        try:
            async with asyncio.TaskGroup() as group:
                judged = [group.create_task(self._judge(window, traceparent)) for window in windows]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        probability = max((task.result() for task in judged), default=0.0)
        return Verdict(probability, probability >= _SUSPICIOUS).pack()

    async def _judge(self, window: list[int], traceparent: bytes) -> float:
        from vllm import PoolingParams

        # The raw scores, whatever activation the model's own config asks for: a sum of classes needs a softmax.
        params = PoolingParams(task="classify", use_activation=False)
        output = await self.runtime.classify(window, params, traceparent)
        return attack_probability([float(score) for score in output.outputs.data.flatten().tolist()], self._attack)


def attack_classes(labels: Mapping[Any, str]) -> tuple[int, ...]:
    """The classes that mean an attack, by a classifier's `id2label`; the last one where no label says so."""
    named = tuple(
        sorted(int(index) for index, label in labels.items() if any(word in label.lower() for word in _ATTACK_LABELS))
    )
    harmless = tuple(index for index in named if _denies(str(labels.get(index, labels.get(str(index), "")))))
    return tuple(index for index in named if index not in harmless) or (max(map(int, labels), default=1),)


def attack_probability(scores: Sequence[float], attack: Sequence[int]) -> float:
    """The probability that a classifier's raw scores give to the classes `attack`: softmax, or the logistic function
    of a single score."""
    if len(scores) == 1:
        return 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, scores[0]))))
    highest = max(scores)
    shares = [math.exp(score - highest) for score in scores]
    return min(1.0, sum(shares[index] for index in attack if index < len(shares)) / sum(shares))


def _denies(label: str) -> bool:
    return label.lower().startswith(("not", "no_", "no-", "non", "no "))


def _specials(tokenizer: Any, encode: Callable[[str], list[int]]) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind a text."""
    plain = encode("text")
    whole = list(tokenizer.encode("text"))
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    return [], []
