"""Room for replicas on machines, in numbers and in words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._private.label_utils import validate_label_selector
from ray._raylet import node_labels_match_selector

from anabranch.control.nodes.node import ClusterLook, Demand
from anabranch.control.reconcile.room import Need, hindrance, lacking, usable
from anabranch.specs.models import LABEL_KEY, LABEL_SELECTOR
from tests.control.nodes.machines import node

GIB = 2.0**30
SMALL = node(
    "small",
    address="10.0.0.1",
    total={"CPU": 4.0, "memory": 2 * GIB, "node:10.0.0.1": 1.0},
    available={"CPU": 1.0, "memory": 2 * GIB, "node:10.0.0.1": 1.0},
    labels={"zone": "north"},
)
_OF_LARGE = {
    "CPU": 2.0, "GPU": 1.0, "accelerator_type:T4": 1.0, "licence": 2.0, "node:10.0.0.2": 1.0
}  # fmt: skip
LARGE = node(
    "large",
    address="10.0.0.2",
    total=_OF_LARGE,
    available=_OF_LARGE | {"GPU": 0.0},
    labels={"zone": "south"},
)
MACHINES = [SMALL, LARGE]


def need(most: int | None = None, **options: Any) -> Need:
    return Need.of({"num_cpus": 0, "runtime_env": {}, **options}, most)


@pytest.mark.parametrize(
    "wanted",
    [
        need(),
        need(num_cpus=4),
        need(num_gpus=0.5),
        need(num_cpus=1, num_gpus=1, accelerator_type="T4"),
        need(memory=GIB),
        need(resources={"licence": 2}),
        need(label_selector={"zone": "in(north,west)"}),
        need(label_selector={"zone": "!north"}, num_gpus=1),
        need(resources={"node:10.0.0.2": 0.001}),
        need(most=1),
    ],
)
def test_what_one_machine_has_is_not_lacking(wanted: Need) -> None:
    assert lacking(wanted, 1, MACHINES) == ""


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (
            need(num_cpus=8),
            "asks for 8 CPU, which no machine has; large (10.0.0.2) has 2 CPU; small (10.0.0.1) "
            "has 4 CPU (1 CPU free)",
        ),
        (
            need(num_cpus=4, num_gpus=1),
            "asks for 4 CPU, 1 GPU, which no machine has; large (10.0.0.2) has 2 CPU, 1 GPU "
            "(0 GPU free); small (10.0.0.1) has 4 CPU (1 CPU free), 0 GPU",
        ),
        (
            need(num_gpus=1, accelerator_type="H100"),
            "asks for 1 GPU of type H100, which no machine has; small (10.0.0.1) has 0 GPU, no "
            "type H100; large (10.0.0.2) has 1 GPU (0 GPU free), no type H100",
        ),
        (need(accelerator_type="H100"), "asks for an accelerator of type H100, which no machine"),
        (need(memory=3 * GIB), "asks for 3GiB of memory, which no machine has; small (10.0.0.1) "),
        (need(resources={"fpga": 1}), "has 0 fpga; large (10.0.0.2) has 0 fpga"),
        (
            need(label_selector={"zone": "west"}),
            "asks for a machine with zone: west, which no machine has; small (10.0.0.1) has zone: "
            "north; large (10.0.0.2) has zone: south",
        ),
        (need(label_selector={"disk": "ssd"}), "small (10.0.0.1) has disk: -; large"),
    ],
)
def test_what_no_machine_has_is_named_with_what_they_have(wanted: Need, expected: str) -> None:
    assert expected in lacking(wanted, 1, MACHINES)


def test_replicas_that_need_a_machine_each_are_counted() -> None:
    assert lacking(need(most=1), 2, MACHINES) == ""
    assert lacking(need(most=1), 3, MACHINES) == (
        "asks for 3 machines for its 3 replicas (`spread: node`), and 2 can take one: "
        "small (10.0.0.1), large (10.0.0.2)"
    )


def test_of_many_machines_some_are_named() -> None:
    many = [node(f"m{at}", address=f"10.0.1.{at}") for at in range(12)]
    found = lacking(need(num_gpus=1), 1, many)
    assert found.endswith("m7 (10.0.1.7) has 0 GPU; and 4 more machines")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (need(num_gpus=4), "no machine has it"),
        (need(num_gpus=1), "it is taken on large (10.0.0.2)"),
        (need(num_cpus=2), "it is taken on small (10.0.0.1), large (10.0.0.2)"),
        (need(most=1), "each machine that could take it has one already (`spread: node`)"),
        (need(most=100), "each machine that could take it has 100 already"),
    ],
)
def test_why_a_replica_is_not_placed(wanted: Need, expected: str) -> None:
    taken = [SMALL, replace(LARGE, available={"CPU": 0.0})]
    there = taken if wanted.resources.get("CPU") else MACHINES
    assert hindrance(wanted, there) == expected


IMPLICIT = "node:__internal_implicit_resource_digits.r1:net"


@pytest.mark.parametrize(
    ("wanted", "resources", "selector", "expected"),
    [
        (need(), {}, {}, True),
        (need(num_cpus=1), {"CPU": 1.0}, {}, True),
        (need(num_cpus=1), {"CPU": 2.0}, {}, False),
        (need(num_cpus=1), {"CPU": 1.0}, {"zone": "north"}, False),
        (need(accelerator_type="T4"), {"accelerator_type:T4": 0.001}, {}, True),
        (need(label_selector={"zone": "in(a,b)"}), {}, {"zone": "in(b,a)"}, True),
        (need(label_selector={"zone": "!in(a,b)"}), {}, {"zone": "in(a,b)"}, False),
        (need(most=1), {IMPLICIT: 1.0}, {}, True),
        (need(most=100), {IMPLICIT: 0.01}, {}, True),
        (need(most=1), {}, {}, False),
        (need(), {IMPLICIT: 1.0}, {}, False),
    ],
)
def test_a_need_is_found_among_what_ray_has_not_placed(
    wanted: Need, resources: dict[str, float], selector: dict[str, str], expected: bool
) -> None:
    demands = [Demand({"GPU": 9.0}, 1), Demand(resources, 1, selector)]
    assert wanted.is_in(demands) is expected


AMOUNTS = st.dictionaries(st.sampled_from(["CPU", "GPU", "licence"]), st.integers(0, 4))


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_machines_lack_what_none_of_them_has_by_itself(
    wanted: dict[str, int], first: dict[str, int], second: dict[str, int]
) -> None:
    there = [node("a", total=first, available=first), node("b", total=second, available=second)]
    fits = any(all(one.get(name, 0) >= wanted[name] for name in wanted) for one in (first, second))
    asked = Need({name: float(size) for name, size in wanted.items()})
    assert (lacking(asked, 1, there) == "") is fits
    assert (hindrance(asked, there) == "no machine has it") is not fits


VALUES = ("a", "b", "c-1")
SELECTORS = st.builds(
    lambda no, values, is_list: f"{no}in({','.join(values)})" if is_list else no + values[0],
    st.sampled_from(["", "!"]),
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=3),
    st.booleans(),
)


@given(SELECTORS, st.sampled_from([*VALUES, None]))
def test_selectors_mean_what_ray_takes_them_for(text: str, value: str | None) -> None:
    labels = {} if value is None else {"zone": value}
    found = lacking(need(label_selector={"zone": text}), 1, [node("m", labels=labels)])
    assert (found == "") is node_labels_match_selector(labels, {"zone": text})


@given(st.from_regex(re.compile(LABEL_KEY, re.ASCII)), st.from_regex(re.compile(LABEL_SELECTOR)))
def test_ray_takes_each_label_of_the_language(key: str, selector: str) -> None:
    if len(key) <= 253:  # the most that the language takes
        assert validate_label_selector({key.rstrip("\n"): selector.rstrip("\n")}) is None


def test_replicas_are_placed_on_machines_that_stay() -> None:
    states = ["alive", "draining", "drained", "lost", "left"]
    look = ClusterLook(tuple(node(state, state=state) for state in states))
    assert [one.name for one in usable(look)] == ["alive"]
