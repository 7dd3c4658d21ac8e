"""A secret is in the process of the node that names it, and nowhere else."""

from __future__ import annotations

import io
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Given, node, spec
from tests.engines import BODY, Engine, files_below

pytestmark = pytest.mark.e2e

CODE = """
import logging
import os


class Keyed:
    def __init__(self):
        self.key = os.environ["PRICE_KEY"]
        assert os.environ["REGION"] == "europe"
        print("constructed with", self.key)
        logging.getLogger("keyed").warning("the key is %s", self.key)

    def transform(self, x):
        if (x < 0).any():
            raise ValueError(f"refused by {self.key}")
        return x * len(self.key)
"""
NEGATIVE = {"inputs": [{**BODY["inputs"][0], "data": [-1.0, 2.0]}]}


def keyed(name: str, file: Path) -> dict[str, Any]:
    """A graph whose nodes need the secret in the router's process and in one of their own."""
    more = {"env": {"REGION": "europe"}, "secrets": {"PRICE_KEY": {"file": str(file)}}}
    apart = {"placement": {"isolate": True}}
    return spec(name, near=node("Keyed", **more), far=node("Keyed", "near", **more, **apart))


def told(engine: Engine, name: str, spec_file: Path) -> Iterator[str]:
    """Yield what the engine and its commands say about a graph."""
    for path in ("", "/revisions", "/revisions/1", "/revisions/1/plan", "/revisions/1/files",
                 "/revisions/1/example", "/logs?tail=1000", "/traffic"):  # fmt: skip
        reply = engine.api("GET", f"/graphs/{name}{path}")
        assert reply.status_code == 200, reply.text
        yield reply.text
    yield engine.api("GET", f"/events?graph={name}").text
    yield engine.infer(name, NEGATIVE).text
    for command in ("status", "history", "logs"):
        done = engine.command(command, name)
        yield done.stdout + done.stderr
    yield engine.command("plan", str(spec_file), "-o", "json").stdout


def kept(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield all files below folders with their content; the members of zips one by one."""
    for path, content in files_below(*folders):
        yield path, content
        if path.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for member in archive.namelist():
                    yield path / member, archive.read(member)


def test_a_secret_reaches_its_nodes_and_nothing_else(
    engine: Engine, given: Given, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = secrets.token_hex(16)
    file = tmp_path_factory.mktemp("secrets") / "price-key"
    file.write_text(f"{key}\n")
    graph = keyed("keyed", file)
    name = given.deployed(graph, CODE)
    (found,) = engine.infer(name).json()["outputs"]
    assert found["data"] == [1.0 * 32 * 32, 2.0 * 32 * 32]
    refused = engine.infer(name, NEGATIVE)
    assert refused.status_code == 500 and "refused by ***" in refused.json()["error"]
    for text in ("constructed with ***", "the key is ***", "refused by ***"):
        given.until_logged(name, text)
    for reply in told(engine, name, given.bundle(graph, CODE)):
        assert key not in reply
    state = engine.state
    assert state is not None
    everything = list(kept(engine.home, Path(state.runtime)))
    assert any(path.name == "components.py" for path, _ in everything)
    assert any(b"refused by ***" in content for _, content in everything)
    assert [path for path, content in everything if key.encode() in content] == []


def test_a_secret_that_is_missing_fails_the_deploy_with_its_name_and_place(
    given: Given, tmp_path: Path
) -> None:
    file = tmp_path / "price-key"
    done = given.deploy(keyed("keyless", file), CODE)
    assert done.returncode == 1
    assert "node 'near': secret PRICE_KEY: " in done.stderr or "node 'far': secret " in done.stderr
    assert f"{file}: No such file or directory" in done.stderr
