"""Components with Seldon's contract in graphs, against a model of Seldon's wrapper.

The model is written from ``python/seldon_core`` at v1.17.1: ``seldon_methods.py``,
``user_model.py`` and ``construct_response_json`` in ``utils.py``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch import Graph
from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.components.contracts.seldon.payloads import tensor_of
from anabranch.components.fitting import component_problems
from anabranch.errors import InvalidRequest, LoadError, NodeError, StatusError

SOURCE = '''
import json

import numpy as np
from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.metrics import create_counter, create_gauge, create_timer
from seldon_core.user_model import SeldonComponent, SeldonNotImplementedError, SeldonResponse

LOG = []


class Plain:
    """No base class."""

    def predict(self, X, features_names, meta=None):
        LOG.append((X, features_names, meta))
        return X * 2


class OnlyX:
    def predict(self, X):
        return X + 1


class NoMeta:
    def predict(self, X, names):
        return [[len(names)]]


class AnyKeywords:
    def predict(self, features, names, **kwargs):
        return [[len(kwargs["meta"]["tags"])]]


class Based(SeldonComponent):
    def __init__(self, by=1.0, word="", deep=True, steps=0):
        super().__init__()
        self.given = [type(one).__name__ for one in (by, word, deep, steps)]
        self.by = by
        self.loaded = False

    def load(self):
        self.loaded = True

    def predict(self, X, names=[], meta={}):
        assert self.loaded
        return X * self.by

    def class_names(self):
        return ["cat", "dog"]

    def tags(self):
        return {"model": "based", "given": self.given, "none": None, "count": np.int64(3)}

    def metrics(self):
        return [create_gauge("size", 4), create_timer("took", 1500)]


class Runtime(Based):
    def predict(self, X, names):
        return SeldonResponse(
            data=X, tags={"model": "runtime"}, metrics=[create_counter("calls", 2)]
        )


class Attribute:
    class_names = ["only"]

    def predict(self, X, names):
        return X[:, :1]


class Returns:
    """Returns what it is told to."""

    def __init__(self, value):
        self.value = value

    def predict(self, X, names):
        return self.value


class Shows:
    """Returns what it has got, in words."""

    def predict(self, X, names):
        return f"{type(X).__name__} {X}"


class Changes:
    def predict(self, X, names):
        X[0, 0] = 9
        return X


class Both:
    def transform_input(self, X, names):
        return X + 1

    def transform_output(self, X, names):
        return X * 10


class PassesOn(SeldonComponent):
    def transform_input(self, X, names, meta=None):
        raise SeldonNotImplementedError("not for these")


class Routes:
    def __init__(self, branch):
        self.branch = branch

    def route(self, X, names):
        return self.branch


class RoutesWithTags:
    def route(self, X, names, meta=None):
        return SeldonResponse(1, tags={"routed": True})


class RawRoutes:
    def route_raw(self, msg):
        return {"data": {"ndarray": [[1]]}}


class Aggregates:
    def aggregate(self, Xs, names_list):
        LOG.append(names_list)
        return sum(Xs)


class RawAggregates:
    def aggregate_raw(self, request):
        found = [np.array(one["data"]["ndarray"]) for one in request["seldonMessages"]]
        return {"data": {"names": ["sum"], "ndarray": sum(found).tolist()}}


class Raw(SeldonComponent):
    def predict_raw(self, msg):
        LOG.append(msg)
        rows = np.array(msg["data"]["ndarray"]) * 3
        tensor = {"shape": rows.shape, "values": list(rows.flat)}
        metrics = [{"key": "n", "type": "COUNTER", "value": 1}]
        return {
            "data": {"names": ["a", "b"], "tensor": tensor},
            "meta": {"tags": {"raw": True}, "metrics": metrics},
        }


class RawLeftOut(SeldonComponent):
    def predict_raw(self, msg):
        raise SeldonNotImplementedError("raw")

    def predict(self, X, names):
        return X + 5


class Fails:
    def predict(self, X, names):
        raise SeldonMicroserviceException("no such plant", status_code=418, reason="TEAPOT")


class FailsOddly:
    def predict(self, X, names):
        raise SeldonMicroserviceException("no such plant", status_code=200, reason="TEAPOT")


class BadMetrics:
    def predict(self, X, names):
        return X

    def metrics(self):
        return [{"key": "n", "type": "COUNTER", "value": "many"}]


class Unwell:
    def predict(self, X, names):
        return X

    def health_status(self):
        raise RuntimeError("the disk is full")


class Described(SeldonComponent):
    def predict(self, X, names):
        return X

    def init_metadata(self):
        return {"name": "described"}


class NothingHere:
    def prediction(self, X, names):
        return X


class Awaits:
    async def predict(self, X, names):
        return X


class AsksForMore:
    def predict(self, X, names, third):
        return X
'''

Make = Callable[..., Graph]


@pytest.fixture
def graph(bundle: Any) -> Make:
    """Start a graph with one input; of FP64 with two dimensions unless it says otherwise."""
    root: Path = bundle({"m.py": SOURCE})

    def make(datatype: str = "FP64", shape: Any = (-1, -1), content: Any = "text") -> Graph:
        return Graph("g", root=root).input("data", datatype, shape, content)

    return make


def predictor(graph: Graph, cls: str, **fields: Any) -> Graph:
    inputs = fields.pop("inputs", {"X": "data"})
    graph.predictor("m", component=f"m.py:{cls}", contract="seldon", inputs=inputs, **fields)
    return graph.output("y", "m")


ROWS = np.array([[1.0, 2.0], [3.0, 4.0]])


def log_of(graph: Graph) -> list[Any]:
    found = next(
        one for name, one in sys.modules.items() if name.endswith(".m") and hasattr(one, "LOG")
    )
    return found.LOG  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        ("Plain", ROWS * 2),
        ("OnlyX", ROWS + 1),
        ("NoMeta", [[2]]),
        ("AnyKeywords", [[1]]),
        ("Based", ROWS),
        ("Runtime", ROWS),
        ("Raw", ROWS * 3),
        ("RawLeftOut", ROWS + 5),
    ],
)
def test_predict_is_called_as_it_is_defined(
    graph: Make, evaluate: Any, cls: str, expected: Any
) -> None:
    context = Context()
    context.names["data"] = ["a", "b"]
    context.tags["from"] = "request"
    found = evaluate(predictor(graph(), cls), {"data": ROWS}, context)
    assert found["y"].tolist() == np.asarray(expected).tolist()


def test_names_and_meta_are_those_of_the_request(graph: Make, evaluate: Any) -> None:
    context = Context(id="7")
    context.names["data"] = ["a", "b"]
    context.tags["from"] = "request"
    built = predictor(graph(), "Plain")
    evaluate(built, {"data": ROWS}, context)
    ((features, names, meta),) = log_of(built)
    assert features.tolist() == ROWS.tolist()
    assert (names, meta["puid"], meta["tags"]) == (["a", "b"], "7", {"from": "request"})


def test_arguments_keep_their_types(graph: Make, evaluate: Any) -> None:
    context = Context()
    args = {"by": 2.5, "word": "x", "deep": False, "steps": 3}
    found = evaluate(predictor(graph(), "Based", args=args), {"data": ROWS}, context)
    assert found["y"].tolist() == (ROWS * 2.5).tolist()
    assert json.loads(str(context.tags["given"])) == ["float", "str", "bool", "int"]


def test_tags_metrics_and_names_follow_the_result(graph: Make, evaluate: Any) -> None:
    context = Context()
    context.tags.update({"model": "request", "kept": 1})
    evaluate(predictor(graph(), "Runtime"), {"data": ROWS}, context)
    assert context.tags["model"] == "runtime"  # request < tags() < response
    assert (context.tags["kept"], context.tags["count"], context.tags["none"]) == (1, 3, "null")
    measured = [(one.kind, one.name, one.value) for one in context.annotations.measures]
    assert measured == [("gauge", "size", 4), ("timer", "took", 1.5), ("counter", "calls", 2)]
    assert context.names["y"] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("cls", "names"),
    [("Plain", ["t:0", "t:1"]), ("Attribute", ["only"]), ("Raw", ["a", "b"]), ("Shows", None)],
)
def test_columns_have_names(graph: Make, evaluate: Any, cls: str, names: Any) -> None:
    context = Context()
    evaluate(predictor(graph(), cls), {"data": ROWS}, context)
    assert context.names.get("y") == names


@pytest.mark.parametrize("segmented", [False, True])
def test_names_and_tags_go_on_to_the_next_node(graph: Make, evaluate: Any, segmented: bool) -> None:
    built = graph()
    for name, cls, source in (("first", "Based", "data"), ("second", "Plain", "first")):
        built.predictor(
            name, component=f"m.py:{cls}", contract="seldon", inputs={"X": source},
            placement={"isolate": True},
        )  # fmt: skip
    evaluate(built.output("y", "second"), {"data": ROWS}, segmented=segmented)
    ((_, names, meta),) = log_of(built)
    assert names == ["cat", "dog"]
    assert meta["tags"]["model"] == "based"


def wrapper(value: Any) -> tuple[str, Any]:
    """The model: which payload of a message a result is, and what JSON or bytes it holds."""
    if isinstance(value, dict):
        return "jsonData", value
    if isinstance(value, bytes | bytearray):
        return "binData", bytes(value)
    if isinstance(value, str):
        return "strData", value
    return "data", value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize(
    "value",
    [
        {"label": "cat", "scores": [0.5, 1]},
        "a text",
        "",
        [[1, 2]],
        [0.5, 1.5],
        ["a", "b"],
        [["a", 1.5]],
        [{"label": "cat"}],
        [[1], [2, 3]],
        [True, False],
        [],
        [None, 1],
    ],
)
def test_results_are_the_payloads_of_the_wrapper(graph: Make, evaluate: Any, value: Any) -> None:
    found = evaluate(predictor(graph(), "Returns", args={"value": value}), {"data": ROWS})["y"]
    kind, content = wrapper(value)
    if kind == "strData":
        assert found.item() == content
    elif kind == "jsonData" or (found.dtype == object and found.ndim == 0):
        assert json.loads(found.item()) == content
    else:
        assert found.tolist() == content


@pytest.mark.parametrize(
    ("parameter", "datatype", "shape", "content", "given", "shown"),
    [
        ("X", "BYTES", [], "text", "hello", "str hello"),
        ("X", "BYTES", [], "text", '{"a": 1}', "dict {'a': 1}"),
        ("X", "BYTES", [], "text", "{no json", "str {no json"),
        ("X", "BYTES", [], "raw", b"\xff", r"bytes b'\xff'"),
        ("X", "BYTES", [-1], "text", ["a", "b"], "ndarray ['a' 'b']"),
        ("X", "BYTES", [1], "text", ["a"], "ndarray ['a']"),
        ("X", "INT32", [], "text", 5, "ndarray 5"),
        ("strData", "BYTES", [1], "text", ['{"a": 1}'], 'str {"a": 1}'),
        ("strData", "BYTES", [1, 1], "raw", [[b"x"]], "str x"),
        ("binData", "BYTES", [1], "text", ["x"], "bytes b'x'"),
        ("jsonData", "BYTES", [1], "text", ["[1, 2]"], "list [1, 2]"),
        ("data", "BYTES", [], "text", "x", "ndarray x"),
    ],
)
def test_tensors_become_payloads(
    graph: Make, evaluate: Any, parameter: str, datatype: str, shape: Any, content: Any,
    given: Any, shown: str,
) -> None:  # fmt: skip
    built = predictor(graph(datatype, shape, content), "Shows", inputs={parameter: "data"})
    tensor = np.array(given, object) if datatype == "BYTES" else np.array(given, np.int32)
    assert evaluate(built, {"data": tensor})["y"].item() == shown


@pytest.mark.parametrize(
    ("parameter", "given", "words"),
    [
        ("strData", ["a", "b"], "one element of BYTES"),
        ("jsonData", ["{"], "no JSON document"),
        ("strData", [b"\xff"], "UTF-8"),
    ],
)
def test_a_tensor_that_is_no_such_payload_is_the_client_s_mistake(
    graph: Make, evaluate: Any, parameter: str, given: Any, words: str
) -> None:
    built = predictor(graph("BYTES", [-1], "raw"), "Shows", inputs={parameter: "data"})
    with pytest.raises(InvalidRequest, match=words):
        evaluate(built, {"data": np.array(given, object)})


def test_a_component_may_change_its_array(graph: Make, evaluate: Any) -> None:
    rows = ROWS.copy()
    rows.flags.writeable = False
    assert evaluate(predictor(graph(), "Changes"), {"data": rows})["y"][0, 0] == 9
    assert rows[0, 0] == 1


def test_a_document_has_the_dimensions_that_its_output_is_declared_with(
    graph: Make, evaluate: Any
) -> None:
    built = predictor(
        graph(), "Returns", args={"value": {"a": 1}}, outputs={"found": ("BYTES", [1])}
    )
    found = evaluate(built, {"data": ROWS})["y"]
    assert (found.shape, found.tolist()) == ((1,), ['{"a":1}'])


@pytest.mark.parametrize(
    ("method", "expected"),
    [(None, ROWS + 1), ("transform_input", ROWS + 1), ("transform_output", ROWS * 10)],
)
def test_a_transformer_names_its_method(
    graph: Make, evaluate: Any, method: Any, expected: Any
) -> None:
    built = graph().transformer(
        "t", component="m.py:Both", contract="seldon", method=method, inputs={"X": "data"}
    )
    found = evaluate(built.output("y", "t"), {"data": ROWS})
    assert found["y"].tolist() == expected.tolist()


def test_a_transform_that_is_left_out_passes_the_payload_on(graph: Make, evaluate: Any) -> None:
    built = graph().transformer(
        "t", component="m.py:PassesOn", contract="seldon", inputs={"X": "data"}
    )
    assert evaluate(built.output("y", "t"), {"data": ROWS})["y"].tolist() == ROWS.tolist()


def routed(graph: Graph, cls: str = "Routes", **fields: Any) -> Graph:
    for name, by in (("a", 1.0), ("b", 2.0)):
        graph.predictor(name, component="m.py:Based", contract="seldon", args={"by": by},
                        inputs={"X": "data"})  # fmt: skip
    graph.combiner("all", component="m.py:Aggregates", contract="seldon", inputs=["a", "b"])
    graph.transformer("same", method="cast", args={"datatype": "FP64"}, inputs={"x": "data"})
    graph.router("r", component=f"m.py:{cls}", contract="seldon", routes=["a", "b"],
                 broadcast="all", skip="same", inputs={"X": "data"}, **fields)  # fmt: skip
    return graph.output("y", "r")


@pytest.mark.parametrize(
    ("branch", "factor", "path"), [(0, 1, "a"), (1, 2, "b"), (-1, 3, "all"), (-2, 1, "same")]
)
def test_a_branch_is_a_route_or_all_or_none(
    graph: Make, evaluate: Any, branch: int, factor: int, path: str
) -> None:
    context = Context()
    found = evaluate(routed(graph(), args={"branch": branch}), {"data": ROWS}, context)
    assert (found["y"].tolist(), context.path) == ((ROWS * factor).tolist(), {"r": path})


@pytest.mark.parametrize("cls", ["RoutesWithTags", "RawRoutes"])
def test_a_branch_comes_in_a_response_or_a_message(graph: Make, evaluate: Any, cls: str) -> None:
    context = Context()
    evaluate(routed(graph(), cls), {"data": ROWS}, context)
    assert context.path == {"r": "b"}
    assert context.tags.get("routed") is (True if cls == "RoutesWithTags" else None)


@pytest.mark.parametrize("branch", [2, -3, "a", 0.5, None, True])
def test_another_branch_fails_the_node(graph: Make, evaluate: Any, branch: Any) -> None:
    with pytest.raises(NodeError, match=r"'r'.*(must be int|there are 2 routes: 0 to 1)"):
        evaluate(routed(graph(), args={"branch": branch}), {"data": ROWS})


@pytest.mark.parametrize("inputs", [["a", "b"], {"first": "a", "second": "b"}])
@pytest.mark.parametrize("cls", ["Aggregates", "RawAggregates"])
def test_aggregate_gets_payloads_in_order(
    graph: Make, evaluate: Any, inputs: Any, cls: str
) -> None:
    built = graph()
    for name, by in (("a", 1.0), ("b", 2.0)):
        built.predictor(name, component="m.py:Based", contract="seldon", args={"by": by},
                        inputs={"X": "data"})  # fmt: skip
    built.combiner("c", component=f"m.py:{cls}", contract="seldon", inputs=inputs)
    context = Context()
    found = evaluate(built.output("y", "c"), {"data": ROWS}, context)
    assert found["y"].tolist() == (ROWS * 3).tolist()
    if cls == "Aggregates":
        assert log_of(built) == [[["cat", "dog"], ["cat", "dog"]]]


@pytest.mark.parametrize("cls", ["Aggregates", "RawAggregates"])
def test_aggregate_goes_on_without_inputs_that_failed(graph: Make, evaluate: Any, cls: str) -> None:
    built = graph()
    built.predictor("a", component="m.py:Based", contract="seldon", inputs={"X": "data"})
    built.predictor("b", component="m.py:Fails", contract="seldon", inputs={"X": "data"},
                    on_error="skip")  # fmt: skip
    built.combiner("c", component=f"m.py:{cls}", contract="seldon", inputs=["a", "b"], quorum=1)
    found = evaluate(built.output("y", "c"), {"data": ROWS}, Context())
    assert found["y"].tolist() == ROWS.tolist()
    assert cls == "RawAggregates" or log_of(built) == [[[]]]


def test_a_graph_with_contracts_is_written_and_read_back(graph: Make) -> None:
    built = routed(graph(), args={"branch": 1})
    again = Graph.from_spec(built.spec, built.root)
    assert again.spec == built.spec
    assert built.to_yaml().count("contract: seldon") == 4


def test_a_raw_method_gets_a_message(graph: Make, evaluate: Any) -> None:
    context = Context(id="7")
    context.names["data"] = ["a", "b"]
    built = predictor(graph(), "Raw")
    evaluate(built, {"data": ROWS}, context)
    (message,) = log_of(built)
    assert message["data"] == {"names": ["a", "b"], "ndarray": ROWS.tolist()}
    assert message["meta"]["puid"] == "7"
    assert context.tags["raw"] is True
    assert [(one.name, one.value) for one in context.annotations.measures] == [("n", 1)]


def test_an_error_of_seldon_s_says_its_message(graph: Make, evaluate: Any) -> None:
    with pytest.raises(StatusError, match=r"'m' failed: no such plant \(TEAPOT\)$") as raised:
        evaluate(predictor(graph(), "Fails"), {"data": ROWS})
    assert raised.value.status == 418


def test_an_error_of_a_status_that_is_none_is_the_node_s(graph: Make, evaluate: Any) -> None:
    with pytest.raises(NodeError, match=r"no such plant \(TEAPOT\) \(m\.py:\d+") as raised:
        evaluate(predictor(graph(), "FailsOddly"), {"data": ROWS})
    assert not isinstance(raised.value, StatusError)


def test_metrics_that_are_none_fail_the_node(graph: Make, evaluate: Any) -> None:
    with pytest.raises(NodeError, match=r"'value': 'many'.*needs a `key`"):
        evaluate(predictor(graph(), "BadMetrics"), {"data": ROWS})


def test_batches_go_without_names_and_tags(graph: Make) -> None:
    built = predictor(graph(), "Based", batching={"max_size": 8})
    with built:
        assert built.run({"data": ROWS})["y"].tolist() == ROWS.tolist()


def test_health_status_is_asked(bundle: Any, node: Any) -> None:
    root = bundle({"m.py": SOURCE})
    sick = bind("m", node(type="predictor", component="m.py:Unwell", contract="seldon"), root)
    with pytest.raises(RuntimeError, match="the disk is full"):
        asyncio.run(sick.check_health())
    well = bind("m", node(type="predictor", component="m.py:Based", contract="seldon"), root)
    asyncio.run(well.check_health())


def test_metadata_go_to_the_log(bundle: Any, node: Any, caplog: Any) -> None:
    root = bundle({"m.py": SOURCE})
    with caplog.at_level(logging.INFO, "anabranch.component"):
        bound = bind(
            "m", node(type="predictor", component="m.py:Described", contract="seldon"), root
        )
        asyncio.run(bound.load())
    assert "Described: metadata {'name': 'described'}" in caplog.text


@pytest.mark.parametrize(
    ("cls", "fields", "words"),
    [
        (
            "NothingHere",
            {},
            r"no method predict\(\) or predict_raw\(\), which Seldon's .* predictor",
        ),
        ("NothingHere", {}, r"did you mean 'prediction'"),
        ("Awaits", {}, r"Awaits.predict\(\) must return its result"),
        ("AsksForMore", {}, r"must take up to 2 arguments.*third"),
        ("Based", {"args": {"bye": 1}}, r"args gives 'bye', which the constructor of m.py:Based"),
        ("Returns", {}, r"needs 'value'"),
        ("Both", {"type": "transformer"}, None),
        ("OnlyX", {"type": "transformer", "method": "transform_output"}, "no method transform_out"),
        ("Routes", {"type": "router", "routes": ["a"], "args": {"branch": 1}}, None),
        ("Based", {"type": "combiner"}, r"no method aggregate\(\) or aggregate_raw\(\)"),
        ("Based", {}, None),
    ],
)
def test_the_source_shows_what_is_missing(
    bundle: Any, node: Any, cls: str, fields: Any, words: str | None
) -> None:
    root = bundle({"m.py": SOURCE})
    given = node(
        **{"type": "predictor", "component": f"m.py:{cls}", "contract": "seldon", **fields}
    )
    found = [text for _, text in component_problems(given, root)]
    assert bool(found) is (words is not None)
    assert words is None or any(re.search(words, text) for text in found)
    with pytest.raises(LoadError, match=words) if words else nullcontext():
        bind("m", given, root)


def test_a_class_whose_source_is_open_is_checked_when_it_is_loaded(
    bundle: Any, evaluate: Any
) -> None:
    source = "def same(cls):\n    return cls\n@same\nclass M:\n    def nothing(self): ...\n"
    built = Graph("g", root=bundle({"m.py": source})).input("data", "FP64", [-1, -1])
    with pytest.raises(LoadError, match=r"no method predict\(\) or predict_raw\(\)"):
        evaluate(predictor(built, "M"), {"data": ROWS})


TOLD = """
from seldon_core.user_model import SeldonResponse


