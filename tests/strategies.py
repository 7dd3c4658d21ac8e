"""Hypothesis strategies for the language, shared by the tests of every layer.

``graphs()`` draws valid graphs that also compile: acyclic, with nodes of every type, known sources
and types that fit. What varies is everything else. Nothing that they name (components, model
files) exists.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from anabranch.names import PATH_WORDS
from anabranch.specs.messages import DATATYPES
from anabranch.specs.models import NODE_TYPES, InferenceGraph
from anabranch.specs.rules import RESERVED

_LETTERS = string.ascii_letters
_TENSOR = st.builds(lambda: {"datatype": "FP32", "shape": [-1, 4]})
"""The type of every declared output, so that all of them fit together."""
_TAKEN = {*RESERVED, "context"}


def _names(first: str, rest: str, longest: int) -> st.SearchStrategy[str]:
    return st.builds(
        str.__add__, st.sampled_from(first), st.text(st.sampled_from(rest), max_size=longest - 1)
    )


node_names = _names(_LETTERS + "_", _LETTERS + string.digits + "-_", 63).filter(
    lambda name: name not in _TAKEN
)
tensor_names = _names(_LETTERS + "_", _LETTERS + string.digits + "-_:/", 127)
parameter_names = _names(_LETTERS + "_", _LETTERS + string.digits + "_", 40).filter(
    lambda name: name not in _TAKEN
)
_parts = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
graph_names = _parts | st.builds("{}/{}".format, _parts, _parts).filter(
    lambda name: name.partition("/")[2] not in PATH_WORDS
)
"""Names of graphs, some in a namespace."""
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
"""Text that YAML can hold: no NUL, no lone surrogates."""
tricky_texts = st.sampled_from(
    [
        *("", " ", "~", "null", "yes", "No", "on", "010", "0x1F", "0o7", "1e3", ".5", "-", "- a"),
        *("a #b", "#", "2024-01-01", "12:30:45", "1_000", "<<", "=", "*a", "&a", "!a", "%a", "@a"),
        *(".inf", ".NaN", "a\nb\n", "\t", " a ", "'", '"', "\\", "[", "{a}", "a,b", "?", "---"),
        *("\ufeff", "\x85", "\u2028", "\x07", "true", "TRUE", "+1", "1.", "s3://b/k:v", "é", "😀"),
        *("...", "a: b", "`", "😀" * 30),
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | tricky_texts
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts | tricky_texts, inner, max_size=3)
    ),
    max_leaves=8,
)
durations = st.builds(
    str.__add__, st.integers(1, 900).map(str), st.sampled_from(["us", "ms", "s", "m", "h"])
)
sizes = st.builds(str.__add__, st.integers(1, 900).map(str), st.sampled_from(["B", "KiB", "GiB"]))
amounts = st.floats(0.125, 8) | st.integers(1, 8)


def _some(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


dimensions = st.integers(-1, 512) | st.sampled_from(["rows", "n", "no"])
tensors = _some(
    {"datatype": st.just("BYTES"), "shape": st.lists(dimensions, max_size=4)},
    {"content": st.sampled_from(["raw", "text"])},
) | st.fixed_dictionaries(
    {"datatype": st.sampled_from(DATATYPES), "shape": st.lists(dimensions, max_size=4)}
)


def _at_least_one(optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional).filter(bool)


components = st.sampled_from(["components.py:Model", "sub/parts.py:A", "package.module:Name"])
devices = st.integers(1, 8) | st.floats(0.0001, 1)
resources = _at_least_one(
    {
        "cpu": amounts,
        "gpu": devices,
        "memory": sizes,
        "accelerator": st.just("H100"),
        "custom": st.dictionaries(st.sampled_from(["licence", "fpga-2"]), devices, min_size=1),
    }
)
labels = st.dictionaries(
    st.sampled_from(["zone", "ray.io/accelerator-type", "example.com/disk"]),
    st.sampled_from(["a", "!a-b", "in(a, b)", "!in(a,b.c)"]),
    min_size=1,
)
machines = _at_least_one(
    {"labels": labels, "node_affinity": st.sampled_from(["worker-2", "10.0.0.2", "fd00::2"])}
)
placements = machines | _some({"spread": st.just("node")}, {"labels": labels})
replicas = st.fixed_dictionaries({"replicas": st.integers(1, 9)})
autoscaling = _some(
    {"min": st.integers(0, 3), "max": st.integers(3, 9)},
    {"target_ongoing": amounts, "upscale_delay": durations, "downscale_delay": durations},
)
batching = _some(
    {"max_size": st.integers(1, 64)}, {"max_delay": durations, "max_queue": st.integers(1, 99)}
)
stickies = st.sampled_from(["header", "cookie", "parameter"]).map(lambda key: {key: "x-user-id"})
conditions = st.sampled_from(
    ["request.headers['x-tier'] == 'gold'", "has(request.parameters.test)", "request.id == ''"]
)
targets = st.sampled_from(["stable", "candidate", "r1", "r999"])
traffic = _some(
    {},
    {
        "sticky": stickies,
        "rules": st.lists(
            st.fixed_dictionaries({"when": conditions, "to": targets}), min_size=1, max_size=3
        ),
        "compare": _some({}, {"rtol": st.floats(0, 1), "atol": st.floats(0, 1e300)}),
        "grace": durations | st.just("0s"),
    },
)
shares = st.floats(0, 1) | st.sampled_from([0, 1])
multiples = st.sampled_from(["1x", "1.25x", "0.333333333x", "999999999999999x"])


def _limits(metric: str, limits: st.SearchStrategy[Any], **more: Any) -> st.SearchStrategy[Any]:
    """A metric with one limit: two may contradict each other."""
    return st.builds(
        lambda side, limit: {"metric": metric, side: limit, **more},
        st.sampled_from(["min", "max"]),
        limits,
    )


metrics = st.one_of(
    _limits("error_rate", shares | multiples),
    *(
        _limits(f"{name}_p{share}", durations | multiples)
        for name in ("latency", "ttft")
        for share in (50, 95, 99)
    ),
    _limits("tokens_per_second", st.floats(0, 1e6) | multiples),
    _limits("agreement", shares),
    _limits("prediction_shift", shares),
    _limits("reward", st.floats(-1e9, 1e9) | multiples),
    _some(
        {
            "metric": st.just("significance"),
            "of": st.just("error_rate"),
            "max": st.floats(-1, 1, exclude_min=True, exclude_max=True),
        },
        {"error": st.floats(0, 1, exclude_min=True, exclude_max=True)},
    ),
    _limits("promql", st.floats(-1e300, 1e300) | multiples, query='up{graph="$graph"}'),
)
analyses = _some(
    {"interval": durations, "metrics": st.lists(metrics, min_size=1, max_size=3)},
    {
        "failure_limit": st.integers(0, 3),
        "consecutive_error_limit": st.integers(0, 9),
        "min_samples": st.integers(1, 99),
    },
)
percents = st.integers(1, 100) | st.floats(0.001, 100)
urls = st.sampled_from(
    ["http://127.0.0.1:9/x", "https://hooks.example/a/b?c=d&e=%20", "http://[::1]"]
)
percentages = st.integers(1, 100).map(lambda number: f"{number}%")
rollouts = _some(
    {"steps": st.lists(percents, min_size=1, max_size=4, unique=True).map(sorted)},
    {
        "hold": durations | st.just("0s"),
        "analysis": analyses,
        "mirror": percents,
        "webhooks": st.lists(urls, min_size=1, max_size=3),
        "gate": urls,
    },
)


def _telemetry(tensors: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """What a graph with these inputs and outputs tells of its requests."""
    log = {
        "sample": percentages,
        "redact": st.lists(st.sampled_from(tensors), min_size=1, max_size=3),
        "max_tensor": sizes,
    }
    to_files = _some({}, log | {"format": st.sampled_from(["jsonl", "parquet"])})
    elsewhere = _some({"to": urls | st.just("kafka://[::1]:9/a.topic")}, log)
    return _at_least_one({"trace": percentages, "requests": to_files | elsewhere})


def _options(unsupported: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Optional fields of every node."""
    return _some(
        {},
        {
            "resources": resources,
            "scaling": replicas | autoscaling if unsupported else replicas,
            "placement": st.fixed_dictionaries({"isolate": st.just(True)}) | placements,
            "timeout": durations,
            "idempotent": st.booleans(),
        },
    ).flatmap(_retried)


