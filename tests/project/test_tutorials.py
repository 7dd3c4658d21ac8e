"""Tutorials do what they say, as far as that needs no engine; the rest is in ``tests/e2e``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.project.tutorials import FOLDER, PAGES, Command, File, agrees, steps

ROOT = Path(__file__).parents[2]
NEEDS = {
    "tabular": ("sklearn", "pandas", "alibi.explainers"),
    "image": ("sklearn", "torch", "captum"),
    "text": ("torch", "transformers"),
    "compete": ("sklearn",),
    "mlflow": ("sklearn", "mlflow"),
}
"""Modules that a tutorial has its reader install."""


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_needs_no_engine(page: Path, tmp_path: Path) -> None:
    for module in NEEDS[page.stem]:
        pytest.importorskip(module)
    folder, env = tmp_path / "reader", {"ANABRANCH_HOME": str(tmp_path / "home")}
    folder.mkdir()
    for step in steps(page.read_text()):
        if isinstance(step, File):
            step.write(folder)
        elif not step.needs_engine and not installs(step):
            step.run(folder, env)


def installs(step: Command) -> bool:
    return step.words[:2] == ["pip", "install"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_extras_that_are_installed_exist(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    commands = [one for one in steps(page.read_text()) if isinstance(one, Command)]
    named = [re.search(r"anabranch\[([\w,]+)\]", one.text) for one in commands if installs(one)]
    assert named
    for found in named:
        assert found is not None
        assert set(found[1].split(",")) <= set(extras["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_leaves_no_engine_and_is_in_the_index(page: Path) -> None:
    commands = [one.text for one in steps(page.read_text()) if isinstance(one, Command)]
    assert "anabranch up" in commands
    assert commands[-1] == "anabranch down"
    assert f"({page.name})" in (FOLDER / "index.md").read_text()


PAGE = """
Save this as `a/b.txt`:

```text
one
```

```sh
cat a/b.txt \\
  a/b.txt
```

```console
$ echo 1; echo two
1
t…
$ true
```

```python
print(3)
```

```text
3
```
"""


def test_a_page_is_a_list_of_steps(tmp_path: Path) -> None:
    found = list(steps(PAGE))
    assert found == [
        File("a/b.txt", "one\n"),
        Command("cat a/b.txt    a/b.txt"),
        Command("echo 1; echo two", "1\nt…\n"),
        Command("true", ""),
        Command("python -", "3\n", "print(3)\n"),
    ]
    for step in found:
        if isinstance(step, File):
            step.write(tmp_path)
        else:
            assert not step.needs_engine
            step.run(tmp_path, {})


@pytest.mark.parametrize("kind", ["yaml", "text", ""])
def test_a_fence_that_nobody_checks_is_found(kind: str) -> None:
    with pytest.raises(ValueError, match="is neither a file nor run"):
        list(steps(f"Look:\n\n```{kind}\nx: 1\n```\n"))


def test_what_fails_or_prints_something_else_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="false"):
        Command("false").run(tmp_path, {})
    with pytest.raises(AssertionError, match="but the page shows"):
        Command("echo 1", "2").run(tmp_path, {})
    with pytest.raises(AssertionError, match="but the page shows"):
        Command("echo 1", "").run(tmp_path, {})


@pytest.mark.parametrize(
    ("printed", "shown", "same"),
    [
        ("a  \nb\n", "a\nb", True),
        ("a 1.5 ms\n", "a … ms", True),
        ("a\nb\nc\n", "a\n…\nc", True),
        ("a\nc\n", "a\n…\nc", True),
        ("a\nb\n", "a", False),
        ("a   b \n", "a  b", True),
        ("ab\n", "a b", False),
        ("a.b\n", "aXb", False),
        ("", "", True),
    ],
)
def test_dots_stand_for_what_varies(printed: str, shown: str, same: bool) -> None:
    assert agrees(printed, shown) is same


def test_commands_that_need_an_engine() -> None:
    assert Command("anabranch deploy graph.yaml").needs_engine
    assert Command("curl localhost:8000").needs_engine
    assert not Command("anabranch plan graph.yaml").needs_engine
    assert not Command("python train.py").needs_engine
