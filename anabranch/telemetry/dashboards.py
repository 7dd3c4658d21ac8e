"""Grafana dashboards and Prometheus rules: the files in ``deploy/``, which the package holds, too.

They read the metrics that the gateway exports at ``/metrics``. For a Prometheus that scrapes Ray's
agents instead, the names of metrics, recording rules and the job are replaced.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any, Literal, TypeAlias

Source: TypeAlias = Literal["gateway", "ray"]
"""Exporter of the metrics: the gateway at ``/metrics``, or Ray's agents."""
PREFIXES: dict[Source, str] = {"gateway": "", "ray": "ray_"}
"""Prefixes of the names of metrics and recording rules, by exporter."""
JOBS: dict[Source, str] = {"gateway": "anabranch", "ray": "ray"}
"""The job that scrapes the exporter, in ``deploy/prometheus/prometheus.yml``."""
DASHBOARDS = ("overview", "graph", "rollout")


def uid(dashboard: str) -> str:
    """Return the id of a dashboard over the gateway's metrics, which is part of its URL."""
    return f"anabranch-{dashboard}"


def dashboard_files(source: Source) -> dict[str, str]:
    """Return the dashboards and rules for an exporter, by their paths below the target folder."""
    package = files("anabranch.telemetry")
    found = {}
    for name in DASHBOARDS:
        text = (package / "grafana" / f"anabranch-{name}.json").read_text("utf-8")
        if source == "ray":
            text = _dump(_for_ray(json.loads(text)))
        found[f"grafana/dashboards/anabranch-{name}.json"] = text
    rules = (package / "prometheus" / "anabranch.yml").read_text("utf-8")
    of_gateway, of_source = (f'job="{JOBS[one]}"' for one in ("gateway", source))
    rules = rename(rules, source).replace(of_gateway, of_source)
    return found | {"prometheus/rules/anabranch.yml": rules}


def rename(text: str, source: Source) -> str:
    """Return a text with the names that an exporter gives to metrics and recording rules."""
    return re.sub(r"\banabranch(?=[_:])", f"{PREFIXES[source]}anabranch", text)


def _dump(dashboard: Any) -> str:
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def _for_ray(dashboard: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard with Ray's names, which can be loaded beside the gateway's."""
    changed: dict[str, Any] = _renamed(dashboard)
    return changed | {
        "uid": dashboard["uid"].replace("anabranch-", "anabranch-ray-"),
        "title": f"{dashboard['title']} (Ray)",
    }


def _renamed(value: Any, field: str = "") -> Any:
    match value:
        case dict():
            return {name: _renamed(inner, name) for name, inner in value.items()}
        case list():
            return [_renamed(inner, field) for inner in value]
        case "anabranch" if field == "tags":
            return "anabranch-ray"
        case str():
            return rename(value, "ray")
        case bool() if field == "exemplar":
            return False  # Ray's metrics have none
    return value
