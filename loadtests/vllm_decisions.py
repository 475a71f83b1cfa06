"""How many decisions an orchestrator on vLLM makes, and how long they take.

    python -m loadtests.vllm_decisions --dummy qwen3-4b            on a GPU: the shape of a 4B Qwen3, made-up weights
    python -m loadtests.vllm_decisions --dummy tiny                on a CPU build of vLLM: does it run at all
    python -m loadtests.vllm_decisions --model katanemo/Plano-Orchestrator-4B

Every decision is about a conversation of its own, among the same routes: what the prefix cache can share is their text.
`--concurrency` callers ask one after the other for `--seconds`. Made-up weights choose at random among what the grammar
allows, and spell names in more tokens than trained ones do; the column of answer tokens says how many. Nothing is
downloaded with `--dummy`: configuration and tokenizer are written to a temporary folder.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from loadtests.machine import describe_machine
from plano.config.plan import RolePlan
from plano.inference.calls import OrchestratorCall, Route, Turn
from plano.inference.engines.engine import Engine, Job
from plano.inference.engines.vllm import make_vllm_engine
from plano.inference.wire import Status

SHAPES: dict[str, dict[str, Any]] = {
    # https://huggingface.co/Qwen/Qwen3-4B-Instruct-2507/blob/main/config.json
    "qwen3-4b": {
        "vocab_size": 151_936,
        "hidden_size": 2_560,
        "intermediate_size": 9_728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262_144,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "vocab_size": 4_096,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 8_192,
        "tie_word_embeddings": True,
    },
}

SUBJECTS = ("invoice", "flight", "function", "recipe", "contract", "photo", "server", "lesson", "symptom", "poem")
VERBS = ("explain", "write", "compare", "correct", "cancel", "plan", "summarise", "translate", "find", "check")
WORDS = (
    "please",
    "quickly",
    "for",
    "my",
    "the",
    "new",
    "team",
    "before",
    "Monday",
    "and",
    "say",
    "why",
    "it",
    "failed",
)


class Row(NamedTuple):
    """One measurement. Times are milliseconds, counts are means per decision."""

    concurrency: int
    decisions: int
    per_second: float
    p50_ms: float
    p99_ms: float
    prefix_hit_share: float
    prompt_tokens: float
    answer_tokens: float
    failed: int


def make_routes(number: int) -> tuple[Route, ...]:
    """Routes with names of two words and a sentence of description each."""
    pairs = list(itertools.product(VERBS, SUBJECTS))
    random.Random(1).shuffle(pairs)
    return tuple(
        Route(f"{verb} {subject}", f"The user wants to {verb} a {subject}, or asks how a {subject} is dealt with.")
        for verb, subject in pairs[:number]
    )


def make_calls(routes: tuple[Route, ...], seed: int) -> Iterator[OrchestratorCall]:
    """Conversations that never repeat, of one to three turns and about a hundred words."""
    dice = random.Random(seed)
    for number in itertools.count():
        turns = []
        for turn in range(dice.choice((1, 1, 3))):
            words = " ".join(dice.choices((*WORDS, *SUBJECTS, *VERBS), k=dice.randint(20, 60)))
            turns.append(Turn("user" if turn % 2 == 0 else "assistant", f"{seed}.{number}: {words}"))
        yield OrchestratorCall(tuple(turns), routes)


def write_dummy(folder: Path, shape: str, routes: tuple[Route, ...]) -> None:
    """A configuration and a tokenizer, trained on this test's words: prompts are about as long as real ones."""
    from transformers import Qwen3Config

    from tests.vllm.tokenizer import CHAT_SPECIALS, train_tokenizer

    calls = make_calls(routes, seed=0)
    texts = [json.dumps(next(calls).pack(), ensure_ascii=False) for _ in range(200)]
    tokenizer = train_tokenizer(folder, texts, CHAT_SPECIALS, classifier=False, vocabulary=4_000)
    config = Qwen3Config(
        **SHAPES[shape],
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
        architectures=["Qwen3ForCausalLM"],
    )
    config.save_pretrained(folder)


async def decide(engine: Engine, call: OrchestratorCall) -> Status:
    """One decision, as the server would hand it over."""
    ended: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
    job = Job(call.pack(), time.monotonic() + 600.0, b"", lambda _job, status, _body: ended.set_result(status))
    engine.submit([job])
    return await ended


