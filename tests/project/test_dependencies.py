"""What pyproject.toml asks for, the lock, the docs and the imports say the same."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.project import layout

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
UNLOCKED = {"torch", "xgboost", "gcsfs", "adlfs", "vllm", "feast", "onnxruntime-gpu"}
"""What depends on the machine, and what no test needs."""


def names(requirements: Iterable[str]) -> set[str]:
    found = {canonicalize_name(Requirement(one).name) for one in requirements}
    return found - {"anabranch"}


def optional() -> set[str]:
    return {name for extra in PROJECT["optional-dependencies"].values() for name in names(extra)}


packages_distributions = cache(metadata.packages_distributions)


@cache
def imported(package: Path) -> set[str]:
    """Return the top-level modules that any file of a package imports."""
    statements = (node for _, tree in layout.modules(package) for node in ast.walk(tree))
    return {module for node in statements for module in layout.imported(node)}


def test_every_core_dependency_is_imported() -> None:
    providers = packages_distributions()
    used = {
        canonicalize_name(distribution)
        for module in imported(ROOT / "anabranch")
        for distribution in providers.get(module, ())
    }
    assert names(PROJECT["dependencies"]) <= used


def test_every_import_is_a_dependency() -> None:
    providers = packages_distributions()
    # Pydantic and its core are released together; Ray Serve hands Starlette's objects to us.
    inside = {"anabranch", "pydantic-core", "starlette"}
    declared = names(PROJECT["dependencies"]) | optional() | inside
    undeclared = {
        module
        for module in imported(ROOT / "anabranch")
        if module in providers
        and not declared & {canonicalize_name(name) for name in providers[module]}
    }
    assert undeclared == set()


def test_the_docs_have_a_line_for_each() -> None:
    documented = {
        canonicalize_name(name)
        for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Za-z0-9-]+)(?:\[\w+\])?`", line.split("|")[1])
    }
    assert documented == names(PROJECT["dependencies"]) | optional()


def test_the_lock_pins_each_but_those_of_the_machine() -> None:
    pinned = names(line for line in LOCK.splitlines() if not line.startswith("#"))
    assert names(PROJECT["dependencies"]) | optional() - UNLOCKED <= pinned
    assert not pinned & UNLOCKED


@pytest.mark.parametrize("word", ["://", "--", "nvidia", "triton", " @ "])
def test_the_lock_names_no_place_and_no_platform(word: str) -> None:
    assert word not in LOCK


@pytest.mark.parametrize("name", ["Makefile", ".ci/run", "Dockerfile", "pyproject.toml"])
def test_what_is_set_up_comes_from_whatever_place_its_clients_know(name: str) -> None:
    """No address of a registry: each client has one, or a mirror that its user configured."""
    places = re.findall(r"\w+://[^\s'\"]+", (ROOT / name).read_text())
    assert [one for one in places if not one.startswith("http://127.0.0.1:")] == []


def test_only_explain_and_drift_hold_numpy_or_python_back() -> None:
    extras = {**PROJECT["optional-dependencies"]}
    del extras["explain"], extras["drift"]
    free = [*PROJECT["dependencies"], *(one for extra in extras.values() for one in extra)]
    held = [one for one in map(Requirement, free) if one.marker or one.name == "alibi"]
    assert held == []
    assert PROJECT["requires-python"] == ">=3.11"
    numpy = next(one for one in map(Requirement, free) if one.name == "numpy")
    assert numpy.specifier.contains("2.4.0") and numpy.specifier.contains("1.26.4")
