"""What the docs say about the package is true of it."""

from __future__ import annotations

import re
from pathlib import Path

from anabranch.graph.compile.compiler import PASSES

ROOT = Path(__file__).parents[2]


def test_the_architecture_lists_every_pass_in_order() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("| pass | does |")[1].split("\n\n")[0]
    listed = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert listed == [one.__name__ for one in PASSES]


def test_the_architecture_lists_every_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = {path.parent.name for path in (ROOT / "anabranch").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `anabranch/(\w+)`", text, re.MULTILINE)) == packages


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_what_starts_an_engine_is_marked_and_does_not_run_beside_the_others() -> None:
    for module in (ROOT / "tests" / "e2e").glob("test_*.py"):
        assert "pytest.mark.e2e" in module.read_text().partition("\npytestmark = ")[2], module
