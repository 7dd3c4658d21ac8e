"""What a task of Ray sees is said in plain values, wherever anabranch is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from ray import cloudpickle

from anabranch.control.engine.attaching import probe


def test_it_tells_of_this_machine(tmp_path: Path) -> None:
    own = version("anabranch"), sys.executable, os.getuid()
    assert probe.look(str(tmp_path)) == (*own, True)
    assert probe.look(str(tmp_path / "missing")) == (*own, False)


def test_it_needs_nothing_where_it_runs(tmp_path: Path) -> None:
    """It is sent by value to a Python that has no packages at all."""
    cloudpickle.register_pickle_by_value(probe)
    (tmp_path / "pickle").write_bytes(cloudpickle.dumps(probe.look))
    site = str(Path(cloudpickle.__file__).parents[1])
    code = (
        "import sys, types; sys.path.insert(0, sys.argv[2]);"
        " ray = sys.modules['ray'] = types.ModuleType('ray'); ray.__path__ = [sys.argv[2]];"
        " import pickle; look = pickle.load(open(sys.argv[1], 'rb')); print(look('/')[0] == '')"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path / "pickle"), site],
        capture_output=True, text=True, timeout=60, env={},
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
