"""What README.md and docs/ name is there: modules, commands, targets, extras.

Their blocks run in ``test_snippets.py``.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Iterator
from functools import reduce
from importlib import import_module

from typer.testing import CliRunner

from anabranch.cli.app import app
from tests.project.snippets import DOCUMENTS, ROOT, blocks

QUICKSTART = ROOT / "examples" / "quickstart"
GROUPS = {group.typer_instance.info.name for group in app.registered_groups}


def fences(*languages: str) -> list[str]:
    """Return every fenced block of the languages, in all documents."""
    found = [block for one in DOCUMENTS for block in blocks(one)]
    return [one.text for one in found if one.kind in languages]


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


def test_python_compiles() -> None:
    scripts = fences("python")
    assert len(scripts) > 10
    for text in scripts:
        compile(text, "<docs>", "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_ten_line_graph_is_the_quickstart_and_has_ten_lines() -> None:
    text = (QUICKSTART / "graph.yaml").read_text()
    assert text in fences("yaml")
    assert len(text.splitlines()) == 10


def test_every_extra_that_users_may_want_is_on_the_page_about_installing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = re.findall(r"`([\w-]+)`", (ROOT / "docs" / "install.md").read_text())
    assert project["optional-dependencies"].keys() - {"docs", "dev"} - set(told) == set()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {words[0] for words in commands("make")} <= targets
    documented = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    assert documented == targets


def command_of(words: list[str]) -> tuple[str, ...]:
    """The command's name: two words where the first is a group of commands."""
    group = words[0] in GROUPS and words[1:] and not words[1].startswith(("-", "#"))
    return tuple(words[: 1 + bool(group)])


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
