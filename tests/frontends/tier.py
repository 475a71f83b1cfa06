"""An inference process that says what the test scripts, speaking the wire as its description has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgpack
import zmq
import zmq.asyncio

from plano.inference.wire import VERSION, Kind, Status

Json = dict[str, Any]
# What a role says: a body, a status with a message, or None for silence.
Script = Callable[[Json], "Json | tuple[Status, str] | None"]


class Tier:
    """`calls` are the bodies each role was asked, `cancelled` the number of calls that were taken back."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.calls: dict[str, list[Json]] = {"orchestrator": [], "guard": [], "function": []}
        self.cancelled = 0
        self.traceparents: list[bytes] = []
        self._scripts: dict[str, Script] = {}
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.bind(address)
        self._task = asyncio.create_task(self._serve())

    def script(self, role: str, answer: Json | tuple[Status, str] | Script | None) -> None:
        """From now on `role` answers like this."""
        self._scripts[role] = answer if callable(answer) else lambda _: answer

    def route(self, *names: str, confidence: float = 0.9) -> None:
        """From now on the orchestrator chooses these."""
        self.script("orchestrator", {"routes": names, "confidence": confidence})

    def judge(self, probability: float, *, flagged: bool = False) -> None:
        """From now on the guard sees an attack with this probability."""
        self.script("guard", {"probability": probability, "flagged": flagged})

    async def close(self) -> None:
        self._task.cancel()
        self._context.destroy(linger=0)

    async def _serve(self) -> None:
        while True:
            peer, frame = await self._socket.recv_multipart()
            _, kind, number, *rest = msgpack.unpackb(frame)
            if kind == Kind.PROBE:
                roles = dict.fromkeys(self.calls, ("ready", "scripted", "", 0, 0))
                await self._send(peer, [VERSION, Kind.HEALTH, number, roles])
            elif kind == Kind.CANCEL:
                self.cancelled += 1
            else:
                role, _, traceparent, body = rest
                self.calls[role].append(body)
                self.traceparents.append(traceparent)
                script = self._scripts.get(role)
                said = script(body) if script is not None else (Status.UNAVAILABLE, "not scripted")
                if said is None:
                    continue
                status, answer = said if isinstance(said, tuple) else (Status.OK, said)
                await self._send(peer, [VERSION, Kind.ANSWER, number, status, 5, 7, answer])

    async def _send(self, peer: bytes, message: list[Any]) -> None:
        await self._socket.send_multipart([peer, msgpack.packb(message)])
