"""Disks run full under an engine, and have space again."""

import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path

import httpx
import psutil
import pytest

from anabranch.serve.edge.process import PID_FILE
from tests.disks import fill, names, small_disk
from tests.engines import HTTP, Engine, done
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.nightly]
EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart"
MIB = 2**20


@pytest.fixture
def short_folder():
    """A folder whose path leaves room for a disk for temporary files, and for sockets on that."""
    folder = Path(tempfile.gettempdir()) / f"f{secrets.token_hex(1)}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def change(folder, text):
    """A copy of the example with something new in it."""
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    (folder / "note.txt").write_text(text)
    return folder / "graph.yaml"


def answers(engine):
    try:
        return HTTP.post(
            f"{engine.url}/v2/models/quickstart/infer",
            json={
                "inputs": [
                    {"name": "fruit", "datatype": "FP32", "shape": [1, 2], "data": [0.9, 0.2]}
                ]
            },
        ).is_success
    except httpx.HTTPError:
        return False


def refused(engine, spec, folder):
    """A deploy fails, and says which folder has too little room; requests are answered."""
    failed = engine.process("deploy", spec)
    assert failed.returncode == 1
    said = failed.stderr.splitlines()[-1]
    assert said.startswith(f"error: {folder}") and "bytes are needed" in said, said
    assert "Traceback" not in failed.stderr
    assert answers(engine)
    assert "quickstart" in done(engine.process("status")).stdout


def test_deploys_wait_for_space_and_nothing_else_does(tmp_path, short_folder):
    """HAProxy, which is killed meanwhile, starts again without any."""
    with (
        small_disk(tmp_path / "home", 96 * MIB) as home,
        small_disk(short_folder / "d", 256 * MIB) as disk,
    ):
        engine = Engine(home, {"TMPDIR": str(disk)})
        try:
            engine.up()
            done(engine.process("deploy", change(tmp_path / "graph", "first")))
            ballast = fill(home)
            spec = change(tmp_path / "graph", "second")
            refused(engine, spec, home)
            assert len(names(home / "bundles")) == 1
            ballast.unlink()
            done(engine.process("deploy", spec))

            ballast = fill(disk)
            spec = change(tmp_path / "graph", "third")
            refused(engine, spec, disk)
            (pid_file,) = Path(engine.state.runtime).glob(f"*/{PID_FILE}")
            haproxy = psutil.Process(int(pid_file.read_text()))
            os.kill(haproxy.pid, signal.SIGKILL)
            until(lambda: not haproxy.is_running() or haproxy.status() == psutil.STATUS_ZOMBIE)
            assert answers(engine)
            ballast.unlink()
            done(engine.process("deploy", spec))
            assert answers(engine)
        finally:
            engine.process("down")
        assert names(disk) == []
