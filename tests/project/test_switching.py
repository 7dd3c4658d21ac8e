"""The manifests on the pages about switching are imported, and give the graphs that are shown."""

from __future__ import annotations

import pytest
import yaml

from tests.importers.imported import imported
from tests.project.switching import PAGES, Shown, shown


def test_there_are_pages() -> None:
    assert PAGES
    assert shown()


@pytest.mark.parametrize("pair", shown(), ids=lambda pair: pair.manifest.name)
def test_a_manifest_gives_the_graph_that_is_shown(pair: Shown) -> None:
    graphs = imported(pair.manifest.text)
    if pair.graph is not None:
        assert yaml.safe_load(pair.graph.text) == graphs[0].spec
