"""vLLM's own figures, from what its scheduler reports after every step."""

from __future__ import annotations

from typing import Any


class Figures:
    """Sums and levels over all data-parallel ranks of one model. Written on the engine's thread, read on any."""

    def __init__(self) -> None:
        self._levels: dict[int, tuple[float, float, float]] = {}  # rank: running, waiting, KV cache used (0 to 1)
        self._totals: dict[str, float] = dict.fromkeys(
            (
                "prefix_cache_queries_total",
                "prefix_cache_hits_total",
                "prompt_tokens_total",
                "generation_tokens_total",
                "preemptions_total",
                "finished_requests_total",
            ),
            0.0,
        )

    def record(self, scheduler: Any, iteration: Any, rank: int) -> None:
        """Takes over one step's `SchedulerStats` and `IterationStats`; either may be None."""
        totals = self._totals
        if scheduler is not None:
            self._levels[rank] = (
                float(scheduler.num_running_reqs),
                float(scheduler.num_waiting_reqs),
                float(scheduler.kv_cache_usage),
            )
            prefix = scheduler.prefix_cache_stats
            if prefix is not None:
                totals["prefix_cache_queries_total"] += prefix.queries
                totals["prefix_cache_hits_total"] += prefix.hits
        if iteration is not None:
            totals["prompt_tokens_total"] += iteration.num_prompt_tokens
            totals["generation_tokens_total"] += iteration.num_generation_tokens
            totals["preemptions_total"] += iteration.num_preempted_reqs
            totals["finished_requests_total"] += len(iteration.finished_requests)

    def read(self) -> dict[str, float]:
        """The figures by name. `prefix_cache_*` and `*_tokens` count tokens."""
        levels = list(self._levels.values())
        return {
            "running_requests": sum(running for running, _, _ in levels),
            "waiting_requests": sum(waiting for _, waiting, _ in levels),
            "kv_cache_usage_ratio": max((used for _, _, used in levels), default=0.0),
            **self._totals,
        }


def make_stat_logger(figures: Figures) -> Any:
    """What vLLM calls a stat logger factory: one logger per data-parallel rank, all writing to `figures`."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class FiguresLogger(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            self._rank = engine_index

        def record(
            self,
            scheduler_stats: Any = None,
            iteration_stats: Any = None,
            mm_cache_stats: Any = None,
            engine_idx: int = 0,
        ) -> None:
            figures.record(scheduler_stats, iteration_stats, self._rank)

        def log_engine_initialized(self) -> None:
            """Nothing to say: the server logs that the role is ready."""

    return FiguresLogger