async def measure(engine: Engine, routes: tuple[Route, ...], concurrency: int, seconds: float) -> Row:
    """Decisions by `concurrency` callers for `seconds`."""
    latencies: list[float] = []
    failed = 0

    async def keep_asking(caller: int) -> None:
        nonlocal failed
        for call in make_calls(routes, seed=concurrency * 1_000 + caller):
            begun = time.perf_counter()
            if await decide(engine, call) is Status.OK:
                latencies.append(time.perf_counter() - begun)
            else:
                failed += 1
            if time.perf_counter() >= until:
                return

    before = engine.metrics()
    started = time.perf_counter()
    until = started + seconds
    await asyncio.gather(*map(keep_asking, range(concurrency)))
    elapsed = time.perf_counter() - started
    await asyncio.sleep(0.2)  # the last step's figures come after its answers
    after = engine.metrics()
    spent = {name: after[name] - before[name] for name in after if name.endswith("_total")}
    number = max(1, len(latencies))
    latencies.sort()
    return Row(
        concurrency,
        len(latencies),
        len(latencies) / elapsed,
        quantile(latencies, 0.5) * 1e3,
        quantile(latencies, 0.99) * 1e3,
        spent["prefix_cache_hits_total"] / max(1.0, spent["prefix_cache_queries_total"]),
        spent["prefix_cache_queries_total"] / (number + failed),
        spent["generation_tokens_total"] / (number + failed),
        failed,
    )


def quantile(ordered: list[float], share: float) -> float:
    """Of values in ascending order; not a number where there are none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def render(rows: list[Row], title: str) -> str:
    """A table in Markdown."""
    lines = [
        title,
        "",
        "| Concurrent | Decisions/s | p50 ms | p99 ms | Prefix-cache hits | Prompt tokens | Answer tokens | Failed |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.concurrency} | {row.per_second:,.1f} | {row.p50_ms:,.1f} | {row.p99_ms:,.1f} "
        f"| {row.prefix_hit_share:.0%} | {row.prompt_tokens:,.0f} | {row.answer_tokens:.1f} | {row.failed} |"
        for row in rows
    ]
    return "\n".join(lines)


async def run(arguments: argparse.Namespace, model: str, routes: tuple[Route, ...]) -> list[Row]:
    """Load, warm up, measure."""
    engine_args: dict[str, Any] = json.loads(arguments.engine_args)
    if arguments.dummy:
        engine_args.setdefault("load_format", "dummy")
    engine = make_vllm_engine("orchestrator", RolePlan(model=model, engine_args=engine_args))
    begun = time.monotonic()
    await engine.start()
    print(f"ready after {time.monotonic() - begun:.0f} s", file=sys.stderr)
    try:
        most = max(arguments.concurrency)
        await measure(engine, routes, min(8, most), min(2.0, arguments.seconds))  # the routes into the cache
        return [await measure(engine, routes, number, arguments.seconds) for number in arguments.concurrency]
    finally:
        await engine.close()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="a folder, or a name on the Hugging Face hub")
    which.add_argument("--dummy", choices=sorted(SHAPES), help="made-up weights in this shape")
    parser.add_argument("--routes", type=int, default=20, help="routes to choose from (at most 100; default 20)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default 10)")
    parser.add_argument(
        "--concurrency",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[1, 8, 64],
        help="callers at once, with commas (default 1,8,64)",
    )
    parser.add_argument("--engine-args", default="{}", help="vLLM's arguments as JSON")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    routes = make_routes(arguments.routes)
    with tempfile.TemporaryDirectory(prefix="plano-vllm-") as folder:
        model = arguments.model
        if arguments.dummy:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
            write_dummy(Path(folder), arguments.dummy, routes)
            model = folder
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows = runner.run(run(arguments, model, routes))
    title = f"{arguments.dummy or arguments.model}, {arguments.routes} routes, {arguments.seconds:g} s each"
    if arguments.json:
        described = {"title": title, "machine": describe_machine(), "rows": [row._asdict() for row in rows]}
        print(json.dumps(described, indent=2))
    else:
        print(render(rows, title))


if __name__ == "__main__":
    main()
