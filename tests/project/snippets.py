"""Fenced blocks of README.md, CONTRIBUTING.md and docs/, by page and first line.

Blocks of the tutorials are in ``tutorials``. What `make reference` writes is compared with the code
by ``tests/reference``, which runs the examples of built-ins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from anabranch.reference.pages import BEGIN, END

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIALS = ROOT / "docs" / "tutorials"
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_GENERATED = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


@dataclass(frozen=True)
class Snippet:
    """A block; ``text`` has no indentation of the list in which it stands."""

    page: str
    kind: str
    text: str

    @property
    def name(self) -> str:
        """Page and first line, by which tests know the block."""
        return f"{self.page}: {self.text.splitlines()[0].strip()}"


def blocks(document: Path, generated: bool = True) -> Iterator[Snippet]:
    """Yield the blocks of a document, in order; without the ``generated`` ones if that is false."""
    text = document.read_text()
    text = text if generated else _GENERATED.sub("", text)
    for indent, kind, body in _FENCE.findall(text):
        yield Snippet(document.name, kind, dedent(body) if indent else body)


def snippets(*kinds: str) -> list[Snippet]:
    """Return the blocks of some kinds that are written by hand, but for those of the tutorials."""
    pages = [one for one in DOCUMENTS if TUTORIALS not in one.parents]
    found = [one for page in pages for one in blocks(page, generated=False)]
    return [one for one in found if one.kind in kinds]
