"""Packages that an image needs: with what they require, without what engines need alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.image.distributions import (
    closure,
    distributions_of_modules,
    entries_of_distributions,
)
from anabranch.errors import InvalidRequest


def test_a_package_comes_with_what_it_requires_and_without_ray() -> None:
    found = closure(["anabranch"])
    assert {"anabranch", "numpy", "uvicorn", "h11", "pydantic-core"} <= found.keys()
    assert not {"ray", "pytest", "torch"} & found.keys()


def test_modules_are_traced_to_their_packages() -> None:
    assert distributions_of_modules(["yaml", "json", "ray", "numpy"]) == {"pyyaml", "numpy"}


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(InvalidRequest, match="package 'no-such-thing' is not installed"):
        closure(["No_Such.Thing"])


def test_files_have_no_bytecode_and_no_notes_of_installers() -> None:
    found = entries_of_distributions(closure(["anabranch"]), "site")
    names = {Path(path).name for path in found}
    assert not {"RECORD", "INSTALLER", "direct_url.json"} & names
    assert not any("__pycache__" in path or path.endswith((".pyc", ".pth")) for path in found)
    assert {"site/anabranch/py.typed", "site/anabranch/router/standalone/server.py"} <= found.keys()
    assert any(path.startswith("site/numpy/") for path in found)
    assert any(path.startswith("site/anabranch-") and path.endswith("METADATA") for path in found)
