"""A supervisor with a role of `roles.py`: `python -m tests.workers.runner JSON`. Prints cluster.json when ready."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from plano.config.plan import ClusterPlan, InferencePlan, LimitsPlan, ListenerPlan
from plano.workers.failures import StartError
from plano.workers.logs import configure_logging
from plano.workers.restarts import SupervisionPolicy
from plano.workers.rundir import ClusterInfo
from plano.workers.supervisor import ClusterSpec, Supervisor


async def announce(info: ClusterInfo) -> None:
    print(json.dumps(dataclasses.asdict(info)), flush=True)


def tell_who_is_awaited(children: list[dict[str, Any]]) -> None:
    for child in children:
        print(f"awaited: {child['name']} {child['info']}", file=sys.stderr, flush=True)


def main() -> int:
    options = json.loads(sys.argv[1])
    configure_logging("supervisor", "info", "text")
    listeners = tuple(
        ListenerPlan(name=name, type="model", address=address, port=port)
        for name, address, port in options.get("listeners", [["egress", "127.0.0.1", 0]])
    )
    plan = ClusterPlan(
        listeners=listeners,
        providers=(),
        aliases={},
        model_ids=(),
        limits=LimitsPlan(drain_timeout_s=options.get("drain_timeout_s", 5.0)),
        # Elsewhere, so that none is started, unless the test is about it.
        inference=InferencePlan(addresses=() if "inference" in options else ("ipc:///nowhere",)),
    )
    spec = ClusterSpec(
        plan=plan,
        workers=options.get("workers", 2),
        admin=("127.0.0.1", options.get("admin_port", 0)),
        run_dir=Path(options["run_dir"]),
        version="0.0.test",
        policy=SupervisionPolicy(**options.get("policy", {})),
        frontend_entry=f"tests.workers.roles:{options['role']}",
        inference_entry=f"tests.workers.roles:{options.get('inference')}",
    )
    try:
        return asyncio.run(Supervisor(spec, announce, tell_who_is_awaited).run())
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
