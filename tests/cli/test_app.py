"""All commands on an installation of the client alone, without Ray and the engine's libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import typer.main
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from anabranch.cli.app import app
from tests.cli.conftest import Served
from tests.project.snippets import ROOT, blocks
from tests.release_keys import Keys

SCRIPT = """
import contextlib, json, sys
from anabranch.cli.app import app
from anabranch.errors import AnabranchError

def end_of(call):
    try:
        return str(app(call, standalone_mode=False) or 0)
    except AnabranchError as error:
        sys.stderr.write(f"{call}: {error}\\n")
        return "refused"
    except BaseException as error:
        return repr(error)

with contextlib.redirect_stdout(sys.stderr):
    ends = [end_of(call) for call in json.loads(sys.argv[1])]
print(json.dumps(ends))
"""
"""Runs commands in one process, and prints how each ended."""
LOCAL = {"up", "down", "join", "leave", "doctor", "run", "backup", "restore", "dashboard"}
"""Commands for the machine of an engine."""
STANDALONE = {"serve", "containerize"}
"""Commands with the libraries of a router: tests of their own hold that they need no Ray."""
SELDON = """\
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: simple}
spec: {predictors: [{name: one, graph: {name: model, implementation: SIMPLE_MODEL}}]}
"""
LINES = """\
init NEW
validate FILE
plan FILE
schema
build FILE --version 1.2.0 --output BUNDLE
sign BUNDLE --key KEY
verify BUNDLE --keys KEYS
push BUNDLE oci://127.0.0.1:9/digits
pull oci://127.0.0.1:9/digits
deploy BUNDLE
deploy FILE --author ada
status
status digits
history digits
diff digits r1 r1
traffic digits r1=100
promote digits
abort digits
compare digits
rollout digits
rollback digits
bandit digits
experiment digits
monitors digits
models
infer digits -d {"inputs":[]}
feedback digits 7f3a --reward 1
explain digits -i x=[[1]]
replay digits LOG
batch digits LOG --output NEW
jobs
job status 3f2a9c51d07e
job cancel 3f2a9c51d07e
features export FILE --from LOG --output NEW
features check FILE --from LOG
import SELDON --output NEW --force
logs digits
nodes
nodes drain worker-2 --timeout 1s
events list
events verify
dashboards export NEW
export kuberay FILE --output NEW
keys
keys create ci --role viewer
keys rotate ci
keys revoke ci --yes
access me
access check key:ada view digits
access show
access set POLICY
delete digits --yes --no-wait
logout
login --url URL
"""


def commands(command: Any = None, path: str = "") -> Iterator[str]:
    """Yield the names of all commands that do something."""
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", {})
    if path and (not below or command.invoke_without_command):
        yield path
    for name, one in below.items():
        yield from commands(one, f"{path} {name}".strip())


def asked(line: str) -> str:
    """Return the command of a line: the longest one that it begins with."""
    return max((one for one in commands() if f"{line} ".startswith(f"{one} ")), key=len)


def libraries() -> list[str]:
    """Return the libraries of the client, as the page about installing lists them."""
    (block,) = [one for one in blocks(ROOT / "docs" / "install.md") if "--no-deps" in one.text]
    words = block.text.replace("\\\n", " ").splitlines()[1].split()
    return [word for word in words[2:] if not word.startswith("-")]


def closure(texts: Iterable[str], extra: str = "") -> dict[str, str]:
    """Return the distributions of requirements with all that they need, by canonical name."""
    found: dict[str, str] = {}
    for one in map(Requirement, texts):
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        try:
            there = distribution(one.name)
        except PackageNotFoundError:  # not for this platform
            continue
        if (name := canonicalize_name(one.name)) not in found:
            found[name] = one.name
            for each in one.extras or {""}:
                found = closure(there.requires or (), each) | found
    return found


@pytest.fixture
def client_only(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a Python that has the client's libraries and no others."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in {**closure(libraries()), "anabranch": "anabranch"}:
        there = distribution(name)
        for top in {file.parts[0] for file in there.files or ()} - {"..", "__pycache__"}:
            if not top.endswith(".pth"):
                (folder / top).symlink_to(Path(str(there.locate_file(top))))
    return {
        **os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "COLUMNS": "200",
        "ANABRANCH_HOME": str(tmp_path / "none"),
    }  # fmt: skip


def python(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-S", *words]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=200)


def test_the_client_s_libraries_are_some_of_the_engine_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed, told = (
        {canonicalize_name(Requirement(one).name) for one in names}
        for names in (project["dependencies"], libraries())
    )
    assert told and told <= needed - {"ray"}


def test_every_command_works_without_ray(engine: Served, client_only: dict[str, str]) -> None:
    lines = LINES.splitlines()
    assert {asked(line) for line in lines} | LOCAL | STANDALONE == set(commands())
    url = f"http://127.0.0.1:{engine.server.server_address[1]}"
    texts = {
        "token": "token\n",
        "log.jsonl": "",
        "policy.yaml": "apiVersion: anabranch/v1\n",
        "seldon.yaml": SELDON,
    }
    for name, text in texts.items():
        (engine.folder / name).write_text(text)
        (engine.folder / name).chmod(0o600)
    keys = Keys(engine.folder, "release")
    engine.graphs["POST /v2/models/digits/infer"] = {"model_name": "digits", "outputs": []}
    places = {
        "FILE": engine.file(),
        "NEW": str(engine.folder / "new"),
        "LOG": str(engine.folder / "log.jsonl"),
        "POLICY": str(engine.folder / "policy.yaml"),
        "SELDON": str(engine.folder / "seldon.yaml"),
        "URL": url,
        "BUNDLE": str(engine.folder / "digits.bundle"),
        "KEY": str(keys.private),
        "KEYS": str(keys.public),
    }
    there = ["--url", url, "--token-file", str(engine.folder / "token")]
    calls = [[*there, *(places.get(word, word) for word in line.split())] for line in lines]
    done = python(client_only, "-c", SCRIPT, json.dumps(calls))
    assert done.returncode == 0, done.stderr
    ends = dict(zip(lines, json.loads(done.stdout), strict=True))
    assert {line: end for line, end in ends.items() if end not in ("0", "refused")} == {}
    good = ("build", "sign", "verify ", "deploy ", "export ", "status ", "traffic ", "infer ")
    assert {ends[line] for line in lines if line.startswith(good)} == {"0"}, done.stderr


def test_what_needs_an_engine_s_machine_says_that_ray_is_missing(
    client_only: dict[str, str], tmp_path: Path
) -> None:
    arguments = {
        "run": [str(ROOT / "examples/quickstart/graph.yaml")],
        "restore": ["backup.zip"],
        "join": ["10.0.0.1:8000", "--token-file", str(ROOT / "LICENSE")],
    }
    lines = [[one] for one in sorted(LOCAL)]
    for words in lines:
        words += arguments.get(words[0], ())
    done = python(client_only, "-c", SCRIPT, json.dumps(lines))
    assert json.loads(done.stdout) == ["refused"] * len(lines), done.stderr
    assert done.stderr.count("this installation has no Ray") == len(lines)
