from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.router.request_log.settings import LogSettings
from anabranch.router.request_log.sinks import Origin, open_sink
from anabranch.specs.models import RequestLog


@pytest.mark.parametrize(("graph", "folder"), [("demo", "demo"), ("team/demo", "team_demo")])
def test_each_graph_has_a_folder(tmp_path: Path, graph: str, folder: str) -> None:
    sink = open_sink(RequestLog(), Origin(graph, 3, "router"), LogSettings(tmp_path))
    assert sink.send([b"{}"]) == 1
    sink.close()
    assert [path.parent for path in tmp_path.rglob("*.jsonl")] == [tmp_path / folder]
