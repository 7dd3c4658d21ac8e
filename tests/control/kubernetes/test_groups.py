"""Pods in which every replica fits, and no more than are needed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.control.kubernetes.groups import (
    LEAST_CPU,
    LEAST_MEMORY,
    PLAIN,
    WorkerGroup,
    worker_groups,
)
from anabranch.graph.plan.plan import Plan
from tests.examples import examples

GIB = 2**30
AMOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from([0.5, 1, 3, 7.5]),
        "gpu": st.sampled_from([0.5, 1, 4]),
        "memory": st.sampled_from(["512MiB", "3GiB", "17GiB"]),
        "accelerator": st.sampled_from(["A100", "L4"]),
    },
).filter(bool)
REPLICAS = st.integers(1, 5)


def plan(*nodes: tuple[dict[str, Any], int]) -> Plan:
    """Return the plan of a graph with a head, and a segment for each of the resources."""
    graph = Graph("shop").input("x", "FP32", [-1])
    graph.transformer("first", method="softmax", inputs={"x": "x"})
    last = "first"
    for at, (resources, replicas) in enumerate(nodes):
        graph.transformer(
            f"n{at}", method="softmax", inputs={"x": last}, resources=resources,
            scaling={"replicas": replicas},
        )  # fmt: skip
        last = f"n{at}"
    return graph.output("y", last).plan


def test_a_light_graph_needs_one_plain_pod() -> None:
    assert worker_groups([plan()]) == [WorkerGroup(PLAIN, LEAST_CPU, 0, LEAST_MEMORY, "", 1)]


def test_graphs_share_groups_by_type_of_gpu() -> None:
    first = plan(({"cpu": 3, "memory": "5GiB"}, 2), ({"gpu": 1}, 1))
    second = plan(({"gpu": 2, "accelerator": "A100"}, 3), ({"accelerator": "A100"}, 1))
    assert worker_groups([first, second]) == [
        WorkerGroup("cpu", 3, 0, 5 * GIB, "", 2),
        WorkerGroup("gpu", LEAST_CPU, 1, LEAST_MEMORY, "", 1),
        WorkerGroup("gpu-a100", LEAST_CPU, 2, LEAST_MEMORY, "A100", 4),
    ]


@pytest.mark.parametrize("workers", [0, 7])
def test_the_number_of_plain_pods_is_the_caller_s(workers: int) -> None:
    groups = worker_groups([plan(({"cpu": 3}, 2), ({"gpu": 1}, 2))], workers)
    assert {one.name: one.replicas for one in groups} == {"cpu": workers, "gpu": 2}


def test_autoscaled_segments_have_places_for_their_most_replicas() -> None:
    graph = Graph("shop").input("x", "FP32", [-1])
    graph.transformer(
        "n", method="softmax", inputs={"x": "x"}, resources={"cpu": 2}, scaling={"min": 0, "max": 4}
    )
    (group,) = worker_groups([graph.output("y", "n").plan])
    assert group.replicas == 4


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(AMOUNTS, REPLICAS), max_size=4))
def test_every_replica_fits_and_no_pod_is_idle(nodes: list[tuple[dict[str, Any], int]]) -> None:
    groups = {one.name: one for one in worker_groups([plan(*nodes)])}
    asked = [
        (part.resources, replicas)
        for part, (_, replicas) in zip(plan(*nodes).segments[1:], nodes, strict=True)
    ]
    total = {name: [0.0, 0.0, 0.0, 0] for name in groups}
    for wanted, replicas in asked:
        assert wanted is not None
        name = (
            f"gpu-{wanted.accelerator.lower()}"
            if wanted.accelerator
            else ("gpu" if wanted.gpu else PLAIN)
        )
        one = groups[name]
        gpu = wanted.gpu or (1 if wanted.accelerator else 0)
        sizes = (wanted.cpu or 0, gpu, int(wanted.memory or 0))
        assert all(
            size <= most for size, most in zip(sizes, (one.cpu, one.gpu, one.memory), strict=True)
        )
        for at, size in enumerate(sizes):
            total[name][at] += size * replicas
        total[name][3] += replicas
    for name, (cpu, gpus, memory, replicas) in total.items():
        one = groups[name]
        assert cpu <= one.cpu * one.replicas
        assert gpus <= one.gpu * one.replicas
        assert memory <= one.memory * one.replicas
        assert one.replicas <= max(1, replicas)
