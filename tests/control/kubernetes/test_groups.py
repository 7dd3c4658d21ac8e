"""Pods in which every replica fits, and no more than are needed."""

from __future__ import annotations

from collections import Counter
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
from anabranch.errors import InvalidRequest
from anabranch.graph.plan.plan import Plan
from tests.examples import examples

GIB = 2**30
AMOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "custom": st.sampled_from([{"fpga": 0.5}, {"fpga": 2.0}, {"fpga": 1.0, "seat": 1.0}]),
        "cpu": st.sampled_from([0.5, 1, 3, 7.5]),
        "gpu": st.sampled_from([0.5, 1, 4]),
        "memory": st.sampled_from(["512MiB", "3GiB", "17GiB"]),
        "accelerator": st.sampled_from(["A100", "L4"]),
    },
).filter(bool)
REPLICAS = st.integers(1, 5)


def plan(
    *nodes: tuple[dict[str, Any], int], placement: dict[str, Any] | None = None, **routers: Any
) -> Plan:
    """Return the plan of a graph with a head, and a segment for each of the resources.

    ``placement`` is that of the segments, ``routers`` that of the graph.
    """
    graph = Graph("shop", placement=routers or None).input("x", "FP32", [-1])
    graph.transformer("first", method="softmax", inputs={"x": "x"})
    last = "first"
    for at, (resources, replicas) in enumerate(nodes):
        graph.transformer(
            f"n{at}", method="softmax", inputs={"x": last}, resources=resources or None,
            scaling={"replicas": replicas}, placement=placement,
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


def test_pods_have_the_resources_and_labels_that_replicas_ask_for() -> None:
    asked = {"custom": {"fpga": 0.5}}
    labels = {"zone": "in(south, west)", "example.org/disk": "ssd", "mode": "!slow"}
    first = plan((asked, 3), ({"custom": {"fpga": 2}, "cpu": 4}, 1), placement={"labels": labels})
    own = {"zone": "south", "example.org/disk": "ssd"}
    assert worker_groups([first]) == [
        WorkerGroup("cpu"),
        WorkerGroup("cpu-fpga-disk-ssd-zone-south", 4, replicas=2, custom={"fpga": 2}, labels=own),
    ]


def test_routers_have_their_place_too() -> None:
    graph = plan(labels={"zone": "south"})
    assert worker_groups([graph]) == [
        WorkerGroup("cpu"), WorkerGroup("cpu-zone-south", labels={"zone": "south"}),
    ]  # fmt: skip


def test_replicas_that_do_not_share_a_machine_have_a_pod_each() -> None:
    apart = plan(({}, 3), ({"cpu": 0.5}, 2), placement={"spread": "node"})
    assert [one.replicas for one in worker_groups([apart])] == [3]


def test_groups_of_different_places_have_different_names() -> None:
    long = {f"label-{at}": "x" * 20 for at in range(3)}
    both = [plan(labels={**long, "label-9": end}) for end in ("a", "b")]
    names = [one.name for one in worker_groups(both)]
    first = f"cpu-label-0-{'x' * 18}"  # as long as names may be
    assert names == ["cpu", first, f"{first}-2"]


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ({"node_affinity": "gpu-2"}, "segment 'n0' of graph 'shop' asks for the machine 'gpu-2'"),
        ({"labels": {"ray.io/market-type": "spot"}}, "with label 'ray.io/market-type'.*accelerat"),
    ],
)
def test_what_no_manifest_can_promise_is_refused(placement: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidRequest, match=expected):
        worker_groups([plan(({}, 1), placement=placement)])
    negative = {"labels": {"ray.io/market-type": "!spot"}}
    assert [one.name for one in worker_groups([plan(({}, 1), placement=negative)])] == [PLAIN]


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.tuples(AMOUNTS, REPLICAS), max_size=4))
def test_every_replica_fits_and_no_pod_is_idle(nodes: list[tuple[dict[str, Any], int]]) -> None:
    graph = plan(*nodes)
    groups = {one.name: one for one in worker_groups([graph])}
    total: dict[str, Counter[str]] = {name: Counter() for name in groups}
    for part, (_, replicas) in zip(graph.segments[1:], nodes, strict=True):
        wanted = part.resources
        assert wanted is not None
        kind = f"gpu-{wanted.accelerator.lower()}" if wanted.accelerator else "gpu"
        gpu = wanted.gpu or (1 if wanted.accelerator else 0)
        name = "-".join([kind if gpu else PLAIN, *sorted(wanted.custom or ())])
        sizes = {"CPU": wanted.cpu or 0, "GPU": gpu, "memory": int(wanted.memory or 0)}
        for what, size in {**sizes, **(wanted.custom or {})}.items():
            assert size <= groups[name].amounts[what]
            total[name][what] += size * replicas  # type: ignore[assignment]
        total[name]["replicas"] += replicas
    for name, counted in total.items():
        one = groups[name]
        assert one.replicas <= max(1, counted.pop("replicas", 0))
        assert all(size <= one.amounts[what] * one.replicas for what, size in counted.items())
