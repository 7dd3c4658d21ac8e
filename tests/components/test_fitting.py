"""What the source of a component shows, against what happens when it is loaded."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from anabranch.components.binding import bind
from anabranch.components.fitting import component_problems
from anabranch.components.source.roots import drop
from anabranch.errors import LoadError
from anabranch.specs.models import Node, NodeBase

_NODE: TypeAdapter[NodeBase] = TypeAdapter(Node)


def node(component: str = "parts.py:Net", **fields: object) -> NodeBase:
    given = {"type": "predictor", "component": component, "inputs": {"x": "x"}, **fields}
    return _NODE.validate_python(given)


def found(root: Path, source: str, one: NodeBase | None = None, **files: str) -> list[str]:
    (root / "parts.py").write_text(source)
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return [
        f"{'.'.join(map(str, path))}: {message}"
        for path, message in component_problems(one or node(), root)
    ]


def test_a_class_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    assert found(tmp_path, "class Nett: pass\nclass _Own: pass") == [
        "component: parts.py has no class 'Net' (did you mean 'Nett'? available: Nett)"
    ]


def test_a_file_that_is_no_python_is_named_with_its_line(tmp_path: Path) -> None:
    assert found(tmp_path, "x = 1\nclass Net(:\n") == [
        "component: cannot load parts.py: SyntaxError: invalid syntax (parts.py:2)"
    ]


def test_all_that_does_not_fit_is_found_at_once_and_where(tmp_path: Path) -> None:
    source = "class Net:\n  def __init__(self, size): ...\n\n  def predict(self, y): yield y\n"
    one = node(args={"sise": 1})
    owner = "the constructor of parts.py:Net"
    assert found(tmp_path, source, one) == [
        f"args: {owner} needs 'size', which args does not give; args gives 'sise', which {owner} "
        "does not take (did you mean 'size'? available: size) (parts.py:2)",
        "component: Net.predict() must be an async generator (`async def`) to yield its results "
        "(parts.py:4)",
        "inputs: Net.predict() needs 'y', which inputs does not give; inputs gives 'x', which "
        "Net.predict() does not take (available: y) (parts.py:4)",
    ]


def test_a_method_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert found(
        tmp_path, "class Net:\n  def forward(self, x): ...\n  def predit(self, x): ..."
    ) == [
        "component: Net has no method predict(), which a predictor needs (did you mean 'predit'? "
        "available: forward, predit) (parts.py:1)"
    ]


BASE = "class Base:\n  def __init__(self, size): ...\n"


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("from helpers import Base", {"helpers": BASE}),
        ("from helpers import Other as Base", {"helpers": "from deep.base import Base as Other",
                                              "deep__base": BASE}),
        ("from .helpers import Base", {"helpers": BASE}),
        (BASE, {}),
    ],
)  # fmt: skip
def test_bases_are_followed_through_the_files_of_the_bundle(
    tmp_path: Path, line: str, files: dict[str, str]
) -> None:
    (problem,) = found(tmp_path, f"{line}\nclass Net(Base):\n  def predict(self, x): ...", **files)
    assert problem.startswith("component: the constructor of parts.py:Net")
    assert "needs 'size'" in problem


METHOD = "  def predict(self, y): ..."


@pytest.mark.parametrize(
    "source",
    [
        "from numpy import *\n",  # may bind any name
        "from somewhere import Net",
        "import sys\nsys.modules[__name__] = object()",
        "def __getattr__(name): ...",
        "if True:\n  class Net: pass",
        f"class Net:\n{METHOD}\nNet = make(Net)",
        f"@decorated\nclass Net:\n{METHOD}",
        f"class Net(metaclass=Meta):\n{METHOD}",
        f"from lib import Base\nclass Net(Base):\n{METHOD}",
        f"class A: pass\nclass B: pass\nclass Net(A, B):\n{METHOD}",
        f"class Net(Net):\n{METHOD}",
        "class Net:\n  @wrapped\n  def predict(self, y): ...",
        "class Net:\n  predict = other",
        "class Net:\n  @property\n  def predict(self): ...",
        "class Net:\n  if fast:\n    def predict(self, y): ...",
        "class Net:\n  def __init__(self): self.predict = print",
        "class Net:\n  def __getattr__(self, name): ...",
        f"class Net:\n{METHOD}\nsetattr(Net, 'predict', print)",
        f"class Net:\n{METHOD}\nNet.predict = print",
        "class Net:\n  def __new__(cls, size): ...\n  def predict(self, x): ...",
        "def f():\n  global Net\n  class Net: pass\nf()",
    ],
)
def test_what_the_source_leaves_open_is_not_reported(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, source) == []


def test_modules_that_are_installed_are_not_looked_into(tmp_path: Path) -> None:
    assert found(tmp_path, "", node("numpy.linalg:Net"), numpy="") == []


def test_a_module_of_the_bundle_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "own_package").mkdir()
    assert found(tmp_path, "", node("own_package.net:Net"), own_package__net="class A: ...") == [
        "component: own_package.net has no class 'Net' (available: A)"
    ]


# Components that a person may write, from parts that go together in any way.
_NAMES = ("a", "b", "x", "y")
_HEADERS = ("", "from abc import ABC", "from helpers import Base", "from helpers import *")
_BASES = ("", "(object)", "(ABC)", "(Base)", "(dict)")
_DECORATORS = ("", "@staticmethod", "@classmethod", "@keep")
_TAILS = (
    "", "Net = Net", "Net.predict = lambda self, x: x", "setattr(Net, 'predict', print)",
    "del keep", "class Net(Net): pass", "if keep:\n  class Net: pass",
)  # fmt: skip
_EXTRAS = (
    "", "  def __getattr__(self, name): return print", "  route = None",
    "  predict = staticmethod(print)",
    "  def __new__(cls, *args, **kw): return super().__new__(cls)",
)  # fmt: skip
_BODIES = ("pass", "return 1", "yield 1", "self.predict = print")


@st.composite
def signatures(draw: st.DrawFn, first: tuple[str, ...] = ("self",)) -> str:
    names = draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=3))
    placed = draw(st.integers(0, len(names)))
    defaults = draw(st.integers(0, placed))
    parts = [*first, *names[:placed]]
    for index in range(len(parts) - defaults, len(parts)):
        parts[index] += "=None"
    if draw(st.booleans()) and parts:
        parts.insert(draw(st.integers(1, len(parts))), "/")
    if names[placed:]:
        parts.append(draw(st.sampled_from(("*", "*rest"))))
        parts += [f"{name}{draw(st.sampled_from(('', '=1')))}" for name in names[placed:]]
    return ", ".join([*parts, *draw(st.sampled_from(((), ("**kw",))))])


@st.composite
def sources(draw: st.DrawFn) -> str:
    lines = [draw(st.sampled_from(_HEADERS)), "def keep(one): return one"]
    lines.append(f"class Net{draw(st.sampled_from(_BASES))}:\n  kind = 1")
    if draw(st.booleans()):
        lines.append(f"  def __init__({draw(signatures())}): {draw(st.sampled_from(_BODIES[:1]))}")
    if draw(st.integers(0, 3)):
        decorator = draw(st.sampled_from(_DECORATORS))
        first = draw(st.sampled_from((("self",), ())))
        kind = draw(st.sampled_from(("def", "async def")))
        body = draw(st.sampled_from(_BODIES[:3]))
        name = draw(st.sampled_from(("predict", "predict", "forward")))
        lines.append(f"  {decorator}\n  {kind} {name}({draw(signatures(first))}): {body}")
    lines.append(draw(st.sampled_from(_EXTRAS)))
    lines.append(draw(st.sampled_from(_TAILS)))
    return "\n".join(lines)


HELPERS = """\
class Base:
    def __init__(self, a): ...
    def predict(self, x): ...
"""


@given(
    source=sources(),
    args=st.dictionaries(st.sampled_from(_NAMES[:2]), st.just(1), max_size=2),
    inputs=st.dictionaries(st.sampled_from(_NAMES[2:]), st.just("x"), min_size=1, max_size=2),
)
def test_whatever_loads_is_found_right(
    source: str, args: dict[str, int], inputs: dict[str, str]
) -> None:
    one = node(args=args, inputs=inputs)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "helpers.py").write_text(HELPERS)
        problems = found(root, source, one)
        try:
            bind("net", one, root)
        except LoadError:
            return
        finally:
            drop(root)
    assert problems == []


@given(signature=signatures(), given=st.lists(st.sampled_from(_NAMES), min_size=1, unique=True))
def test_a_plain_method_is_judged_as_it_is_when_loaded(signature: str, given: list[str]) -> None:
    one = node(inputs=dict.fromkeys(given, "x"))
    with TemporaryDirectory() as folder:
        root = Path(folder)
        problems = found(root, f"class Net:\n  def predict({signature}): ...", one)
        try:
            bind("net", one, root)
            expected = []
        except LoadError as error:
            expected = [f"inputs: {error.reason} (parts.py:2)"]
        finally:
            drop(root)
    assert problems == expected
