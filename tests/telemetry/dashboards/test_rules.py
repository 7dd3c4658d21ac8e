"""Prometheus' own tool accepts the rules and runs their tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from anabranch.telemetry.dashboards.files import files
from anabranch.telemetry.dashboards.promql import JOBS, Source, named
from anabranch.telemetry.dashboards.rules import ALERTS, RECORDINGS

ROOT = Path(__file__).parents[3]
TESTS = sorted((ROOT / "deploy" / "prometheus" / "tests").iterdir())
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool of the package prometheus is not installed"
)


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
    rules.write_text(files(source)["prometheus/rules/anabranch.yml"])
    for one in TESTS:
        text = re.sub(f'(job=?:? ?"?){JOBS["gateway"]}', rf"\g<1>{JOBS[source]}", one.read_text())
        (folder / "tests" / one.name).write_text(named(text, source))
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
    assert fired == {alert.name for alert in ALERTS}


def test_runbooks_are_there() -> None:
    text = (ROOT / "docs" / "dashboards.md").read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert {alert.name for alert in ALERTS} <= set(headings)


def test_records_that_alerts_read_are_recorded() -> None:
    recorded = {one.record for one in RECORDINGS}
    read = {name for alert in ALERTS for name in re.findall(r"anabranch:[\w:]+", alert.expr)}
    assert read and read <= recorded
