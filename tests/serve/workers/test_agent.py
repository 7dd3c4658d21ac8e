"""Ray's own recorder of metrics, in processes of its own: its registry is one of the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from anabranch.serve.workers import agent

RECORDS = """
import sys
from prometheus_client import REGISTRY, generate_latest
from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder

if {ours}:
    from anabranch.serve.workers.agent import keep_nothing_between_scrapes
    keep_nothing_between_scrapes()

recorder = OpenTelemetryMetricRecorder(gauge_metric_ttl_seconds=600)
recorder.register_gauge_metric("held", "")
recorder.register_counter_metric("counted", "")
recorder.register_histogram_metric("took", "", [1.0, 2.0])
for worker in range(30):
    recorder._gauge_observations_by_name["held"].clear()  # as when their time is over
    for row in range(100):
        recorder.set_metric_value("held", {{"worker": str(worker), "row": str(row)}}, worker)
    recorder.set_metric_value("counted", {{"row": "0"}}, 1)
    recorder.set_metric_value("took", {{"row": "0"}}, 1.5)
    page = generate_latest(REGISTRY).decode()
print(page)
"""


def page(ours: bool) -> list[str]:
    """What is scraped after thirty workers of a hundred gauges each have come and gone."""
    code = RECORDS.format(ours=ours)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_newest_worker_is_shown_however_many_there_were() -> None:
    lines = page(ours=True)
    held = [line for line in lines if line.startswith("ray_held{")]
    assert len(held) == 100
    assert all('worker="29"' in line and line.endswith(" 29.0") for line in held)


def test_sums_go_on_over_all_scrapes() -> None:
    lines = page(ours=True)
    assert [line.split()[-1] for line in lines if line.startswith("ray_counted_total{")] == ["30.0"]
    assert [line.split()[-1] for line in lines if line.startswith("ray_took_count{")] == ["30.0"]


def test_without_it_the_newest_would_be_one_series() -> None:
    """Else it is needed no more."""
    held = [line for line in page(ours=False) if line.startswith("ray_held{")]
    assert len(held) == 1 and "overflow" in held[0]


DROPS = """
import json
from anabranch.serve.workers.agent import drop_gauges, recorders

found = recorders()
from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder

recorder = OpenTelemetryMetricRecorder(gauge_metric_ttl_seconds=600)
assert found == [recorder]
recorder.register_gauge_metric("held", "")
recorder.register_counter_metric("counted", "")
for worker, at in (("old", 100.0), ("new", 200.0)):
    recorder.set_metric_value("held", {"worker": worker}, 1)
    recorder.set_metric_value("counted", {"worker": worker}, 1)
    held = recorder._gauge_observations_by_name["held"]
    assert len(held[frozenset({("worker", worker)})]) == 2
    held[frozenset({("worker", worker)})] = 1, at
shown = []
for now in (650.0, 750.0, 850.0):
    drop_gauges(recorder, now)
    left = recorder._gauge_observations_by_name["held"]
    shown.append(sorted(dict(tags)["worker"] for tags in left))
print(json.dumps([shown, len(recorder._counter_observations_by_name["counted"])]))
"""


def test_gauges_go_that_ray_would_not_show_and_no_sums() -> None:
    done = subprocess.run([sys.executable, "-c", DROPS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    shown, counted = json.loads(done.stdout)
    assert shown == [["new", "old"], ["new"], []]
    assert counted == 2


SCRIPT = """
import json, sys, threading
print(json.dumps([__name__, sys.argv, sys.path[0], [one.name for one in threading.enumerate()]]))
"""


@pytest.mark.parametrize("words", [[], ["--node-id=1", "--head"]])
def test_ray_s_script_runs_as_if_python_had_been_given_it(tmp_path: Path, words: list[str]) -> None:
    script = tmp_path / "agent.py"
    script.write_text(SCRIPT)
    command = [sys.executable, agent.__file__, str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    name, argv, first, threads = json.loads(done.stdout)
    assert (name, argv, first) == ("__main__", [str(script), *words], str(tmp_path))
    assert "gauges" in threads
