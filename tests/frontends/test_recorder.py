"""The frontend's end of the bus."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from plano.frontends.recorder import BATCH_RECORDS, Gauges, Recorder
from plano.telemetry.record import InferenceView, Record
from tests.frontends.records import RecordSocket
from tests.frontends.waiting import wait_until

RECORD = Record(
    b"r", b"t", b"", b"s", "egress", b"POST", b"/v1/chat/completions", "fast", "openai", "openai/gpt-4o", 200, "",
    False, False, 1.7e9, 0.3, 0.3, 100, 200, 10, 20, 4, 0, (),
)  # fmt: skip


def gauges() -> Gauges:
    return {"egress": 1}, {"egress": 2}, [], {}, InferenceView(0, 0, 0, 0, 0, 0, 0)


async def test_records_that_cannot_be_packed_are_counted_and_others_follow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus = RecordSocket(f"ipc://{tmp_path}/bus")
    recorder = Recorder(0, bus.address, gauges)
    recorder.start()
    try:
        recorder.add(RECORD._replace(tokens_in=2**65))
        recorder.add(RECORD)
        await wait_until(lambda: caplog.records)
        assert "2 records cannot be sent" in caplog.text
        recorder.add(RECORD._replace(request_id=b"later"))
        assert (await bus.read_one()).request_id == b"later"
        assert bus.state is not None
        assert bus.state.dropped_records_total == 2
    finally:
        recorder.close()
        bus.close()


async def test_a_full_batch_leaves_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bus = RecordSocket(f"ipc://{tmp_path}/bus")
    recorder = Recorder(0, bus.address, gauges)  # not started: nothing leaves by time
    try:
        for _ in range(BATCH_RECORDS + 1):
            recorder.add(RECORD)
        assert len(await bus.read(BATCH_RECORDS)) == BATCH_RECORDS
    finally:
        recorder.close()
        bus.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
