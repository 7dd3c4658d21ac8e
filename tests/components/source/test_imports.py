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
