"""New revisions: the good take over without a failed request, the bad change nothing."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.engines import Engine
from tests.waiting import until_said

pytestmark = pytest.mark.e2e

GOOD = """
class Times:
    def __init__(self, by: float) -> None:
        self.by = by

    def transform(self, x):
        return (x * self.by).astype("float32")
"""

RAISES = """
class Times:
    def __init__(self, by: float) -> None:
        raise OSError("the disk is on fire")

    def transform(self, x):
        return x
"""

UNWELL = (
    GOOD
    + """
    def check_health(self):
        raise RuntimeError("I do not feel well")
"""
)

SLOW = """
import time
from pathlib import Path


class Slow:
    def __init__(self, until: str) -> None:
        self.until = Path(until)

    def load(self):
        while not self.until.exists():
            time.sleep(0.05)

    def transform(self, x):
        return x
"""


def times(name: str, by: float, **fields: Any) -> dict[str, Any]:
    return spec(name, times=node("Times", args={"by": by}, **fields))


def missing_model(name: str) -> dict[str, Any]:
    model = {
        "type": "predictor",
        "runtime": "sklearn",
        "model": "models/missing.joblib",
        "inputs": {"x": "x"},
    }
    return spec(name, times=model)


BAD: dict[str, tuple[Callable[[str], dict[str, Any]], str, str]] = {
    "constructor": (lambda name: times(name, 3), RAISES, "the disk is on fire"),
    "health": (lambda name: times(name, 3), UNWELL, "I do not feel well"),
    "remote": (
        lambda name: times(name, 3, placement={"isolate": True}), RAISES, "the disk is on fire",
    ),
    "code": (lambda name: times(name, 3), f"import nowhere\n{GOOD}", "No module named 'nowhere'"),
    "class": (lambda name: times(name, 3), "if 0:\n    class Times: ...\n", "no class 'Times'"),
}  # fmt: skip
"""What shows only when a component is loaded."""
SEEN: dict[str, tuple[Callable[[str], dict[str, Any]], str, str]] = {
    "file": (missing_model, GOOD, "missing.joblib"),
    "code": (lambda name: times(name, 3), "class Times(:\n", "SyntaxError"),
    "class": (lambda name: times(name, 3), "class Time:\n    pass\n", "did you mean 'Time'"),
}
"""What shows in the files."""


@pytest.fixture(scope="module")
def steady(given_once: Given) -> str:
    """A graph whose first revision answers."""
    return given_once.deployed(times("steady", 2), GOOD)


@pytest.mark.parametrize(
    "kind",
    [
        *("constructor", "remote", "code"),
        *(pytest.param(kind, marks=pytest.mark.nightly) for kind in ("health", "class")),
    ],
)
def test_a_bad_revision_fails_fast_and_the_old_one_answers_all(
    engine: Engine, steady: str, given_once: Given, load: Callable[..., Any], kind: str
) -> None:
    make, code, reason = BAD[kind]
    name = steady
    with load(name) as running:
        done = given_once.deploy(make(name), code)
        running.until_asked(100)
    assert done.returncode == 1
    assert "'times'" in done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert running.failures == {}
    assert len(running.answers) == 1
    with engine.control() as control:
        graph = control.graph(name)
    newest, *_, first = [(r["revision"], r["state"]) for r in graph["revisions"]]
    assert (newest[1], first) == ("failed", (1, "live"))
    assert value(engine.infer(name)) == [2, 4]


@pytest.mark.parametrize("kind", SEEN)
def test_what_the_files_show_to_be_wrong_makes_no_revision(
    engine: Engine, steady: str, given_once: Given, kind: str
) -> None:
    make, code, reason = SEEN[kind]
    before = engine.graph(steady)["revisions"]
    done = given_once.deploy(make(steady), code)
    assert done.returncode == 1
    assert "spec.nodes.times" in done.stderr and reason in done.stderr
    assert [one["revision"] for one in engine.graph(steady)["revisions"]] == [
        one["revision"] for one in before
    ]


def test_a_good_revision_takes_over_without_a_failed_request(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(times("swap", 2), GOOD)
    with load(name) as running:
        running.until_asked(300)
        done = given.deploy(times(name, 3, placement={"isolate": True}), GOOD)
        assert done.returncode == 0, done.stderr
        running.until_asked(300)
        done = given.deploy(times(name, 4), GOOD)
        assert done.returncode == 0, done.stderr
        running.until_asked(300)
    assert running.failures == {}
    assert value(engine.infer(name)) == [4, 8]
    seen = {text.split('"data":')[1] for text in running.answers}
    assert len(seen) == 3, "three revisions, three answers, and nothing in between"


def test_the_first_revision_of_a_graph_may_fail(engine: Engine, given: Given) -> None:
    done = given.deploy(times("still-born", 2), RAISES)
    assert done.returncode == 1
    assert "'times'" in done.stderr
    assert engine.infer("still-born").status_code in (404, 503)
    assert given.deploy(times("still-born", 2), GOOD).returncode == 0
    assert value(engine.infer("still-born")) == [2, 4]


def test_a_deleted_graph_is_gone(engine: Engine, given: Given) -> None:
    name = given.deployed(times("short-lived", 2, placement={"isolate": True}), GOOD)
    assert engine.command("delete", name, "--yes").returncode == 0
    assert engine.infer(name).status_code == 404
    assert engine.command("status", name).returncode == 1


def test_run_on_a_live_graph_puts_back_what_was_live(
    engine: Engine, given: Given, load: Callable[..., Any]
) -> None:
    name = given.deployed(times("tried-out", 2), GOOD)
    work = given.bundle(times(name, 3), GOOD)
    with load(name) as asked:
        running = subprocess.Popen(
            engine.command_line("run", work, *engine.ports.options()),
            env=engine.environment(), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            until_said(running, "revision 1 answers again once this ends")
            until_said(running, "revision 2 is live")
            assert value(engine.infer(name)) == [3, 6]
            running.send_signal(signal.SIGINT)
            until_said(running, "goes back to revision 1, which is live")
            running.communicate(timeout=60)
        finally:
            running.kill()
        assert value(engine.infer(name)) == [2, 4]
    assert running.returncode == 0
    assert asked.failures == {}


def test_the_answers_are_the_same_wherever_nodes_run(engine: Engine, given: Given) -> None:
    graph = spec(
        "spread",
        a=node("Times", args={"by": 2.0}),
        b=node("Times", "a", args={"by": 3.0}, resources={"cpu": 0.1}),
        c=node("Times", "b", args={"by": 5.0}, placement={"with": "b"}),
        d=node("Times", "c", args={"by": 7.0}, scaling={"replicas": 2}),
    )
    name = given.deployed(graph, GOOD)
    assert value(engine.infer(name)) == [210, 420]
    with engine.control() as control:
        segments = {s["name"]: s for s in control.graph(name)["segments"]}
    assert segments["b"]["nodes"] == ["b", "c"]
    assert segments.keys() == {"head", "b", "d"}


def test_a_deploy_that_takes_long_says_which_node_loads(
    engine: Engine, given: Given, tmp_path: Path
) -> None:
    path = given.bundle(spec("long", slow=node("Slow", args={"until": str(tmp_path / "go")})), SLOW)
    given.made.append("long")
    deploying = subprocess.Popen(
        engine.command_line("deploy", path), env=engine.environment(),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until_said(deploying, "s): loading node slow")
    (tmp_path / "go").touch()
    deploying.communicate(timeout=120)
    assert deploying.returncode == 0


@pytest.mark.nightly
def test_side_by_side_with_the_same_file_names_and_different_dependencies(
    engine: Engine, given: Given
) -> None:
    """Same names, other code, and other versions of one package."""
    code = """
import helpers
import six
import numpy as np


class Version:
    def transform(self, x):
        return np.array([six.__version__, helpers.NAME], object)
"""
    for letter, version in (("a", "1.16.0"), ("b", "1.17.0")):
        given.deployed(
            spec(f"deps-{letter}", version=node("Version")),
            code,
            {"helpers.py": f"NAME = {letter!r}\n", "requirements.txt": f"six=={version}\n"},
        )
    assert value(engine.infer("deps-a")) == ["1.16.0", "a"]
    assert value(engine.infer("deps-b")) == ["1.17.0", "b"]


def test_logs_show_what_components_print(engine: Engine, given: Given) -> None:
    shout = '        print("seen", x.tolist(), flush=True)'
    code = GOOD.replace("        return", f"{shout}\n        return")
    name = given.deployed(times("chatty", 2), code)
    assert value(engine.infer(name)) == [2, 4]
    given.until_logged(name, "seen [[1.0, 2.0]]")
