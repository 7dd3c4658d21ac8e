"""Tutorials as programs: the files that a page shows, and the commands that it has a reader run.

A page is CommonMark. Its fences are, in order:

- a file, where the text before the fence ends with its name: ``Save this as `train.py`:``. A later
  file of the same name takes its place;
- ``sh``: commands, one a line;
- ``console``: commands behind ``$``, each with what it prints;
- ``python`` without a file: a program; what it prints is in a fence ``text`` right after it.

In what is printed, ``…`` stands for any text, and alone in a line for any lines; the width of
columns may differ. Other fences are mistakes, so that nothing on a page is left unchecked.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.stem != "index")
HERE = frozenset({"validate", "plan"})
"""Commands of anabranch that need no engine."""
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w./-]+)`:\s*\Z")


@dataclass(frozen=True)
class File:
    """A file that the reader saves."""

    name: str
    text: str

    def write(self, folder: Path) -> None:
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text)


@dataclass(frozen=True)
class Command:
    """A command of a shell, with what it prints; None where the page does not say."""

    text: str
    printed: str | None = None
    stdin: str | None = None

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)

    @property
    def needs_engine(self) -> bool:
        if "localhost:" in self.text:
            return True
        return self.words[0] == "anabranch" and self.words[1] not in HERE

    def run(self, folder: Path, env: Mapping[str, str]) -> str:
        """Run it in a folder; AssertionError where it fails or prints something else."""
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", self.text],
            cwd=folder,
            env={**os.environ, "PYTHONWARNINGS": "ignore", **env, "PATH": programs},
            input=self.stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{self.text}\n{done.stdout}"
        if self.printed is not None:
            shown = f"{self.text}\nprinted\n{done.stdout}\nbut the page shows\n{self.printed}"
            assert agrees(done.stdout, self.printed), shown
        return done.stdout


Step = File | Command


def steps(text: str) -> Iterator[Step]:
    """Yield the steps of a page in order; ValueError for a fence that is none."""
    fences = list(_FENCE.finditer(text))
    for index, fence in enumerate(fences):
        kind, body = fence[1], fence[2]
        before = text[fences[index - 1].end() if index else 0 : fence.start()]
        after = fences[index + 1] if index + 1 < len(fences) else None
        name = _FILE.search(before)
        if name is not None:
            yield File(name[1], body)
        elif kind == "sh":
            yield from (Command(line) for line in _joined(body).splitlines() if line.strip())
        elif kind == "console":
            yield from _shown(body)
        elif kind == "python":
            follows = after is not None and after[1] == "text"
            yield Command("python -", after[2] if after is not None and follows else None, body)
        elif kind != "text" or not index or fences[index - 1][1] != "python":
            raise ValueError(f"a fence {kind!r} is neither a file nor run: {body[:60]!r}")


def _joined(body: str) -> str:
    return body.replace("\\\n", " ")


def _shown(body: str) -> Iterator[Command]:
    first, *parts = re.split(r"^\$ ", _joined(body), flags=re.MULTILINE)
    if first:
        raise ValueError(f"a console begins with '$ ', not {first[:60]!r}")
    for part in parts:
        command, _, printed = part.partition("\n")
        yield Command(command, printed)


def agrees(printed: str, shown: str) -> bool:
    """Return whether a program printed what a page shows, but for the width of columns."""
    pattern = ""
    for line in _lines(shown):
        parts = map(re.escape, line.split("…"))
        pattern += r"(?:[^\n]*\n)*" if line == "…" else ".*".join(parts) + "\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def _lines(text: str) -> list[str]:
    return [re.sub(" +", " ", line.rstrip()) for line in text.strip().splitlines()]
