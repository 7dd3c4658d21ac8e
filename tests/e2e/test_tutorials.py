"""Each tutorial from its first command to its last, on the session's engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.engines import Engine
from tests.project.test_tutorials import NEEDS
from tests.project.tutorials import PAGES, Command, File, steps

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]

DONE_ALREADY = (["anabranch", "up"], ["anabranch", "down"], ["pip", "install"])


@pytest.fixture
def folder(engine: Engine, tmp_path: Path) -> Iterator[Path]:
    """Return the reader's folder; graphs that were deployed from it are deleted afterwards."""
    engine.until_left()
    yield tmp_path
    for path in tmp_path.glob("*.yaml"):
        name = yaml.safe_load(path.read_text())["metadata"]["name"]
        engine.command("delete", name, "--yes")
        engine.leaving.add(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_whole(engine: Engine, page: Path, folder: Path) -> None:
    for module in NEEDS[page.stem]:
        pytest.importorskip(module)
    env = {**engine.env, "ANABRANCH_HOME": str(engine.home)}
    for step in steps(page.read_text()):
        if isinstance(step, File):
            step.write(folder)
        elif step.words[:2] not in DONE_ALREADY:
            here(engine, step).run(folder, env)


def here(engine: Engine, command: Command) -> Command:
    """Return a command for this engine's port, and for a machine that tests keep busy."""
    text = command.text.replace("localhost:8000", f"127.0.0.1:{engine.ports.http}")
    if command.words[:2] == ["anabranch", "deploy"]:
        text += " --timeout 280s"
    return replace(command, text=text)
