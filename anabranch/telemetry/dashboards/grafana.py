"""Dashboards as Grafana's JSON: panels are data, and are laid out from left to right.

The JSON is of schema version 42, that of Grafana 12; newer ones migrate it.
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal, TypeAlias

from anabranch.telemetry.dashboards.promql import Expr, Source, named

SCHEMA_VERSION = 42
COLUMNS = 24
"""Width of a dashboard, in Grafana's units."""
_SMALL, _LARGE = 4, 8
"""Heights of a panel."""
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True}
SHOWN = "Over the time shown."
"""Note of a panel whose values are over the time that the dashboard shows."""

Json: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["timeseries", "stat", "state-timeline", "heatmap", "table"]
Unit: TypeAlias = Literal[
    "reqps", "ops", "s", "percentunit", "percent", "short", "cps", "Bps", "bytes"
]
"""Grafana's units: requests, operations, counts and bytes a second, seconds, ratios, numbers."""


@dataclass(frozen=True)
class GrafanaPanel:
    """One panel of one query or several.

    ``alarm`` is the value from which on it is red, ``note`` precedes the help of its metrics, and
    ``signed`` says that values may be below 0.
    """

    title: str
    unit: Unit
    queries: Expr | tuple[Expr, ...]
    kind: Kind = "timeseries"
    note: str = ""
    stacked: bool = False
    alarm: float | None = None
    exemplars: bool = False
    signed: bool = False

    def all(self) -> tuple[Expr, ...]:
        """Return the queries."""
        return (self.queries,) if isinstance(self.queries, Expr) else self.queries

    def description(self) -> str:
        """Return the description, in the words of the metrics' definitions."""
        metrics = dict.fromkeys(metric for query in self.all() for metric in query.metrics)
        texts = [f"`{metric.name}`: {metric.help}" for metric in metrics]
        return "\n\n".join([self.note, *texts] if self.note else texts)


class Section:
    """Panels under a heading, which may be folded away, as what only some graphs have is.

    The panels take the ``widths`` in turn.
    """

    def __init__(
        self,
        title: str,
        *panels: GrafanaPanel,
        widths: tuple[int, ...] = (8,),
        folded: bool = False,
    ) -> None:
        self.title = title
        self.panels = tuple(zip(panels, cycle(widths), strict=False))
        self.folded = folded


@dataclass(frozen=True)
class Variable:
    """A label's values to choose from: of a series such as ``up{job="x"}``."""

    name: str
    title: str
    series: str
    label: str
    many: bool = False
    newest: bool = False
    """Whether the highest number comes first."""


@dataclass(frozen=True)
class Dashboard:
    """A dashboard; ``name`` is the end of its uid."""

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    sections: tuple[Section, ...]


def uid(dashboard: Dashboard, source: Source) -> str:
    """Return the dashboard's identifier in Grafana, whose page of it is ``/d/UID``."""
    return f"{_tag(source)}-{dashboard.name}"


def _tag(source: Source) -> str:
    return "anabranch" if source == "gateway" else "anabranch-ray"


def to_json(dashboard: Dashboard, source: Source) -> Json:
    """Return the dashboard as Grafana reads it, over the metrics of an export."""
    tag = _tag(source)
    return {
        "uid": uid(dashboard, source),
        "title": dashboard.title if source == "gateway" else f"{dashboard.title} (Ray)",
        "description": dashboard.description,
        "tags": [tag],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [_link(tag)],
        "templating": {"list": _variables(dashboard.variables, source)},
        "panels": list(_laid_out(dashboard.sections, source)),
    }


