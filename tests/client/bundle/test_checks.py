"""What is said of a spec and the files beside it before it is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.bundle.checks import named_paths, open_complete
from anabranch.client.bundle.unpacking import write_files
from anabranch.errors import SpecError

HEAD = """\
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: pair}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
"""
OUTPUTS = "  outputs: {y: one}\n"
PARTS = b"class One:\n  def __init__(self, path=None): ...\n  def predict(self, x): ...\n"
COMPONENT = "    one: {type: predictor, component: parts.py:One, inputs: {x: x}}\n"
MODEL = "    one: {type: predictor, runtime: sklearn, model: MODEL, inputs: {x: x}}\n"


def problems(
    root: Path, nodes: str, files: dict[str, bytes] | None = None, rest: str = ""
) -> list[str]:
    write_files({"graph.yaml": f"{HEAD}{nodes}{OUTPUTS}{rest}".encode(), **(files or {})}, root)
    return again(root)


def again(root: Path) -> list[str]:
    try:
        open_complete(root / "graph.yaml")
    except SpecError as error:
        return [str(problem).partition("graph.yaml:")[2] for problem in error.problems]
    return []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "graph"


def test_a_spec_whose_files_are_there_has_no_mistake(root: Path) -> None:
    assert problems(root, COMPONENT, {"parts.py": PARTS}) == []


def test_mistakes_of_spec_and_files_come_together_in_the_order_of_the_file(root: Path) -> None:
    nodes = (
        "    one: {type: predictor, component: parts.py:Two, inputs: {x: x}}\n"
        "    two: {type: predictor, runtime: onnx, model: net.onnx, inputs: {x: one},"
        " retries: no}\n"
        "    three: {type: combiner, strategy: maen, inputs: [one, two]}\n"
    )
    rest = "  monitors: {m: {component: parts.py:Watch, watches: [one]}}\n"
    found = problems(root, nodes, {"parts.py": PARTS}, rest)
    assert [text.split(": ")[1] for text in found] == [
        "spec.nodes.one.component", "spec.nodes.two.model", "spec.nodes.two.retries",
        "spec.nodes.three.strategy", "spec.monitors.m.component",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("net.joblib", "there is no file 'net.joblib' (did you mean 'other.joblib'?"),
        ("../net.joblib", "must be a path inside the folder of the spec"),
        ("models", "is not in the bundle: it is empty, or a link to a folder leads to it"),
        ("linked/net.joblib", "is not in the bundle: it is empty, or a link to a folder leads"),
        (".models/net.joblib", "is not in the bundle: it is hidden; move or rename it"),
        ("raw/net.joblib", "is not in the bundle: .anabranchignore has 'raw/'; move"),
    ],
)
def test_a_model_that_is_not_in_the_bundle(root: Path, model: str, message: str) -> None:
    write_files({"graph.yaml": b"", "other.joblib": b"", "elsewhere/net.joblib": b""}, root)
    (root / "models").mkdir()
    (root / "linked").symlink_to(root / "elsewhere")
    for name in (".models/net.joblib", "raw/net.joblib"):
        (root / name).parent.mkdir()
        (root / name).write_bytes(b"x")
    (root / ".anabranchignore").write_text("raw/\n")
    text = f"{HEAD}{MODEL.replace('MODEL', model)}{OUTPUTS}"
    (root / "graph.yaml").write_text(text)
    (problem,) = again(root)
    assert problem.startswith("7:") and "spec.nodes.one.model" in problem
    assert message in problem


def test_a_model_with_another_digest(root: Path) -> None:
    nodes = MODEL.replace("MODEL", f"net.joblib, sha256: {'0' * 64}")
    (problem,) = problems(root, nodes, {"net.joblib": b"x"})
    assert "its sha256 is 2d711642" in problem and "the spec says 000" in problem


def test_models_by_uri_are_where_the_engine_reaches_them(root: Path) -> None:
    nodes = MODEL.replace("MODEL", f"'s3://b/net.joblib', sha256: {'0' * 64}")
    assert problems(root, nodes) == []


def test_many_models_in_one_node_may_come_later(root: Path) -> None:
    nodes = MODEL.replace("MODEL", "'models/{model}.joblib', multiplex: {parameter: name}")
    assert problems(root, nodes) == []


def test_a_node_that_does_not_run_needs_no_files(root: Path) -> None:
    idle = COMPONENT.replace("one:", "idle:").replace("parts.py", "gone.py")
    assert problems(root, COMPONENT + idle, {"parts.py": PARTS}) == []


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("certs/server.key", "{path: certs/server.key}"),
        ("certs/server.key", "{path: ./certs/server.key}"),
        ("home/ray-token", "{path: home/ray-token}"),
        ("home/ray-token", "{path: home}"),
        (".env", "{path: .env}"),
        (".env", "{path: plain.txt}"),
        (".env", "{path: [{nested: plain.txt}]}"),
    ],
)
def test_a_spec_that_names_a_secret_is_refused(root: Path, name: str, field: str) -> None:
    write_files({"parts.py": PARTS, name: b"x", "graph.yaml": b""}, root)
    (root / "plain.txt").symlink_to(root / name)
    node = COMPONENT.replace("inputs", f"args: {field}, inputs")
    (root / "graph.yaml").write_text(f"{HEAD}{node}{OUTPUTS}")
    (problem,) = again(root)
    assert "spec.nodes.one.args.path" in problem
    assert "no bundle holds secrets, so give it to the engine's processes another way" in problem


def test_arguments_that_are_no_paths_say_nothing(root: Path) -> None:
    values = ["..", "/etc/passwd", "a" * 5000, "s3://x/.env", "", ".", "node_modules", ".git"]
    write_files({"node_modules/a.js": b"", ".git/config": b"", "graph.yaml": b""}, root)
    for value in values:
        node = COMPONENT.replace("inputs", f'args: {{path: "{value}"}}, inputs')
        write = {"parts.py": PARTS}
        assert problems(root, node, write) == [], value


def test_monitors_components_are_read_too(root: Path) -> None:
    source = PARTS + b"class Watch:\n  async def score(self, y): ...\n  def fit(self, one): ...\n"
    rest = "  monitors: {m: {component: parts.py:Watch, watches: [one]}}\n"
    assert [
        text.split(": ", 2)[2] for text in problems(root, COMPONENT, {"parts.py": source}, rest)
    ] == [
        "parts.py:Watch has fit(), which takes a `reference`, and none is given (parts.py:4)",
        "Watch.score() must be a plain method: it has a process of its own (parts.py:5)",
        "Watch.score() needs 'y', which watches does not give; watches gives 'one', which "
        "Watch.score() does not take (available: y) (parts.py:5)",
    ]


def test_paths_that_a_spec_names(root: Path) -> None:
    node = COMPONENT.replace("inputs", "args: {path: [data/a.bin]}, inputs")
    write_files({"graph.yaml": f"{HEAD}{node}{OUTPUTS}".encode(), "parts.py": PARTS}, root)
    assert named_paths(open_complete(root / "graph.yaml")) == ["parts.py", "data/a.bin"]


def test_a_class_of_a_notebook_is_refused_with_what_to_do(root: Path) -> None:
    (text,) = problems(root, COMPONENT.replace("parts.py:One", "'__main__:One'"))
    assert "spec.nodes.one.component: 'One' is a class of a notebook or script" in text
    assert "by `%%writefile parts.py`), and name it 'parts.py:One'" in text
    monitor = "  monitors: {m: {component: '__main__:Watch', watches: [one]}}\n"
    (text,) = problems(root, COMPONENT, {"parts.py": PARTS}, monitor)
    assert "spec.monitors.m.component: 'Watch' is a class of a notebook or script" in text
