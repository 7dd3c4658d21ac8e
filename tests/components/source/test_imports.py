"""Imports in methods, in a process that serves several bundles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
from pathlib import Path
from anabranch.components.source import imports, roots
from anabranch.components.source.classes import load_class

imports.import_for_importer()
one, other = map(Path, sys.argv[1:])
first = load_class("model.py:Model", one)
second = load_class("model.py:Model", other)
print(first.late(), second.late(), first.late())
roots.drop(one)
print(str(one) in sys.path, roots.root_of(str(one / "model.py")), second.late())
files = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items()}
print([name for name, file in files.items() if str(one) in file])
"""
_MODEL = """
class Model:
    @staticmethod
    def late():
        import json, package.inner
        from helper import NAME
        from . import helper
        assert helper.NAME == package.inner.NAME == NAME
        return NAME
"""


def test_each_bundle_s_code_finds_its_own_modules_whichever_is_active(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "package").mkdir(parents=True)
        (tmp_path / name / "model.py").write_text(_MODEL)
        for file in ("helper.py", "package/inner.py"):
            (tmp_path / name / file).write_text(f"NAME = {name!r}")
    command = [sys.executable, "-c", _SCRIPT, str(tmp_path / "one"), str(tmp_path / "other")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["one other one", "False None other", "[]"]


_RACE = """
import sys, threading
from pathlib import Path
from anabranch.components.source import imports, roots
from anabranch.components.source.classes import load_class

imports.import_for_importer()
first, *others = map(Path, sys.argv[1:])
model = load_class("model.py:Model", first)
go, done, wrong = threading.Event(), threading.Event(), []

def call():
    while not done.is_set():
        go.set()
        if model.late() != first.name:
            wrong.append("mixed")

thread = threading.Thread(target=call)
sys.setswitchinterval(1e-6)
thread.start()
go.wait()
names = [load_class("model.py:Model", root).late() for root in others]
done.set()
thread.join()
print(wrong, names == [root.name for root in others])
"""


def test_code_that_runs_while_other_bundles_are_loaded_keeps_its_modules(tmp_path: Path) -> None:
    names = [f"bundle{number}" for number in range(30)]
    for name in names:
        (tmp_path / name / "package").mkdir(parents=True)
        (tmp_path / name / "model.py").write_text(_MODEL)
        for file in ("helper.py", "package/inner.py"):
            (tmp_path / name / file).write_text(f"NAME = {name!r}")
    command = [sys.executable, "-c", _RACE, *(str(tmp_path / name) for name in names)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("[] True\n", "")
