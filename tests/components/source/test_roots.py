"""Import roots in a process whose modules were marked, as those of forks are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
from pathlib import Path
from anabranch.components.source import roots
from anabranch.components.source.classes import load_class

one, other = map(Path, sys.argv[1:])
roots.mark_modules()
before = set(roots._names())
first = load_class("model.py:Model", one)
second = load_class("model.py:Model", other)
again = load_class("model.py:Model", one)
print(len(before), first.name(), second.name(), again is first)
(one / "helper.py").write_text("NAME = 'changed'")
print(load_class("model.py:Model", one).name())
"""
_MODEL = """
from helper import NAME

class Model:
    @staticmethod
    def name():
        return NAME
"""


def test_bundles_stay_apart_where_older_modules_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.py").write_text(_MODEL)
        (tmp_path / name / "helper.py").write_text(f"NAME = {name!r}")
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "one"), str(tmp_path / "other")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "one", "other", "True", "changed"]