def _retried(options: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Retries, maybe, where a node may be called twice."""
    retries = {"retries": st.integers(0, 10)} if options.get("idempotent") else {}
    return st.builds(dict.__or__, st.just(options), _some({}, retries))


def _has_features(shape: Sequence[int | str]) -> bool:
    """Whether a tensor has rows, of no more features than three monitored ones may have."""
    sizes = [size for size in shape[1:] if isinstance(size, int)]
    return bool(shape) and math.prod(max(size, 1) for size in sizes) <= 300


def _monitors(inputs: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Monitors of some of the inputs."""
    watches = st.lists(st.sampled_from(inputs), min_size=1, max_size=3, unique=True)
    common = {"window": st.integers(2, 999), "sample": st.sampled_from(["1%", "12.5%"])}
    first = st.fixed_dictionaries({"first": st.integers(40, 999)})
    one = _some({"method": st.just("sketch"), "watches": watches}, common) | _some(
        {"method": st.just("drift"), "watches": watches, "reference": first},
        {**common, "args": st.just({"false_alarm_rate": 0.05})},
    )
    return st.dictionaries(node_names, one, min_size=1, max_size=2)


@st.composite
def graph_data(draw: st.DrawFn, max_nodes: int = 6, unsupported: bool = True) -> dict[str, Any]:
    """A graph as plain data, as YAML would give it; see ``graphs``."""
    inputs = draw(
        st.dictionaries(
            tensor_names.filter(lambda n: n not in _TAKEN), tensors, min_size=1, max_size=3
        )
    )
    names = draw(
        st.lists(
            node_names.filter(lambda name: name not in inputs),
            min_size=1,
            max_size=max_nodes,
            unique=True,
        )
    )
    nodes: dict[str, dict[str, Any]] = {}
    sources = [*inputs]
    routable: list[str] = []
    for name in names:
        body = _draw_node(draw, sources, routable, nodes, unsupported)
        nodes[name] = body | draw(_batching(body, inputs))
        if nodes[name]["type"] == "explainer":
            continue
        outputs = nodes[name].get("outputs", {})
        if len(outputs) < 2:
            sources.append(name)
            routable.append(name)
        sources += [f"{name}.{output}" for output in outputs]
    outputs = draw(st.dictionaries(tensor_names, st.sampled_from(sources), min_size=1, max_size=3))
    optional = {
        "timeout": durations,
        "scaling": replicas | autoscaling if unsupported else replicas,
        "traffic": traffic,
        "rollout": rollouts,
        "telemetry": _telemetry([*inputs, *outputs]),
        "serving": st.fixed_dictionaries({"port": st.integers(1, 65_535)}),
    }
    watchable = [name for name, tensor in inputs.items() if _has_features(tensor["shape"])]
    if watchable:
        optional["monitors"] = _monitors(watchable)
    labels = st.dictionaries(texts.filter(bool), texts | tricky_texts, min_size=1, max_size=2)
    return {
        "apiVersion": "anabranch/v1",
        "kind": "InferenceGraph",
        "metadata": draw(_some({"name": graph_names}, {"labels": labels})),
        "spec": {"inputs": inputs, "nodes": nodes, "outputs": outputs, **draw(_some({}, optional))},
    }


def _draw_node(
    draw: st.DrawFn,
    sources: list[str],
    routable: list[str],
    nodes: dict[str, dict[str, Any]],
    unsupported: bool,
) -> dict[str, Any]:
    kinds = [kind for kind in NODE_TYPES if routable or kind not in ("router", "explainer")]
    if not unsupported:
        kinds = [kind for kind in kinds if kind != "explainer"]
    kind = draw(st.sampled_from(kinds))
    source = st.sampled_from(sources)
    mapped = st.dictionaries(parameter_names, source, min_size=1, max_size=3)
    if kind == "router":
        body = draw(_routers(routable))
    elif kind == "explainer":
        explained = [name for name in nodes if nodes[name]["type"] != "explainer"]
        body = draw(_some({"component": components}, {"explains": st.sampled_from(explained)}))
    elif kind == "predictor":
        body = draw(_predictors(mapped))
    else:
        inputs = st.lists(source, min_size=1, max_size=3) | mapped if kind == "combiner" else mapped
        body = draw(_own(inputs))
    body |= draw(_options(unsupported))
    if "outputs" not in body and kind != "explainer" and draw(st.booleans()):
        body["on_error"] = draw(st.just("fail") | st.fixed_dictionaries({"use": source}))
    elif len(body.get("outputs", ())) == 1 and draw(st.booleans()):
        body["on_error"] = {"value": draw(st.just(0.5) | st.just([[0, 1.5, 2, -3]]))}
    return {"type": kind, **body}


def _batching(body: dict[str, Any], inputs: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Batching, maybe, where a node may have it and no input is known to have no rows."""
    rowless = {name for name, tensor in inputs.items() if not tensor["shape"]}
    if body["type"] in ("transformer", "predictor") and not rowless & {*body["inputs"].values()}:
        return _some({}, {"batching": batching})
    return st.just({})


def _own(inputs: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A component with what it may declare."""
    outputs = st.dictionaries(tensor_names, _TENSOR, min_size=1, max_size=2)
    return _some(
        {"component": components, "inputs": inputs},
        {
            "args": st.dictionaries(texts | tricky_texts, json_values, max_size=3),
            "outputs": outputs,
        },
    )


def _predictors(inputs: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    single = inputs.map(lambda found: dict([*found.items()][:1]))
    sklearn = _some(
        {"runtime": st.just("sklearn"), "model": st.just("models/m.joblib"), "inputs": single},
        {"method": st.sampled_from(["predict", "predict_proba"]), "sha256": st.just("0" * 64)},
    )
    onnx = _some(
        {"runtime": st.just("onnx"), "model": st.just("models/m.onnx"), "inputs": inputs}, {}
    )
    return _own(inputs) | sklearn | onnx


def _routers(routes: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Routers whose nodes have one output each, of a type that is unknown or the common one."""
    node = st.sampled_from(routes)
    weights = st.dictionaries(node, st.integers(1, 99) | st.floats(0.5, 99), min_size=1, max_size=3)
    rule = st.fixed_dictionaries(
        {"when": st.just("request.headers['x-tier'] == 'gold'"), "to": node}
    )
    rules = st.lists(rule, min_size=1, max_size=2)
    return (
        _some({"strategy": st.just("weighted"), "routes": weights}, {"sticky": stickies})
        | _some({"strategy": st.just("rules"), "rules": rules, "otherwise": node}, {})
        | _some(
            {
                "component": components,
                "routes": st.lists(node, min_size=1, max_size=3, unique=True),
            },
            {},
        )
    )


def graphs(max_nodes: int = 6, unsupported: bool = True) -> st.SearchStrategy[InferenceGraph]:
    """Valid graphs of at most ``max_nodes`` nodes that compile.

    Without ``unsupported`` they hold nothing that this version cannot deploy.
    """
    return graph_data(max_nodes, unsupported).map(InferenceGraph.model_validate)
