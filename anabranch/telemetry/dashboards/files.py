"""The dashboards and rules as files, for ``deploy/`` and for those who have a Grafana already."""

from __future__ import annotations

import json

import yaml

from anabranch.telemetry.dashboards import rules
from anabranch.telemetry.dashboards.grafana import to_json
from anabranch.telemetry.dashboards.graph import GRAPH
from anabranch.telemetry.dashboards.overview import OVERVIEW
from anabranch.telemetry.dashboards.promql import Source
from anabranch.telemetry.dashboards.rollout import ROLLOUT

DASHBOARDS = (OVERVIEW, GRAPH, ROLLOUT)
_NOTE = "# Written by `anabranch dashboards export`.\n"


def files(source: Source) -> dict[str, str]:
    """Return every file by its path below the folder that they go to."""
    found = {f"grafana/dashboards/anabranch-{one.name}.json": one for one in DASHBOARDS}
    texts = {
        path: json.dumps(to_json(one, source), indent=2, ensure_ascii=False) + "\n"
        for path, one in found.items()
    }
    text = yaml.safe_dump(rules.to_yaml(source), sort_keys=False, allow_unicode=True, width=100)
    return texts | {"prometheus/rules/anabranch.yml": _NOTE + text}
