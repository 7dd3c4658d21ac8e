"""The command line as a person meets it: real processes, exit codes, and what goes where."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from anabranch.control.store.store import Store
from tests.engines import Engine
from tests.ports import free_ports

GOOD = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: pair}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    one: {type: transformer, method: scale, args: {divide_by: 2.0}, inputs: {x: x}}
    two: {type: transformer, method: softmax, inputs: {x: one}}
  outputs: {y: two}
"""
BAD = GOOD.replace("method: scale", "method: scael").replace("{y: two}", "{y: tow}")


def run(*arguments, home, stdin=""):
    return subprocess.run(
        [sys.executable, "-m", "anabranch.cli.main", *map(str, arguments)],
        env={**os.environ, "ANABRANCH_HOME": str(home)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def run_here(*arguments, home):
    """Run the command line in this process, which starts in no time."""
    return Engine(home).command(*arguments)


HOW = pytest.mark.parametrize("run", [run_here, pytest.param(run, marks=pytest.mark.nightly)])


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return path


def test_help_lists_every_command_without_importing_ray(home):
    code = "import sys, anabranch.cli.app; sys.exit('ray' in sys.modules or 'httpx' in sys.modules)"
    done = run("--help", home=home)
    assert done.returncode == 0
    for command in (
        "up", "down", "run", "deploy", "status", "infer", "delete", "validate", "logs", "history",
        "diff", "rollback", "traffic", "promote", "abort", "compare", "rollout",
        "bandit", "explain", "feedback", "backup", "restore", "init",
    ):  # fmt: skip
        assert f"\n  {command} " in done.stdout
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_version(home):
    assert run("--version", home=home).stdout.startswith("anabranch ")


def test_no_command_is_wrong_usage(home):
    assert run(home=home).returncode == 2


def test_validate_says_ok(home, good):
    done = run("validate", good, home=home)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{good}: ok\n", "")


@HOW
def test_validate_prints_each_mistake_at_its_place(home, good, bad, run):
    done = run("validate", good, bad, home=home)
    assert done.returncode == 1
    first, *mistakes = done.stdout.splitlines()
    assert first == f"{good}: ok"
    assert len(mistakes) == 2
    assert mistakes[0].startswith(f"{bad}:7:")
    assert "spec.nodes.one.method" in mistakes[0] and "did you mean" in mistakes[0]
    assert mistakes[1].startswith(f"{bad}:9:")


@HOW
def test_validate_as_json(home, good, bad, run):
    done = run("validate", good, bad, "-o", "json", home=home)
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["valid"] is False
    assert [file["valid"] for file in found["files"]] == [True, False]
    problem = found["files"][1]["problems"][0]
    assert (problem["line"], problem["path"]) == (7, "spec.nodes.one.method")


@HOW
def test_plan_as_json(home, good, run):
    plan = json.loads(run("plan", good, "-o", "json", home=home).stdout)
    assert plan["critical_path_hops"] == 0
    assert plan["warnings"] == []
    (segment,) = plan["segments"]
    assert segment["name"] == "head"
    assert segment["nodes"] == ["one", "two"]
    assert not segment["resources"]


@HOW
def test_plan_for_people_names_segments_and_hops(home, tmp_path, run):
    path = tmp_path / "graph.yaml"
    path.write_text(GOOD.replace("method: softmax,", "method: softmax, resources: {cpu: 1},"))
    done = run("plan", path, home=home)
    assert done.stdout.startswith("pair: 2 segments, 1 hop on the critical path\n")
    assert "cpu 1" in done.stdout
    assert "against what runs" not in done.stdout


@HOW
def test_plan_as_mermaid(home, good, run):
    assert run("plan", good, "-o", "mermaid", home=home).stdout.startswith("flowchart LR\n")


@HOW
def test_a_spec_with_mistakes_is_no_result(home, bad, run):
    done = run("plan", bad, home=home)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: the spec has 2 mistakes:\n")


@HOW
def test_schema_is_a_json_schema(home, run):
    assert json.loads(run("schema", home=home).stdout)["$schema"].startswith("https://json-schema")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("validate", "missing.yaml"), "missing.yaml"),
        (("deploy", "missing.yaml"), "missing.yaml"),
        (("delete", "x", "--timeout", "3x"), "duration"),
        (("traffic", "x", "r1=nan"), "nan"),
        (("traffic", "x", "--mirror", "r1"), "REVISION=NUMBER"),
        (("promote", "x", "newest"), "newest"),
        (("rollback", "x", "--to", "-1"), "-1"),
        (("diff", "x", "r1", "r0"), "r0"),
        (("rollout", "x", "hurry"), "hurry"),
        (("infer", "x"), "--data"),
        (("infer", "x", "--data", "{}", "--input", "a=1"), "--data"),
        (("infer", "x", "--data", "{"), "JSON"),
        (("infer", "x", "--data", "[]"), "object"),
        (("infer", "x", "--data", "@missing.json"), "missing.json"),
        (("infer", "x", "--input", "a"), "NAME=VALUE"),
        (("infer", "x", "--input", "a=1", "--input", "a=1"), "--input a"),
        (("infer", "x", "--input", "a=@missing.npy"), "missing.npy"),
        (("up", "--http-port", "0"), "--http-port"),
        (("status", "--colour"), "--colour"),
    ],
)
@HOW
def test_wrong_usage_exits_2_and_names_the_option(home, arguments, named, run):
    done = run(*arguments, home=home)
    assert done.returncode == 2
    assert done.stdout == ""
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "pair"),
        ("delete", "pair", "--yes"),
        ("logs", "pair"),
        ("history", "pair"),
        ("diff", "pair", "1", "2"),
        ("rollback", "pair"),
        ("traffic", "pair"),
        ("promote", "pair"),
        ("abort", "pair"),
        ("compare", "pair"),
        ("bandit", "pair"),
        ("rollout", "pair"),
        ("infer", "pair", "--data", "{}"),
        ("infer", "pair", "--input", "x=1"),
    ],
)
@HOW
def test_without_an_engine_every_command_says_how_to_start_one(home, arguments, run):
    done = run(*arguments, home=home)
    assert done.returncode == 1
    assert done.stdout == ""
    expected = f"error: no engine is running in {home}: start one with `anabranch up`\n"
    assert done.stderr == expected


