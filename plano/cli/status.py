"""`plano-cluster status`."""

from __future__ import annotations

import dataclasses
import http.client
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from plano.cli.options import open_run_dir, run_dir_option
from plano.cli.terminal import Terminal
from plano.workers.rundir import ClusterInfo

_ADMIN_TIMEOUT_S = 3.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@run_dir_option
def status(as_json: bool, run_dir: Path | None) -> None:
    """Show the running cluster and its processes. Exit status 3 when none is ready."""
    place = open_run_dir(run_dir)
    terminal = Terminal()
    is_held = place.is_held()
    info = place.read() if is_held else None
    if info is None:
        if as_json:
            terminal.line(json.dumps({"running": False, "starting": is_held, "run_dir": str(place.path)}))
        elif is_held:
            terminal.line(f"A cluster is just starting from {place.path}.")
        else:
            terminal.line(f"No cluster is running from {place.path}.")
        raise SystemExit(3)
    cluster = fetch_cluster(info)
    if as_json:
        terminal.line(json.dumps({"running": True, **dataclasses.asdict(info), "cluster": cluster}, indent=2))
    else:
        _show(terminal, info, cluster)


def fetch_cluster(info: ClusterInfo) -> dict[str, Any] | None:
    """What /cluster of the admin port says; None when it does not answer (the telemetry worker is being restarted)."""
    url = urlsplit(info.admin)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_ADMIN_TIMEOUT_S)
    try:
        connection.request("GET", "/cluster")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer


def _show(terminal: Terminal, info: ClusterInfo, cluster: dict[str, Any] | None) -> None:
    if cluster is None:
        state = "running; the admin port does not answer"
    elif cluster["draining"]:
        state = "draining"
    else:
        state = "ready" if cluster["ready"] else "not ready"
    terminal.heading(f"Plano {info.version} is {state} (pid {info.pid})")
    rows = [(f"listener {one['name']}", f"{one['url']}  ({one['type']})") for one in info.listeners]
    if info.inference:
        rows.append(("inference", ", ".join(info.inference)))
    rows.append(("admin", info.admin))
    rows.append(("config", info.config or "none"))
    rows.append(("up for", render_duration(time.time() - info.started)))
    terminal.pairs(rows)
    if cluster is not None:
        terminal.line()
        terminal.table(
            ("child", "state", "pid", "up for", "restarts"),
            [
                (
                    child["name"],
                    child["state"],
                    str(child["pid"] or "-"),
                    "-" if child["uptime_s"] is None else render_duration(child["uptime_s"]),
                    str(child["restarts"]),
                )
                for child in cluster["children"]
            ],
        )
        models = [model for child in cluster["children"] for model in describe_roles(child)]
        if models:
            terminal.line()
            terminal.table(("role", "state", "engine", "model", ""), models)


def describe_roles(child: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """The rows of the models that a child runs: role, state, engine, model, and what is wrong with it."""
    roles = child.get("info", {}).get("roles", {})
    return [
        (name, role["state"], role["engine"], role["model"] or "-", role.get("error", ""))
        for name, role in roles.items()
    ]


def render_duration(seconds: float) -> str:
    """`12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 2 h`."""
    whole = max(int(seconds), 0)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    for position, (name, size) in enumerate(units):
        count, rest = divmod(whole, size)
        if count or size == 1:
            text = f"{count} {name}"
            if position + 1 < len(units):
                smaller, smaller_size = units[position + 1]
                if rest // smaller_size:
                    text += f" {rest // smaller_size} {smaller}"
            return text
    raise AssertionError("the last unit always answers")
