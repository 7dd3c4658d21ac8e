"""Bytecode that is imported without its source's time, and is the same each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from anabranch.client.image.bytecode import with_bytecode
from anabranch.client.image.layers import Content

SET = {f"word {number}" for number in range(50)}
"""Written in an order that is another in each process, unless that is prevented."""


def compiled(folder: Path, entries: dict[str, Content]) -> dict[str, bytes]:
    folder.mkdir()
    found = with_bytecode(entries, folder)
    return {
        path: content.read_bytes()
        for path, content in found.items()
        if path.endswith(".pyc") and isinstance(content, Path)
    }


def test_sources_are_imported_from_what_they_compile_to(tmp_path: Path) -> None:
    source, broken, words = (tmp_path / name for name in ("one.py", "broken.py", "words.txt"))
    source.write_text(f"WORD = 'old'\nIS_KNOWN = WORD in {{*'x'}} or WORD in {SET}\n")
    broken.write_text("def (:\n")
    words.write_text("x")
    entries: dict[str, Content] = {
        "site/one.py": source, "site/broken.py": broken, "site/words.txt": words,
    }  # fmt: skip
    tag = sys.implementation.cache_tag
    found = compiled(tmp_path / "a", entries)
    assert list(found) == [f"site/__pycache__/one.{tag}.pyc"]
    assert compiled(tmp_path / "b", entries) == found
    place = tmp_path / "site"
    (place / "__pycache__").mkdir(parents=True)
    (place / f"__pycache__/one.{tag}.pyc").write_bytes(*found.values())
    (place / "one.py").write_text("WORD = 'new'\n")  # which nobody compares
    code = "import one; print(one.WORD, one.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(place)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["old", str(place / "one.py")]
