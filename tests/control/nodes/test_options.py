"""Options of a machine, and the words of Ray's command line that they become."""

from __future__ import annotations

import pytest
from ray._private.label_utils import parse_node_labels_string

from anabranch.control.nodes.options import MachineOptions
from anabranch.errors import EngineError


def test_a_machine_that_says_nothing_is_known_by_its_id_and_takes_requests() -> None:
    assert MachineOptions().arguments("m1") == {
        "--labels": "anabranch.io/machine=m1,anabranch.io/ingress=true",
        "--object-store-memory": 512 * 2**20,
    }


def test_what_is_said_of_a_machine() -> None:
    said = MachineOptions(
        "zone=north, example.com/disk=ssd,spare=",
        "CPU=8,GPU=0,memory=8GiB,licence=2.5",
        "1GiB",
        False,
    )
    found = said.arguments("m1")
    assert parse_node_labels_string(str(found["--labels"])) == {
        "zone": "north",
        "example.com/disk": "ssd",
        "spare": "",
        "anabranch.io/machine": "m1",
        "anabranch.io/ingress": "false",
    }
    assert (found["--num-cpus"], found["--num-gpus"]) == (8, 0)
    assert found["--memory"] == 8 * 2**30
    assert found["--resources"] == '{"licence": 2.5}'
    assert found["--object-store-memory"] == 2**30


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("zone", "'zone' is not of the form zone=north"),
        ("=north", "'=north' is not of the form"),
        ("zone=a,zone=b", "has 'zone' twice"),
        ("anabranch.io/ingress=true", "are the engine's and Ray's"),
        ("ray.io/node-id=1", "are the engine's and Ray's"),
        ("zone=north/south", "has no value of at most 63 letters"),
        (f"{'n' * 64}=a", "has no name of at most 63 letters"),
        ("a b=c", "has no name"),
    ],
)
def test_labels_that_are_none(labels: str, text: str) -> None:
    with pytest.raises(EngineError, match=text) as told:
        MachineOptions(labels=labels).arguments("m1")
    assert str(told.value).startswith("--labels")


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ("CPU", "'CPU' is not of the form CPU=8"),
        ("CPU=2.5", "CPU=2.5 is no whole number of at least 0"),
        ("CPU=-1", "CPU=-1 is no whole number"),
        ("GPU=many", "GPU=many is no whole number"),
        ("CPU=inf", "CPU=inf is no whole number"),
        ("licence=nan", "licence=nan is no number of at least 0"),
        ("memory=8Gi", "--resources memory: .*'8Gi' is not a size"),
        ("a b=1", "'a b' is no name of at most 63 letters"),
        ("CPU=1,CPU=2", "has 'CPU' twice"),
    ],
)
def test_resources_that_are_none(resources: str, text: str) -> None:
    with pytest.raises(EngineError, match=text) as told:
        MachineOptions(resources=resources).arguments("m1")
    assert str(told.value).startswith("--resources")
