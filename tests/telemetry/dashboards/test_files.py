"""What lies in ``deploy/`` is what the command writes, and Grafana and Prometheus can read it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from anabranch.telemetry.dashboards.files import DASHBOARDS, files
from anabranch.telemetry.dashboards.promql import Source
from anabranch.telemetry.definitions import METRICS

DEPLOY = Path(__file__).parents[3] / "deploy"
SOURCES: tuple[Source, ...] = ("gateway", "ray")


def dashboards(source: Source) -> dict[str, dict[str, Any]]:
    return {
        path: json.loads(text) for path, text in files(source).items() if path.endswith(".json")
    }


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions(source: Source) -> Iterator[str]:
    for dashboard in dashboards(source).values():
        for panel in panels(dashboard):
            yield from (target["expr"] for target in panel.get("targets", ()))
        yield from (
            one["query"]["query"]
            for one in dashboard["templating"]["list"]
            if one["type"] == "query"
        )
    rules = yaml.safe_load(files(source)["prometheus/rules/anabranch.yml"])
    yield from (rule["expr"] for group in rules["groups"] for rule in group["rules"])


def test_what_is_deployed_is_fresh() -> None:
    """If not: `anabranch dashboards export deploy`."""
    for path, text in files("gateway").items():
        assert (DEPLOY / path).read_text() == text, path
    there = {
        str(path.relative_to(DEPLOY))
        for folder in ("grafana/dashboards", "prometheus/rules")
        for path in (DEPLOY / folder).iterdir()
    }
    assert there == set(files("gateway"))


@pytest.mark.parametrize("source", SOURCES)
def test_every_metric_is_shown_and_no_other_is(source: Source) -> None:
    prefix = "ray_" if source == "ray" else ""
    read = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        if re.sub(r"_(bucket|sum|count)$", "", name.removeprefix(prefix)) in METRICS
        else name
        for text in expressions(source)
        for name in re.findall(r"(?<![\w:])(?:ray_)?anabranch_\w+", text)
    }
    assert read == {prefix + name for name in METRICS}


@pytest.mark.parametrize("source", SOURCES)
def test_panels_lie_in_the_grid_and_beside_each_other(source: Source) -> None:
    for path, dashboard in dashboards(source).items():
        places = [panel["gridPos"] for panel in dashboard["panels"]]
        places += [
            {**panel["gridPos"], "inside": row["id"]}
            for row in dashboard["panels"]
            for panel in row.get("panels", ())
        ]
        assert all(place["x"] + place["w"] <= 24 for place in places), path
        for one, other in combinations(places, 2):
            together = one.get("inside") == other.get("inside")
            assert not (together and overlap(one, other)), (path, one, other)


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def test_panels_that_touch_do_not_overlap() -> None:
    place = {"x": 0, "y": 0, "w": 8, "h": 8}
    assert not overlap(place, {**place, "x": 8})
    assert overlap(place, {**place, "x": 7, "y": 7})


@pytest.mark.parametrize("source", SOURCES)
def test_lines_of_panels_are_full(source: Source) -> None:
    for path, dashboard in dashboards(source).items():
        for group in [dashboard["panels"], *(row.get("panels") for row in dashboard["panels"])]:
            widths: Counter[int] = Counter()
            for panel in group or ():
                widths[panel["gridPos"]["y"]] += panel["gridPos"]["w"]
            assert set(widths.values()) <= {24}, (path, widths)


@pytest.mark.parametrize("source", SOURCES)
def test_panels_can_be_told_apart_and_say_what_they_show(source: Source) -> None:
    for path, dashboard in dashboards(source).items():
        ids = [panel["id"] for panel in panels(dashboard)]
        assert len(ids) == len(set(ids)), path
        for panel in panels(dashboard):
            assert panel["title"], path
            if panel["type"] != "row":
                assert panel["description"], panel["title"]
                assert panel["datasource"]["uid"] == "${datasource}"
                letters = [target["refId"] for target in panel["targets"]]
                assert letters and len(letters) == len(set(letters))


def test_variables_of_queries_are_those_of_the_dashboard() -> None:
    for path, dashboard in dashboards("gateway").items():
        known = {one["name"] for one in dashboard["templating"]["list"]}
        targets = json.dumps([panel.get("targets") for panel in panels(dashboard)])
        used = set(re.findall(r"\$\{?(\w+)", targets)) - {"__rate_interval", "__range"}
        assert used == known, path


def test_both_exports_live_beside_each_other() -> None:
    uids = [one["uid"] for source in SOURCES for one in dashboards(source).values()]
    assert len(uids) == len(set(uids)) == 2 * len(DASHBOARDS)
