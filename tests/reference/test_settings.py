"""Every environment variable that the code names is described, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from anabranch.reference.settings import INTERNAL, tables

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\bANABRANCH_[A-Z][A-Z_]*\b")


def test_the_page_has_what_the_code_names() -> None:
    told = set(NAME.findall(tables()))
    named = {
        name
        for path in (ROOT / "anabranch").rglob("*.py")
        if "reference" not in path.parts
        for name in NAME.findall(path.read_text())
    }
    assert told == named


def test_the_variables_of_other_projects_are_there() -> None:
    page = tables()
    assert "`MLFLOW_TRACKING_URI`" in page and "`OTEL_EXPORTER_OTLP_ENDPOINT`" in page


def test_no_variable_is_in_both_parts() -> None:
    own, _, internal = tables().partition("## Set by the engine")
    assert set(NAME.findall(internal)) == set(INTERNAL)
    assert not set(NAME.findall(own)) & set(INTERNAL)
