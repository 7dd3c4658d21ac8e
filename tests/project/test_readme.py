"""The README is short, and what it shows works word for word, after ``pip install`` and in a clone.

The commands run in a network namespace of their own, where the default ports are free.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from anabranch.cli.template import TEMPLATES, Template
from tests.project.snippets import ROOT, blocks

README = ROOT / "README.md"
MAX_LINES = 150
MAX_LINKS = 8
SERVER_LOG = "serve.log"
CAN_ISOLATE = shutil.which("unshare") is not None and os.geteuid() == 0


def shell_blocks() -> list[str]:
    """Return the shell commands of each block of the README, without their comments."""
    return [re.sub(r"  +#.*", "", block.text) for block in blocks(README) if block.kind == "sh"]


def run(command: str, directory: Path, env: Mapping[str, str]) -> str:
    """Run a script of bash; fail with its output if it exits with an error."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=directory,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-8000:]}"
    return done.stdout


def test_readme_has_at_most_150_lines_and_one_short_list_of_links() -> None:
    lines = README.read_text().splitlines()
    assert len(lines) <= MAX_LINES
    assert len([line for line in lines if line.startswith("- ")]) <= MAX_LINKS


def test_graph_of_the_readme_is_the_one_that_init_writes() -> None:
    (graph,) = [block.text for block in blocks(README) if block.kind == "yaml"]
    template = (TEMPLATES / Template.TABULAR / "graph.yaml").read_text()
    assert graph == template.replace("{name: tabular}", "{name: shop}")


def test_pictures_of_the_readme_exist_for_light_and_dark_pages() -> None:
    pictures = re.findall(r'(?:srcset|src)="([^"]+)"', README.read_text())
    assert {"-light." in path for path in pictures} == {True, False}
    for path in pictures:
        assert (ROOT / path).is_file()
        if path.endswith(".svg"):
            assert ElementTree.parse(ROOT / path).getroot().tag.endswith("}svg")


@pytest.fixture(scope="module")
def wheel_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the built wheel into a fresh virtual environment, as the README says."""
    directory = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).with_name("uv")
    run(f"{uv} build --quiet --wheel --out-dir {directory} {ROOT}", directory, {})
    (wheel,) = directory.glob("*.whl")
    venv = directory / "venv"
    install, *_ = shell_blocks()[0].splitlines()
    extras = re.fullmatch(r"pip install 'anabranch(\[\w+\])'", install)
    assert extras is not None
    run(f"{uv} venv --quiet --python {sys.executable} {venv}", directory, {})
    pip = f"{uv} pip install --quiet --python {venv}/bin/python"
    run(f"{pip} -c {ROOT}/requirements.lock '{wheel}{extras[1]}'", directory, {})
    yield venv
    shutil.rmtree(venv)


@pytest.mark.e2e
@pytest.mark.nightly
@pytest.mark.skipif(not CAN_ISOLATE, reason="needs root and unshare for a network namespace")
def test_commands_of_the_readme_work_after_pip_install(
    wheel_environment: Path, tmp_path: Path
) -> None:
    first, request, canary, _ = shell_blocks()
    (program,) = [block.text for block in blocks(README) if block.kind == "python"]
    *preparation, serve = first.splitlines()[1:]
    assert serve == "anabranch serve shop/graph.yaml"
    (tmp_path / "program.py").write_text(program)
    script = f"""
        ip link set lo up
        {"; ".join(preparation)}
        {serve} > {SERVER_LOG} 2>&1 &
        server=$!
        trap 'kill $server 2> /dev/null || true; anabranch down' EXIT
        until grep -q 'answers at' {SERVER_LOG}; do kill -0 $server; sleep 0.1; done
        {request}
        kill -INT $server
        wait $server
        {canary}
        anabranch status shop -o json
        {request.replace("8080", "8000")}
        python program.py
    """
    with tempfile.TemporaryDirectory(prefix="readme-") as home:  # short: it has sockets
        path = f"{wheel_environment / 'bin'}:{os.environ['PATH']}"
        env = {"PATH": path, "ANABRANCH_HOME": home, "PYTHONPATH": ""}
        (tmp_path / "script.sh").write_text(script)
        output = run("unshare --net bash -euo pipefail script.sh", tmp_path, env)
    answers = re.findall(r'\{"rent":(\d+)\.\d+\}', output)
    assert len(answers) == 2
    (shown,) = re.findall(r'prints `\{"rent":(\d+)\.', README.read_text())
    assert answers[0] == shown
    assert "shop revision 2 is live, with all traffic" in output
    assert "{'rent': array([" in output


@pytest.mark.e2e
@pytest.mark.nightly
def test_demo_of_the_readme_works_in_a_fresh_clone(tmp_path: Path) -> None:
    demo, test = shell_blocks()[-1].splitlines()
    assert (demo, test) == ("make demo", "make test")
    run(f"git clone --quiet {ROOT} clone", tmp_path, {})
    clone = tmp_path / "clone"
    output = run(demo, clone, {"PYTHONPATH": ""})
    assert "graph.run() agrees" in output
    # `make test` is the run that this test is a part of; here it must find all that it needs.
    assert "pytest" in run(f"{test} --dry-run", clone, {})
    shutil.rmtree(clone)
