"""The disk of an engine's home hangs, or takes nothing any more: predictions go on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import broken, frozen, sick_disk
from tests.e2e.conftest import node, spec
from tests.engines import Engine, done
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
MIB = 2**20
NAME = "steady"
CODE = """
class Add:
    def transform(self, x):
        return x + {number}
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine on a disk of its own, with a graph."""
    with sick_disk(tmp_path / "home", 128 * MIB) as home:
        one = Engine(home, {})
        try:
            one.up()
            done(one.process("deploy", bundle(tmp_path, 1)))
            yield one
        finally:
            state = one.state
            one.process("down")  # which says what the disk does not take
            assert state is None or one.processes(state) == []


def bundle(folder: Path, number: int) -> Path:
    path = folder / f"{NAME}-{number}" / "graph.yaml"
    path.parent.mkdir()
    (path.parent / "components.py").write_text(CODE.format(number=number))
    path.write_text(json.dumps(spec(NAME, add=node("Add"))))
    return path


def begun(engine: Engine, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        engine.command_line(*arguments), env=engine.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def answers(engine: Engine, count: int) -> None:
    """Every one of so many requests is answered."""
    statuses = [engine.infer(NAME).status_code for _ in range(count)]
    assert set(statuses) == {200}


def test_predictions_go_on_while_the_disk_hangs_and_deploys_once_it_goes_on(
    engine: Engine, tmp_path: Path
) -> None:
    with frozen(engine.home):
        deploy = begun(engine, "deploy", bundle(tmp_path, 2))
        answers(engine, 500)
        assert deploy.poll() is None or "Traceback" not in deploy.communicate()[1]
        answers(engine, 500)
    deploy.communicate(timeout=300)
    until(lambda: engine.command("status").returncode == 0, 120)
    done(engine.process("deploy", bundle(tmp_path, 3)))
    answers(engine, 10)


def test_predictions_go_on_where_nothing_can_be_written_and_a_deploy_says_so(
    engine: Engine, tmp_path: Path
) -> None:
    broken(engine.home)
    answers(engine, 200)
    failed = engine.process("deploy", bundle(tmp_path, 2))
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "Read-only file system" in failed.stderr or "store" in failed.stderr, failed.stderr
    answers(engine, 200)
