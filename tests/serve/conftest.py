"""Imports Ray Serve once, apart from the rule that warnings are errors: it warns of itself."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from anabranch.serve.calls.secret import TOKEN
from anabranch.serve.sockets import FOLDER
from tests.router.conftest import Demo


@pytest.fixture(scope="session")
def demo() -> type[Demo]:
    return Demo


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of sockets, and a token, as replicas find them."""
    with TemporaryDirectory(prefix="ab-") as folder:
        token = Path(folder) / "token"
        token.write_text("of the test")
        monkeypatch.setenv(FOLDER, folder)
        monkeypatch.setenv(TOKEN, str(token))
        yield Path(folder)
