"""The dashboards and rules in ``deploy/``, as they are and for Ray's agents.

Prometheus' own tool accepts the rules and runs their tests.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from anabranch.telemetry.dashboards import (
    DASHBOARDS,
    JOBS,
    Source,
    dashboard_files,
    rename,
)
from anabranch.telemetry.definitions import METRICS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SOURCES: tuple[Source, ...] = ("gateway", "ray")
TESTS = sorted((ROOT / "deploy" / "prometheus" / "tests").iterdir())
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool of the package prometheus is not installed"
)


def dashboards(source: Source) -> dict[str, dict[str, Any]]:
    return {
        path: json.loads(text)
        for path, text in dashboard_files(source).items()
        if path.endswith(".json")
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
    rules = yaml.safe_load(dashboard_files(source)["prometheus/rules/anabranch.yml"])
    yield from (rule["expr"] for group in rules["groups"] for rule in group["rules"])


def test_the_files_of_the_package_are_those_of_deploy() -> None:
    for path, text in dashboard_files("gateway").items():
        assert (DEPLOY / path).read_text() == text, path
    there = {
        str(path.relative_to(DEPLOY))
        for folder in ("grafana/dashboards", "prometheus/rules")
        for path in (DEPLOY / folder).iterdir()
    }
    assert there == set(dashboard_files("gateway"))


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


def rules_of(kind: str) -> list[dict[str, Any]]:
    """Return the rules that are alerts, or that record a query."""
    groups = yaml.safe_load(dashboard_files("gateway")["prometheus/rules/anabranch.yml"])["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def laid_out(folder: Path, source: Source) -> Path:
    """Write the rules of an export, with their tests beside them."""
    rules = folder / "rules" / "anabranch.yml"
    for path in (rules, *(folder / "tests" / one.name for one in TESTS)):
        path.parent.mkdir(exist_ok=True)
    rules.write_text(dashboard_files(source)["prometheus/rules/anabranch.yml"])
    for one in TESTS:
        text = re.sub(f'(job=?:? ?"?){JOBS["gateway"]}', rf"\g<1>{JOBS[source]}", one.read_text())
        (folder / "tests" / one.name).write_text(rename(text, source))
    return folder


@needs_promtool
@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("gateway", "*-days.yml"),
        *(pytest.param(source, "*.yml", marks=pytest.mark.nightly) for source in JOBS),
    ],
)
def test_promtool_accepts_the_rules_and_their_tests_pass(
    source: Source, names: str, tmp_path: Path
) -> None:
    folder = laid_out(tmp_path, source)
    promtool("check", "rules", "--lint-fatal", folder / "rules" / "anabranch.yml")
    promtool("test", "rules", *sorted((folder / "tests").glob(names)))


@pytest.mark.nightly
@needs_promtool
def test_the_tests_would_notice_a_changed_threshold(tmp_path: Path) -> None:
    folder = laid_out(tmp_path, "gateway")
    rules = folder / "rules" / "anabranch.yml"
    rules.write_text(rules.read_text().replace("< 0.95", "< 0.85"))
    with pytest.raises(AssertionError, match="AnabranchMirrorDisagrees"):
        promtool("test", "rules", folder / "tests" / "anabranch.yml")


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    fired = {
        check["alertname"]
        for path in TESTS
        for one in yaml.safe_load(path.read_text())["tests"]
        for check in one["alert_rule_test"]
        if check["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules_of("alert")}


def test_runbooks_are_there() -> None:
    text = (ROOT / "docs" / "dashboards.md").read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert {rule["alert"] for rule in rules_of("alert")} <= set(headings)
    for rule in rules_of("alert"):
        name = rule["alert"].lower()
        assert rule["annotations"]["runbook_url"] == f"docs/dashboards.md#{name}"


def test_records_that_alerts_read_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules_of("record")}
    read = {
        name for rule in rules_of("alert") for name in re.findall(r"anabranch:[\w:]+", rule["expr"])
    }
    assert read and read <= recorded
