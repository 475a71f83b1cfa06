"""The telemetry worker's end of the bus, for tests that look at records."""

from __future__ import annotations

import asyncio
import time

import msgpack
import zmq

from plano.telemetry.record import WIRE_VERSION, Attempt, FrontendState, Judgement, Record
from tests.frontends.waiting import DEADLINE_S


class RecordSocket:
    """Binds `address` and takes in what frontends send. `state` is what one of them said last about itself."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.bind(address)
        self._records: list[Record] = []
        self.state: FrontendState | None = None

    async def read(self, count: int = 1, timeout_s: float = DEADLINE_S) -> list[Record]:
        """All records so far, once there are `count`."""
        limit_s = time.monotonic() + timeout_s
        while len(self._records) < count:
            if not self.receive():
                if time.monotonic() > limit_s:
                    raise TimeoutError(f"{len(self._records)} of {count} records came")
                await asyncio.sleep(0.005)
        return self._records

    def receive(self) -> bool:
        """Take in the next batch; False when there is none now."""
        if not self._socket.poll(0):
            return False
        version, state, records = msgpack.unpackb(self._socket.recv())
        assert version == WIRE_VERSION
        self.state = FrontendState(*state)
        for fields in records:
            record = Record(*fields)
            judgement = record.judgement
            if judgement is not None:
                judgement = Judgement(*(tuple(part) if isinstance(part, list) else part for part in judgement))
            attempts = tuple(Attempt(*item) for item in record.attempts)
            self._records.append(record._replace(attempts=attempts, judgement=judgement))
        return True

    async def read_one(self) -> Record:
        """The only record."""
        records = await self.read(1)
        assert len(records) == 1, records
        return records[0]

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()
