"""What does not fit is named, with what would."""

from __future__ import annotations

import re
from typing import Any

import pytest

from anabranch.control.engine.attaching.versions import (
    Machine,
    other_interpreters,
    require_own,
    require_same_anabranch,
    require_same_ray,
)
from anabranch.errors import EngineError

OWN = {"ray": "2.60.0", "python": "3.11.9", "anabranch": "0.1.0"}


def machine(name: str, **fields: Any) -> Machine:
    usual = {"address": "10.0.0.2", "anabranch": "0.1.0", "python": "/python", "user": 7}
    return Machine(name, **{**usual, "sees_home": True, **fields})


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (
            {"ray": "2.59.1", "python": "3.11.9"},
            "version 2.59.1, and an engine needs 2.60 or newer",
        ),
        ({"ray": "2.61.0", "python": "3.11.9"}, "has ray 2.61.0, and here is ray 2.60.0:"),
        ({"ray": "2.60.0", "python": "3.12.1"}, "has python 3.12.1, and here is python 3.11.9:"),
        ({"ray": "2.60.0", "python": "3.11.4"}, "has python 3.11.4, and here is python 3.11.9:"),
        ({"ray": "3.0.0.dev0", "python": "3.12.1"}, "ray 3.0.0.dev0, and here is ray 2.60.0; pyth"),
        ({}, "ray unknown, and here is ray 2.60.0; python unknown"),
    ],
)
def test_another_ray_or_python_is_refused(cluster: dict[str, str], said: str) -> None:
    told = {f"{name}_version": value for name, value in cluster.items()}
    with pytest.raises(EngineError, match=re.escape(said)):
        require_same_ray(told, OWN)


def test_the_same_versions_fit() -> None:
    require_same_ray({"ray_version": "2.60.0", "python_version": "3.11.9"}, OWN)
    require_same_anabranch([machine("one"), machine("two")], "0.1.0")
    require_own(machine("one"), 7, "/home")
    assert other_interpreters([machine("one")], "/python") == ()


def test_all_machines_without_this_anabranch_are_named() -> None:
    machines = [machine("one"), machine("two", anabranch=""), machine("three", anabranch="0.2.0")]
    said = r"two \(10\.0\.0\.2\) has none, three \(10\.0\.0\.2\) has version 0\.2\.0: install it"
    with pytest.raises(EngineError, match=said):
        require_same_anabranch(machines, "0.1.0")


def test_ray_must_be_able_to_use_the_home() -> None:
    with pytest.raises(EngineError, match="as user 7, who cannot read the home /home of user 8"):
        require_own(machine("one"), 8, "/home")
    with pytest.raises(EngineError, match="does not see the folder /home: type `anabranch up` wh"):
        require_own(machine("one", sees_home=False), 7, "/home")


def test_other_interpreters_are_a_warning() -> None:
    (warning,) = other_interpreters([machine("one"), machine("two", python="/other")], "/python")
    assert "another interpreter than /python on two (10.0.0.2)" in warning
