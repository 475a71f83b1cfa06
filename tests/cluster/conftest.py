"""Clusters of real processes in front of a demo provider."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.authority import Authority
from tests.clusters import ClusterProcess
from tests.providers import DemoProcess

# Any model of the demo provider, as it is: no retries, no failover.
PLAIN = """
version: v0.4.0
listeners:
  - {type: model, name: egress, address: 127.0.0.1, port: {port}}
model_providers:
  - {model: openai/*, base_url: $DEMO_URL, access_key: k}
"""

StartCluster = Callable[..., ClusterProcess]


@pytest.fixture
def start_cluster(demo_provider: DemoProcess) -> Iterator[StartCluster]:
    """Starts clusters that know the provider as $DEMO_URL, and ends them with the test."""
    with ExitStack() as stack:

        def start(config: str = PLAIN, workers: int = 2, **env: str) -> ClusterProcess:
            return stack.enter_context(ClusterProcess(config, {"DEMO_URL": demo_provider.url} | env, workers=workers))

        yield start


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A certificate authority, and its certificate for localhost."""
    return Authority(tmp_path, "localhost", "127.0.0.1")


def frontend_pids(cluster: ClusterProcess) -> list[int]:
    """Process ids of the frontends, in order."""
    frontends = [child for child in cluster.children().values() if child["role"] == "frontend"]
    return [child["pid"] for child in sorted(frontends, key=lambda child: int(child["index"]))]


def resident_mib(pid: int) -> float:
    """Resident memory of a process in MiB."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def client_ports(pid: int, listening_port: int) -> set[int]:
    """The client's ports of the connections that a frontend has accepted on a listener."""
    connections = psutil.Process(pid).net_connections("tcp")
    return {each.raddr.port for each in connections if each.raddr and each.laddr.port == listening_port}


def listening_inodes(pid: int, port: int) -> set[str]:
    """The identities of the sockets by which a process listens on a port."""
    # proc(5): fields of a line are sl, local_address, rem_address, st (0A is LISTEN), ..., the tenth is the inode.
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {line[9] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")}
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except FileNotFoundError:
            continue  # closed meanwhile
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            held.add(match[1])
    return held & listening


class Metrics:
    """One reading of /metrics."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(cluster.metrics()) for sample in family.samples
        ]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        return sum(
            float(sample.value)
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def by(self, name: str, *keys: str) -> dict[tuple[str, ...], float]:
        """The samples of this name that are not 0, by some of their labels."""
        found: dict[tuple[str, ...], float] = {}
        for sample in self._samples:
            if sample.name == name and sample.value:
                values = tuple(sample.labels[key] for key in keys)
                found[values] = found.get(values, 0.0) + float(sample.value)
        return found
