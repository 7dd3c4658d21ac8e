"""Imports Ray Serve once, apart from the rule that warnings are errors: it warns of itself."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401

import pytest

from tests.router.conftest import Demo


@pytest.fixture(scope="session")
def demo() -> type[Demo]:
    return Demo
