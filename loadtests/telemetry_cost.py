"""What one request record costs the telemetry worker: `python loadtests/telemetry_cost.py [records per batch]`.

Measures CPU time of unpacking and counting, for plain records and for records with failed attempts. Target: below 4 us.
"""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec

from plano.telemetry.record import WIRE_VERSION, Attempt, Batch, FrontendState, Record
from plano.workers.boot import TelemetryBoot
from plano.workers.telemetry import TelemetryWorker, calm_garbage_collector

TOTAL_RECORDS = 200_000


def make_record(number: int, attempts: tuple[Attempt, ...]) -> Record:
    """A stream as the frontends report it; providers and models vary as on a mid-sized cluster."""
    model = f"model-{number % 20}"
    return Record(
        request_id=f"0d9e5b7e-8d4f-4c1d-9b57-{number:012d}",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        parent_span_id="00f067aa0ba902b7",
        span_id="b7ad6b7169203331",
        listener="egress",
        method="POST",
        path="/v1/chat/completions",
        requested_model=model,
        provider=f"openai/{model}",
        model=model,
        status=200,
        error="",
        streaming=True,
        client_gone=False,
        started_unix_s=1_700_000_000.0 + number,
        duration_s=0.8 + number % 7,
        ttft_s=0.2 + number % 3 / 10,
        bytes_in=740,
        bytes_out=10_240,
        tokens_in=180,
        tokens_out=240,
        tokens_cached=0,
        tokens_reasoning=None,
        attempts=attempts,
    )


async def measure(attempts: tuple[Attempt, ...], batch_records: int) -> float:
    """CPU microseconds per record."""
    worker = TelemetryWorker(TelemetryBoot("bench", "", -1))
    state = FrontendState(0, 1, {"egress": 12}, {"egress": 40}, 0, 0.001)
    records = [make_record(number, attempts) for number in range(batch_records)]
    message = msgspec.msgpack.encode(Batch(WIRE_VERSION, state, list(records)))
    rounds = TOTAL_RECORDS // batch_records
    started = time.process_time()
    for _ in range(rounds):
        await worker.take(message)
    return (time.process_time() - started) / (rounds * batch_records) * 1e6


def main() -> None:
    """Prints one line per kind of record."""
    calm_garbage_collector()
    batch_records = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    failed = Attempt("openai/model-0", "model-0", 503, "status", 0.1)
    failed_over = (failed, failed, Attempt("anthropic/model-1", "model-1", 200, "", 0.7))
    for what, attempts in (("first attempt succeeded", ()), ("retried and failed over", failed_over)):
        cost_us = asyncio.run(measure(attempts, batch_records))
        print(f"{what}: {cost_us:.2f} us/record ({batch_records} records per batch)")


if __name__ == "__main__":
    main()
