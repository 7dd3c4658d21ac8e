"""The manifests on the pages about switching are imported, and give the graphs that are shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from anabranch.importers.importing import import_source
from tests.importers.imported import imported
from tests.project.switching import PAGES, Shown, repository, shown


def test_there_are_pages() -> None:
    assert PAGES
    assert shown()


@pytest.mark.parametrize("pair", shown(), ids=lambda pair: pair.manifest.name)
def test_a_manifest_gives_the_graph_that_is_shown(pair: Shown) -> None:
    graphs = imported(pair.manifest.text)
    if pair.graph is not None:
        assert yaml.safe_load(pair.graph.text) == graphs[0].spec


def test_a_model_repository_gives_the_graph_that_is_shown(tmp_path: Path) -> None:
    found = repository()
    assert len(found.files) > 1
    for path, text in found.files.items():
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    (graph,) = import_source(tmp_path / "models")
    assert yaml.safe_load(found.graph.text) == graph.spec