class Told:
    TELL = None

    def predict(self, X, names, meta=None):
        value, response_tags, _, _ = self.TELL
        return value if response_tags is None else SeldonResponse(value, tags=response_tags)

    def tags(self):
        return self.TELL[2]

    def class_names(self):
        return self.TELL[3]
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: Any, node: Any) -> Any:
    root: Path = tmp_path_factory.mktemp("told")
    (root / "told.py").write_text(TOLD)
    return bind("m", node(type="predictor", component="told.py:Told", contract="seldon"), root)


Model = tuple[str, Any, list[str], dict[str, Any]]


def construct_response(
    value: Any, response_tags: Any, own: Any, names: Any, request_tags: Any
) -> Model:
    """The model: payload, its content, names and tags (``construct_response_json``)."""
    kind, content = wrapper(value)
    tags = {**request_tags, **own, **(response_tags or {})}
    rank = np.array(value).ndim if kind == "data" else 0
    return kind, content, list(names) if rank > 1 else [], tags


scalars = st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=3)
labels = st.dictionaries(st.sampled_from("abc"), scalars, max_size=3)
numbers = st.floats(-9, 9)
values = (
    st.dictionaries(st.text("xy", max_size=2), scalars, max_size=3)
    | st.text("ab{", max_size=4)
    | st.binary(max_size=4)
    | st.lists(numbers, min_size=1, max_size=3)
    | st.lists(st.tuples(numbers, numbers).map(list), min_size=1, max_size=3)
    | st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=3).map(np.array)
)


@given(values, st.none() | labels, labels, labels, st.booleans())
def test_answers_are_those_of_the_wrapper(
    told: Any, value: Any, response_tags: Any, own: Any, request_tags: Any, is_named: bool
) -> None:
    names = ["p", "q"] if is_named else ["t:0", "t:1"]
    type(told.instance.component).TELL = (value, response_tags, own, names)
    context = Context()
    context.tags.update(request_tags)
    found = tensor_of(told.call(x=ROWS, context=context)["output"])
    kind, content, columns, tags = construct_response(
        value, response_tags, own, names, request_tags
    )
    assert context.tags == tags
    assert context.names.get("m", []) == columns
    if kind == "data":
        assert found.tolist() == content
    else:
        assert found.shape == ()
        assert (json.loads(found.item()) if kind == "jsonData" else found.item()) == content
