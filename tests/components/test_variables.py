"""Environment variables and secrets of nodes, where the node is constructed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch import Graph, masking
from anabranch.components import variables
from anabranch.components.binding import bind
from anabranch.components.variables import KUBERNETES, MAX_BYTES
from anabranch.errors import AnabranchError, InvalidRequest, LoadError
from anabranch.specs.models import Transformer
from anabranch.telemetry.span import SpanFailure

CODE = """\
import os

from anabranch.errors import InvalidRequest


class Reads:
    def __init__(self):
        self.told = [os.environ.get(name) for name in ("MODE", "TOKEN")]

    def transform(self, x):
        return x


class Blames:
    def __init__(self, where):
        self.where = where
        self.tell("init")

    def tell(self, where):
        if where == self.where:
            raise InvalidRequest(f"{os.environ['TOKEN']} takes no such rows")

    def load(self):
        self.tell("load")

    def transform(self, x):
        self.tell("transform")


class Raises:
    def __init__(self):
        raise ValueError(f"cannot log in with {os.environ['TOKEN']}")

    def transform(self, x):
        return x
"""


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(masking, "_hidden", ())
    monkeypatch.setattr(variables, "_before", {})
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "c.py").write_text(CODE)
    return tmp_path


def node(cls: str = "Reads", **fields: Any) -> Transformer:
    return Transformer.model_validate(
        {"type": "transformer", "component": f"c.py:{cls}", "inputs": {"x": "x"}, **fields}
    )


def told(root: Path, **fields: Any) -> Any:
    instance: Any = bind("a", node(**fields), root).instance
    return instance.told


def test_variables_are_there_when_the_node_is_constructed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "tök-1234")
    secrets = {"TOKEN": {"env": "SHOP_TOKEN"}}
    assert told(root, env={"MODE": "fast"}, secrets=secrets) == ["fast", "tök-1234"]


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"tok-1234", "tok-1234"), (b"tok-1234\n", "tok-1234"), (b"tok\r\n", "tok"),
     (b"a\nb\n\n", "a\nb\n"), (b"", ""), (b"x" * MAX_BYTES + b"\n", "x" * MAX_BYTES)],
)  # fmt: skip
def test_a_file_holds_a_secret_and_maybe_the_end_of_its_line(
    root: Path, content: bytes, value: str
) -> None:
    file = root / "token"
    file.write_bytes(content)
    assert told(root, secrets={"TOKEN": {"file": str(file)}}) == [None, value]


def test_a_secret_is_a_variable_of_the_process_and_none_that_a_node_has_set(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "mode-1234")
    monkeypatch.setenv("TOKEN", "tok-1234")
    swapped = {"MODE": {"env": "TOKEN"}, "TOKEN": {"env": "MODE"}}
    for _ in range(2):
        assert told(root, secrets=swapped) == ["tok-1234", "mode-1234"]
    assert told(root, env={"MODE": "fast"}) == ["fast", "mode-1234"]
    assert told(root, secrets={"TOKEN": {"env": "MODE"}}) == ["fast", "mode-1234"]


def test_kubernetes_mounts_a_secret_as_a_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KUBERNETES, str(root / "mounted"))
    (root / "mounted" / "shop").mkdir(parents=True)
    (root / "mounted" / "shop" / "token").write_text("tok-1234")
    source = {"kubernetes": {"name": "shop", "key": "token"}}
    assert told(root, secrets={"TOKEN": source}) == [None, "tok-1234"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"env": "NOWHERE"}, "secret TOKEN: no environment variable NOWHERE where the node runs"),
        ({"file": "/nowhere/token"}, "secret TOKEN: /nowhere/token: No such file or directory"),
        ({"kubernetes": {"name": "shop", "key": "token"}},
         "secret TOKEN: key token of the Kubernetes secret shop: "
         "/var/run/secrets/anabranch/shop/token: No such file or directory; mount the secret at "
         "/var/run/secrets/anabranch/shop, or name another folder in "
         "ANABRANCH_KUBERNETES_SECRETS"),
    ],
)  # fmt: skip
def test_a_secret_that_is_not_there_is_named_with_its_source(
    root: Path, source: dict[str, Any], message: str
) -> None:
    with pytest.raises(LoadError) as caught:
        bind("a", node(secrets={"TOKEN": source}), root)
    assert caught.value.node == "a"
    assert caught.value.reason.startswith(message)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"tok-1234\xff", "no text in UTF-8"), (b"tok-1234\0", "has a NUL"),
     (b"tok-1234" * MAX_BYTES, "more than 64KiB")],
)  # fmt: skip
def test_the_value_of_a_secret_that_cannot_be_set_is_not_told(
    root: Path, content: bytes, why: str
) -> None:
    file = root / "token"
    file.write_bytes(content)
    with pytest.raises(LoadError, match=why) as caught:
        bind("a", node(secrets={"TOKEN": {"file": str(file)}}), root)
    assert "tok-1234" not in str(caught.value)


def test_what_a_constructor_raises_is_told_without_secrets(root: Path) -> None:
    (root / "token").write_text("tok-1234")
    with pytest.raises(LoadError, match=r"cannot log in with \*\*\* \(c\.py:32\)"):
        bind("a", node("Raises", secrets={"TOKEN": {"file": str(root / "token")}}), root)


@pytest.mark.parametrize(
    ("where", "kind"),
    [("init", LoadError), ("load", InvalidRequest), ("transform", InvalidRequest)],
)
def test_what_a_component_raises_on_purpose_is_told_without_secrets(
    root: Path, where: str, kind: type[AnabranchError]
) -> None:
    (root / "token").write_text("tok-1234")
    graph = Graph("g", root=root).input("x", "FP32", [-1])
    secrets = {"TOKEN": {"file": str(root / "token")}}
    graph.transformer(
        "a", component="c.py:Blames", args={"where": where}, inputs={"x": "x"}, secrets=secrets
    )
    with pytest.raises(kind, match=r"\*\*\* takes no such rows") as caught, graph.output("y", "a"):
        graph.run({"x": np.float32([1])})
    assert "tok-1234" not in repr(caught.value) + repr(vars(caught.value))
    assert SpanFailure.of(ValueError("tok-1234")).text == "***"


def test_graph_run_sets_variables_until_the_graph_is_closed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "mine")
    monkeypatch.delenv("TOKEN", raising=False)
    (root / "token").write_text("tok-1234")
    graph = Graph("g", root=root).input("x", "FP32", [-1])
    graph.transformer(
        "a", component="c.py:Reads", inputs={"x": "x"}, env={"MODE": "fast"},
        secrets={"TOKEN": {"file": str(root / "token")}},
    )  # fmt: skip
    with graph.output("y", "a"):
        graph.run({"x": np.float32([1])})
        assert (os.environ["MODE"], os.environ["TOKEN"]) == ("fast", "tok-1234")
        assert "tok-1234" not in graph.to_yaml()
    assert (os.environ["MODE"], os.environ.get("TOKEN")) == ("mine", None)


def test_graphs_that_share_a_variable_keep_it_until_the_last_is_closed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "mine")
    graphs = []
    for mode in ("fast", "slow"):
        graph = Graph("g", root=root).input("x", "FP32", [-1])
        graph.transformer("a", component="c.py:Reads", inputs={"x": "x"}, env={"MODE": mode})
        graph.output("y", "a").run({"x": np.float32([1])})
        graphs.append(graph)
    for graph, left in zip(graphs, ("slow", "mine"), strict=True):
        graph.close()
        graph.close()
        assert os.environ["MODE"] == left


def test_graph_run_leaves_no_variables_of_a_graph_that_does_not_load(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    (root / "token").write_text("tok-1234")
    graph = Graph("g", root=root).input("x", "FP32", [-1])
    secrets = {"TOKEN": {"file": str(root / "token")}}
    graph.transformer("a", component="c.py:Raises", inputs={"x": "x"}, secrets=secrets)
    with pytest.raises(LoadError, match=r"\*\*\*"):
        graph.output("y", "a").run({"x": np.float32([1])})
    assert "TOKEN" not in os.environ
