"""What README.md and docs/ show is true: graphs compile, Python runs, commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Iterator
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from anabranch import Graph
from anabranch.cli.app import app
from anabranch.graph.compile.loading import load_data, load_text

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUICKSTART = ROOT / "examples" / "quickstart"
GROUPS = {group.typer_instance.info.name for group in app.registered_groups}


def fences(*languages: str) -> list[str]:
    """Return every fenced block of the languages, in all documents."""
    pattern = re.compile(rf"^```(?:{'|'.join(languages)})\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [text for one in DOCUMENTS for text in pattern.findall(one.read_text())]


def commands(program: str) -> Iterator[list[str]]:
    """Return the arguments of every call of a program: in blocks, and in `code` within prose."""
    lines = [line for block in fences("sh") for line in block.splitlines()]
    for document in DOCUMENTS:
        lines += re.findall(rf"`({program} [^`\n]+)`", document.read_text())
    for line in lines:
        words = shlex.split(line.replace("\\", ""), comments=True)
        if words[:1] == [program]:
            yield words[1:]


def mentions(pattern: str) -> set[tuple[str, str]]:
    """Return what matches in `code` within prose, each with the name of its document."""
    code = re.compile(r"`([^`\n]+)`")
    return {
        (document.name, text)
        for document in DOCUMENTS
        for text in code.findall(document.read_text())
        if re.fullmatch(pattern, text)
    }


FLOORS = "|".join(path.parent.name for path in (ROOT / "anabranch").glob("*/__init__.py"))
PATHS = mentions(rf"[\w./-]+/[\w-]+\.py|(?:anabranch/)?(?:{FLOORS})/[\w./-]+")
NAMES = mentions(rf"anabranch\.(?:{FLOORS})\.[\w.]+")


def test_modules_that_are_named_by_path_exist() -> None:
    assert len(PATHS) > 30
    missing = [
        (document, path)
        for document, path in PATHS
        if not any((root / path).exists() for root in (ROOT, ROOT / "anabranch"))
    ]
    assert not missing


def test_what_is_named_with_dots_can_be_imported() -> None:
    imports = re.compile(r"^from (anabranch[\w.]*) import (\w+)", re.MULTILINE)
    written = {".".join(one) for text in fences("python") for one in imports.findall(text)}
    assert NAMES and written
    for name in {name for _, name in NAMES} | written:
        assert resolved(name.split(".")) is not None, name


def resolved(parts: list[str]) -> object:
    """Import the longest module that the name begins with, and take the rest from it."""
    for size in range(len(parts), 0, -1):
        try:
            module = import_module(".".join(parts[:size]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[size:], module)
    raise ModuleNotFoundError(".".join(parts))


@pytest.mark.parametrize("text", [one for one in fences("yaml") if "\nspec:" in one])
def test_graphs_compile(text: str) -> None:
    assert load_text(text, "README.md", QUICKSTART).plan.nodes


@pytest.mark.parametrize("text", [one for one in fences("yaml") if one.startswith("spec:\n")])
def test_parts_of_a_spec_compile(text: str) -> None:
    graph = yaml.safe_load((QUICKSTART / "graph.yaml").read_text())
    graph["spec"] |= yaml.safe_load(text)["spec"]
    assert load_data(graph, QUICKSTART).plan.nodes


def test_all_other_yaml_is_a_part_that_can_be_read() -> None:
    rest = [one for one in fences("yaml") if "\nspec:" not in one and not one.startswith("spec:")]
    assert rest
    for text in rest:
        assert isinstance(yaml.safe_load(text), dict | list), text


def test_python_compiles() -> None:
    scripts = fences("python")
    assert len(scripts) > 10
    for text in scripts:
        compile(text, "<docs>", "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_rollout_in_the_readme_is_the_example_s() -> None:
    (text,) = [one for one in fences("yaml") if one.startswith("  rollout:\n")]
    assert text in (ROOT / "examples" / "canary" / "graph.yaml").read_text()


def test_the_ten_line_graph_is_the_quickstart_and_has_ten_lines() -> None:
    text = (QUICKSTART / "graph.yaml").read_text()
    assert text in fences("yaml")
    assert len(text.splitlines()) == 10


def test_the_builder_makes_the_same_graph() -> None:
    script = next(one for one in fences("python") if "Graph(" in one)
    script += f"assert graph.plan == Graph.load({str(QUICKSTART / 'graph.yaml')!r}).plan\n"
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, check=True)


def test_the_component_in_the_readme_gives_what_the_example_gives() -> None:
    import numpy as np

    names = {"np": np}
    exec(next(one for one in fences("python") if "class Linear" in one), names)
    fruit = np.float32([[0.9, 0.2], [0.1, 0.8]])
    graph = Graph.load(QUICKSTART / "graph.yaml").output("alone", "linear")
    np.testing.assert_allclose(
        names["Linear"]().predict(fruit),  # type: ignore[operator]
        graph.run({"fruit": fruit})["alone"],
        rtol=1e-5,
    )


def test_every_extra_that_users_may_want_is_on_the_page_about_installing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = re.findall(r"`(\w+)`", (ROOT / "docs" / "install.md").read_text())
    assert project["optional-dependencies"].keys() - {"docs", "dev"} - set(told) == set()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {words[0] for words in commands("make")} <= targets
    documented = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    assert documented == targets


def command_of(words: list[str]) -> tuple[str, ...]:
    """The command's name: two words where the first is a group of commands."""
    group = words[0] in GROUPS
    return tuple(words[: 1 + group])


def test_commands_and_their_options_exist() -> None:
    asked: dict[tuple[str, ...], set[str]] = {}
    for words in commands("anabranch"):
        options = {word.split("=")[0] for word in words[1:] if word.startswith("-")}
        asked.setdefault(command_of(words), set()).update(options)
    for command, options in asked.items():
        if command[0].startswith("-"):
            continue
        done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
        assert done.exit_code == 0, f"anabranch {command}: {done.stderr}"
        missing = {one for one in options if one not in done.stdout}
        assert not missing, f"anabranch {command} has no {missing}"
