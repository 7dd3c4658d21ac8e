"""Every benchmark measures all of its rows; a missed goal of speed is no failure here.

BentoML and MLServer are left out: to install them takes minutes and the package index.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.deaths import names
from benchmarks.outcome import MET, MISSED
from tests.machines import Network

ROOT = Path(__file__).parents[2]
PEERS = ("--no-peers",)

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


def assert_measured(name: str, options: Sequence[str] = (), needs: Sequence[str] = ()) -> None:
    for module in needs:
        pytest.importorskip(module)
    command = [sys.executable, "-m", name, "--quick", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (MET, MISSED), done.stdout + done.stderr
    assert "not measured" not in done.stdout


@pytest.mark.parametrize("name", ["access", "bandits", "request_path", "startup", "streams"])
def test_a_benchmark_without_an_engine(name: str) -> None:
    assert_measured(f"benchmarks.{name}")


def test_lookups() -> None:
    assert_measured("benchmarks.lookups", needs=["redis"])


@pytest.mark.e2e
@pytest.mark.parametrize(
    "name",
    [
        "overload",
        "cache",
        "explain_load",
        "telemetry",
        "sinks",
        "disturbances",
        "remote_nodes",
        "floods",
        "tenants",
        "jobs",
        "shared_models",
    ],
)
def test_a_benchmark_of_the_core(name: str) -> None:
    assert_measured(f"benchmarks.{name}")


@pytest.mark.e2e
@pytest.mark.parametrize("third", [0, 1, 2])
def test_deaths(third: int) -> None:
    assert_measured("benchmarks.deaths", ["--cases", *names()[third::3]])


@pytest.mark.e2e
@pytest.mark.parametrize("half", [0, 1])
def test_the_comparison(half: int) -> None:
    contenders = [one.name for one in CONTENDERS if one.peer is None][half::2]
    assert_measured("benchmarks", [*PEERS, "--only", *contenders])


@pytest.mark.e2e
def test_payloads() -> None:
    assert_measured("benchmarks.payloads", PEERS)


@pytest.mark.e2e
def test_batching() -> None:
    assert_measured("benchmarks.batching", PEERS, needs=["torch"])


@pytest.mark.e2e
def test_cold_starts() -> None:
    assert_measured("benchmarks.coldstart", needs=["torch"])


@pytest.mark.e2e
def test_many_graphs() -> None:
    assert_measured("benchmarks.many_graphs")


@pytest.mark.e2e
def test_clusters() -> None:
    with Network():  # or there are no machines here
        assert_measured("benchmarks.clusters")


@pytest.mark.e2e
def test_explaining() -> None:
    assert_measured("benchmarks.explaining", needs=["alibi", "captum", "sklearn", "torch"])
