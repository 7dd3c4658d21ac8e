"""Every field of the language is described, with an example that loads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from anabranch.errors import SpecError
from anabranch.reference.language import NODE, examples, models, sections
from anabranch.specs.schema import json_schema

DOCS = Path(__file__).parents[2] / "docs"
GRAPHS = DOCS / "reference" / "graphs"
NODES = {"Transformer", "Predictor", "Combiner", "Router", "Explainer"}
PAGE = sections(DOCS)


def rows() -> dict[tuple[str, str], list[str]]:
    """Return the cells of each field by model and name."""
    found = {}
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        for line in part.splitlines():
            if line.startswith("| `"):
                cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                found[part.split()[0], cells[0].strip("`")] = cells
    return found


ROWS = rows()


def fields() -> Iterator[tuple[str, str]]:
    document = json_schema()
    named: dict[str, Any] = {"InferenceGraph": document, **document["$defs"]}
    for name, model in named.items():
        yield from ((name, field) for field in model.get("properties", ()))


def test_every_field_of_the_schema_has_a_row() -> None:
    missing = [
        (model, field)
        for model, field in fields()
        if (model, field) not in ROWS and not (model in NODES and (NODE, field) in ROWS)
    ]
    assert missing == []
    assert len(ROWS) > 120


def test_every_field_has_a_meaning_a_type_and_a_version() -> None:
    for key, (_, meaning, kind, *_, since) in ROWS.items():
        assert meaning and kind and re.fullmatch(r"\d+\.\d+\.\d+", since), key


def test_every_field_has_an_example_in_a_graph_that_compiles() -> None:
    found = examples(GRAPHS)
    missing = [
        (name, field)
        for name, model in models().items()
        for field in model["properties"]
        if (name, field) not in found
    ]
    assert missing == []


def test_limits_defaults_and_units_are_those_of_the_models() -> None:
    assert ROWS["Node", "retries"][2:5] == ["whole number", "`0`", "at least 0; at most 10"]
    assert ROWS["Spec", "timeout"][2] == "duration"
    assert ROWS["Resources", "memory"][2] == "size"
    assert ROWS["Monitor", "sample"][2] == "percentage"
    assert ROWS["Spec", "inputs"][3] == "required"
    assert ROWS["Reference", "first"][4] == "at least 2; at most 1000000"


def test_a_field_keeps_the_version_that_the_page_has_for_it(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS / "reference", docs / "reference")
    page = docs / "reference" / "language.md"
    lines = page.read_text().splitlines()
    seeds = [line for line in lines if line.startswith("| `seed` |")]
    assert len(seeds) == 1
    older = seeds[0].replace(f"| {version('anabranch')} |", "| 0.0.9 |")
    kept = [older if line == seeds[0] else line for line in lines if "| `colocate` |" not in line]
    page.write_text("\n".join(kept))
    now = sections(docs).splitlines()
    assert older in now
    (new,) = [line for line in now if line.startswith("| `colocate` |")]
    assert new.endswith(f"| {version('anabranch')} |")


def test_a_graph_that_does_not_compile_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("apiVersion: anabranch/v1\n")
    with pytest.raises(SpecError, match=r"wrong\.yaml"):
        examples(tmp_path)
