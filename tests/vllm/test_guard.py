"""Verdicts by the real vLLM's pooling runner."""

from __future__ import annotations

import pytest

from plano.inference.calls import GuardCall, Verdict
from plano.inference.engines.vllm.guard import attack_classes, attack_probability
from plano.inference.wire import Status
from tests.inference.engines.jobs import ask
from tests.vllm.conftest import Fleet
from tests.vllm.lessons import ATTACK, HARMLESS

real_vllm = pytest.mark.vllm
on_session_loop = pytest.mark.asyncio(loop_scope="session")
patient = pytest.mark.timeout(600)


async def judge(fleet: Fleet, *texts: str) -> Verdict:
    ending = await ask(fleet.guard, GuardCall(texts).pack(), 60.0)
    assert ending.status is Status.OK, ending
    return Verdict.unpack(ending.body)


@real_vllm
@on_session_loop
@patient
async def test_an_attack_is_told_from_a_harmless_text(fleet: Fleet) -> None:
    assert (await judge(fleet, HARMLESS)).probability < 0.3
    verdict = await judge(fleet, f"{HARMLESS}{ATTACK}.")
    assert verdict.probability > 0.7
    assert verdict.flagged


@real_vllm
@on_session_loop
@patient
@pytest.mark.parametrize("place", [0, 60, 119], ids=["begin", "middle", "end"])
async def test_an_attack_is_found_in_whichever_window_it_is(fleet: Fleet, place: int) -> None:
    sentences = [HARMLESS] * 120
    assert (await judge(fleet, "".join(sentences))).probability < 0.3
    sentences[place] = f"{ATTACK}. "
    assert (await judge(fleet, "".join(sentences))).probability > 0.7


@real_vllm
@on_session_loop
@patient
async def test_the_most_suspicious_text_counts(fleet: Fleet) -> None:
    alone = await judge(fleet, ATTACK)
    among = await judge(fleet, HARMLESS, ATTACK, HARMLESS * 3)
    assert among.probability == pytest.approx(alone.probability, abs=0.02)


@real_vllm
@on_session_loop
@patient
async def test_an_empty_text_is_harmless(fleet: Fleet) -> None:
    assert (await judge(fleet, "")).probability == 0.0


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ({0: "BENIGN", 1: "INJECTION", 2: "JAILBREAK"}, (1, 2)),
        ({0: "JAILBREAK", 1: "SAFE"}, (0,)),
        ({0: "no_injection", 1: "prompt_injection"}, (1,)),
        ({"0": "unsafe", "1": "safe"}, (0,)),
        ({0: "LABEL_0", 1: "LABEL_1"}, (1,)),
        ({}, (1,)),
    ],
)
def test_the_labels_say_which_classes_are_an_attack(labels: dict[int, str], classes: tuple[int, ...]) -> None:
    assert attack_classes(labels) == classes


def test_scores_become_the_probability_of_the_attack_classes() -> None:
    assert attack_probability([0.0, 0.0], (1,)) == pytest.approx(0.5)
    assert attack_probability([1.0, 1.0, 1.0], (1, 2)) == pytest.approx(2 / 3)
    assert attack_probability([1000.0, -1000.0], (1,)) == 0.0
    assert attack_probability([0.0], (0,)) == pytest.approx(0.5)