def _link(tag: str) -> Json:
    """Return the link from each of our dashboards to the others, for the same graph and time."""
    return {
        "title": "Dashboards",
        "type": "dashboards",
        "tags": [tag],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _variables(variables: Sequence[Variable], source: Source) -> list[Json]:
    datasource = {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "hide": 0,
    }
    return [datasource, *(_variable(one, source) for one in variables)]


def _variable(variable: Variable, source: Source) -> Json:
    query = f"label_values({named(variable.series, source)}, {variable.label})"
    every = {"current": {"text": ["All"], "value": ["$__all"]}, "allValue": ".+"}
    return {
        "name": variable.name,
        "label": variable.title,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": f"variable-{variable.name}"},
        "refresh": 2,
        "regex": "",
        "sort": 4 if variable.newest else 3,
        "multi": variable.many,
        "includeAll": variable.many,
        "hide": 0,
        **(every if variable.many else {}),
    }


def _laid_out(sections: Sequence[Section], source: Source) -> Iterator[Json]:
    """Yield rows and panels with their places; a folded row holds its panels itself."""
    top, number = 0, 1
    for section in sections:
        row = {
            "id": number,
            "type": "row",
            "title": section.title,
            "collapsed": section.folded,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        panels = list(_placed(section, source, number + 1, top + 1))
        number += 1 + len(panels)
        bottom = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels)
        top = top + 1 if section.folded else bottom
        yield from [{**row, "panels": panels}] if section.folded else [row, *panels]


def _placed(section: Section, source: Source, number: int, top: int) -> Iterator[Json]:
    left = height = 0
    for place, (panel, width) in enumerate(section.panels):
        if left + width > COLUMNS:
            left, top, height = 0, top + height, 0
        tall = _SMALL if panel.kind == "stat" else _LARGE
        yield _panel(panel, source) | {
            "id": number + place,
            "gridPos": {"x": left, "y": top, "w": width, "h": tall},
        }
        left, height = left + width, max(height, tall)


def _panel(panel: GrafanaPanel, source: Source) -> Json:
    letters = zip(string.ascii_uppercase, panel.all(), strict=False)
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": named(panel.description(), source),
        "datasource": _DATASOURCE,
        "targets": [_target(letter, query, panel, source) for letter, query in letters],
        **_LOOKS[panel.kind](panel),
    }


def _target(letter: str, query: Expr, panel: GrafanaPanel, source: Source) -> Json:
    instant = panel.kind in ("stat", "table")
    return {
        "refId": letter,
        "datasource": _DATASOURCE,
        "editorMode": "code",
        "expr": named(query.text, source),
        "legendFormat": re.sub(r"\{\w+\}", r"{\g<0>}", query.legend),
        "instant": instant,
        "range": not instant,
        # Ray's gauges have none.
        "exemplar": panel.exemplars and source == "gateway",
        **({"format": panel.kind} if panel.kind in ("heatmap", "table") else {}),
    }


def _timeseries(panel: GrafanaPanel) -> Json:
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if panel.alarm is None else "line"},
    }
    tooltip = {"mode": "multi", "sort": "desc"}
    return _look(_defaults(panel, custom), legend=_LEGEND, tooltip=tooltip)


def _stat(panel: GrafanaPanel) -> Json:
    return _look(
        _defaults(panel, {}) | {"noValue": "none"},
        colorMode="value",
        graphMode="none",
        textMode="auto",
        reduceOptions={"calcs": ["lastNotNull"], "fields": "", "values": False},
    )


def _state_timeline(panel: GrafanaPanel) -> Json:
    mapping = {"0": {"text": "no", "color": "transparent"}, "1": {"text": "yes", "color": "blue"}}
    defaults = _defaults(panel, {"fillOpacity": 80, "lineWidth": 0})
    return _look(
        defaults | {"mappings": [{"type": "value", "options": mapping}]},
        mergeValues=True,
        showValue="never",
        legend={**_LEGEND, "showLegend": False},
        tooltip={"mode": "single", "sort": "none"},
    )


def _heatmap(panel: GrafanaPanel) -> Json:
    return _look(
        {},
        calculate=False,
        cellGap=1,
        color={"mode": "scheme", "scheme": "Spectral", "steps": 64},
        exemplars={"color": "rgba(255,0,255,0.7)"},
        yAxis={"unit": panel.unit, "axisPlacement": "left"},
        tooltip={"mode": "single", "yHistogram": True},
        legend={"show": True},
    )


def _table(panel: GrafanaPanel) -> Json:
    organize = {"id": "organize", "options": {"excludeByName": {"Time": True}}}
    look = _look(_defaults(panel, {"align": "auto"}), showHeader=True, cellHeight="sm")
    return look | {"transformations": [organize]}


_LOOKS = {
    "timeseries": _timeseries,
    "stat": _stat,
    "state-timeline": _state_timeline,
    "heatmap": _heatmap,
    "table": _table,
}


def _look(defaults: Json, **options: Any) -> Json:
    return {"fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}


def _defaults(panel: GrafanaPanel, custom: Json) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.alarm is not None:
        steps.append({"color": "red", "value": panel.alarm})
    return {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "custom": custom,
        **({} if panel.signed else {"min": 0}),
    }