@HOW
def test_deploy_needs_an_engine(home, good, run):
    assert "anabranch up" in run("deploy", good, home=home).stderr


@HOW
def test_down_without_an_engine_is_done(home, run):
    done = run("down", "-o", "json", home=home)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"stopped": False, "home": str(home)}


@HOW
def test_up_refuses_a_host_that_is_no_address(home, run):
    done = run("up", "--host", "example.invalid", home=home)
    assert done.returncode == 1
    assert "--host" in done.stderr


@HOW
def test_up_refuses_two_options_with_one_port(home, run):
    done = run("up", "--http-port", "18999", "--grpc-port", "18999", home=home)
    assert done.returncode == 1
    assert "--grpc-port" in done.stderr and "--http-port" in done.stderr


@HOW
def test_a_home_that_is_no_folder_is_named(tmp_path, run):
    (tmp_path / "home").write_text("not a folder")
    done = run("up", home=tmp_path / "home")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1, f"error: {tmp_path} does not take home: File exists",
    )  # fmt: skip


@HOW
def test_an_unexpected_error_leaves_its_traceback_in_a_file(home, run):
    (home / "ray-token").mkdir(parents=True)
    http, grpc, dashboard = free_ports(3)
    ports = ("--http-port", http, "--grpc-port", grpc, "--dashboard-port", dashboard)
    done = run("up", *ports, home=home)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    log = Path(done.stderr.rsplit(" ", 1)[1].strip())
    assert "Traceback" in log.read_text()
    log.unlink()


def test_completion_offers_nothing_without_an_engine(home):
    code = (
        "import typer.main, anabranch.cli.app as cli, anabranch.cli.completion as completion;"
        "command = typer.main.get_command(cli.app);"
        "context = typer.Context(command);"
        "print(completion.graph_names(context, ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ANABRANCH_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"


def test_the_shell_completes_commands(home):
    done = subprocess.run(
        [Path(sys.executable).with_name("anabranch")],
        env={
            **os.environ,
            "ANABRANCH_HOME": str(home),
            "_ANABRANCH_COMPLETE": "complete_bash",
            "COMP_WORDS": "anabranch val",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["validate"]


@HOW
def test_a_backup_is_made_and_restored_and_said(home, tmp_path, run):
    home.mkdir()
    store = Store.open(f"sqlite:///{home / 'store.db'}")
    store.ensure_revision("pair", GOOD, "0" * 64)
    store.close()
    made = run("backup", tmp_path / "b.zip", home=home)
    assert made.stdout == f"{tmp_path / 'b.zip'} holds 1 graph (pair), 1 revision, 0 bundles\n"
    assert "without 1 bundle, whose revisions cannot be started: 0000" in made.stderr
    again = run("backup", tmp_path / "b.zip", home=home)
    assert again.returncode == 1
    assert again.stderr.endswith("name another file, or replace it with --replace\n")
    refused = run("restore", tmp_path / "b.zip", home=home)
    assert refused.returncode == 1
    assert "has graphs (pair): restore into another --home; --replace" in refused.stderr
    done = run("restore", tmp_path / "b.zip", "-o", "json", home=tmp_path / "other")
    assert json.loads(done.stdout)["graphs"] == ["pair"]
    assert (tmp_path / "other" / "store.db").is_file()
