"""Rules over several fields of one node, whatever its built-in.

What a built-in needs is said by the built-in itself (its ``check`` in the registry); how nodes fit
together is said by the compiler's passes. Each rule reads plain data, as far as it has the right
shape, and says nothing about the rest: so a mistake in one field never hides the mistakes of
others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from anabranch.errors import Mistake
from anabranch.specs.excerpts import nearest, quoted_all
from anabranch.specs.messages import guess_type
from anabranch.specs.models import BUILTIN_FIELD, DATATYPES, NODE_TYPES
from anabranch.specs.sections.caching import caching_rules, node_caching_rules
from anabranch.specs.sections.contracts import contract_rules, names_method
from anabranch.specs.sections.monitors import monitor_rules
from anabranch.specs.sections.request_log import request_log_rules
from anabranch.specs.sections.rollout import rollout_rules
from anabranch.specs.sections.scaling import scaling_rules
from anabranch.specs.sections.serving import serving_rules
from anabranch.specs.sections.watch import watch_rules
from anabranch.specs.shared.reference import is_shared
from anabranch.specs.shared.rules import shared_rules
from anabranch.specs.unvalidated import Map, as_list, as_map, as_number, some_time, under

RESERVED = {
    "head": "the segment that runs inside the router",
    "router": "the deployment that takes the graph's requests",
    "monitors": "the deployment that watches the graph's data",
}
"""Names that no node may have, and what has them."""
_EXAMPLES = {
    "transformer": "scale",
    "predictor": "sklearn",
    "combiner": "mean",
    "router": "weighted",
    "explainer": "anchor_tabular",
}
_BATCHABLE = ("transformer", "predictor")
_ONLY_BUILTIN = {
    "predictor": ("model", "method", "sha256", "watch"),
    "explainer": ("model", "sha256", "watch"),
}
"""Fields that say something to a built-in and nothing to a component, which has ``args``."""


def broken_rules(data: Any) -> Iterator[Mistake]:
    """Every rule that a whole document breaks; ``data`` may be anything."""
    spec = as_map(as_map(data).get("spec"))
    nodes = as_map(spec.get("nodes"))
    yield from under(("spec",), some_time(spec, "timeout"))
    yield from under(("spec",), _scaled(spec))
    yield from under(("spec",), _empty(spec, "placement"))
    yield from under(("spec", "cache"), caching_rules(as_map(spec.get("cache"))))
    for name, tensor in as_map(spec.get("inputs")).items():
        yield from under(("spec", "inputs", name), _content(as_map(tensor)))
    for name, node in nodes.items():
        yield from under(("spec", "nodes", name), _name(name, as_map(spec.get("inputs"))))
        yield from under(("spec", "nodes", name), _node(as_map(node)))
    traffic = as_map(spec.get("traffic"))
    yield from under(("spec", "traffic"), _sticky(traffic, ("header", "cookie", "parameter")))
    yield from under(("spec", "rollout"), rollout_rules(as_map(spec.get("rollout"))))
    yield from under(("spec",), monitor_rules(spec))
    yield from under(("spec", "telemetry", "requests"), request_log_rules(spec))
    yield from under(("spec", "serving"), serving_rules(spec))


def _content(tensor: Map) -> Iterator[Mistake]:
    datatype, content = tensor.get("datatype"), tensor.get("content")
    if content is None or not isinstance(datatype, str) or datatype not in DATATYPES:
        return
    if content == "image":
        yield from _image(datatype, tensor.get("shape"))
    elif datatype != "BYTES":
        yield ("content",), f"has no meaning for {datatype}; only BYTES are text or raw"


def _image(datatype: str, shape: Any) -> Iterator[Mistake]:
    """The type of an image: sizes other than the channels may be anything."""
    if datatype != "UINT8":
        yield ("content",), f"an image is UINT8, not {datatype}; BYTES hold files as raw bytes"
    elif isinstance(shape, list) and (len(shape) not in (3, 4) or shape[-1] not in (1, 3, 4)):
        said = "an image has the shape [height, width, channels], or one with rows in front, and"
        yield ("shape",), f"{said} 1, 3 or 4 channels"


def _name(name: str, inputs: Map) -> Iterator[Mistake]:
    if name in inputs:
        yield (), "has the name of an input; a source could mean either"
    if name in RESERVED:
        yield (), f"this name is taken: it is {RESERVED[name]}"


def _node(node: Map) -> Iterator[Mistake]:
    kind = guess_type(node)
    if kind is None:
        return
    if kind == "predictor" and is_shared(node.get("model")):
        yield from shared_rules(node)
        yield from _recovery(node)
        return
    for rule in _RULES.get(kind, _EVERY_NODE):
        yield from rule({**node, "type": kind})
    yield from _scaled(node)
    yield from _batched(node, kind)
    for field in ("resources", "placement", "outputs"):
        yield from _empty(node, field)


def _recovery(node: Map) -> Iterator[Mistake]:
    """What a node does about failures, whatever fails."""
    typed = {**node, "type": "predictor"}
    for rule in (_SOME_TIMEOUT, _retries, _stand_in):
        yield from rule(typed)
    yield from _empty(node, "outputs")


def _intended(node: Map, kind: str) -> set[str]:
    """The fields of a node, and those that its unknown fields were likely meant to be."""
    known = NODE_TYPES[kind].model_fields
    return {field if field in known else nearest(field, known) or field for field in node}


def _one_origin(node: Map) -> Iterator[Mistake]:
    """Exactly one of ``component`` and the field that names a built-in."""
    kind = node["type"]
    builtin, present = BUILTIN_FIELD[kind], _intended(node, kind)
    if "component" in node and builtin in node and not names_method(node):
        if not (kind == "predictor" and builtin == "method"):
            yield (builtin,), f"a node has either `component` or `{builtin}`; remove one"
    elif not present & {"component", builtin}:
        example = f"a built-in `{builtin}` such as {_EXAMPLES[kind]}"
        yield (), f"needs either `component`, your class, or {example}"


def _only_for_builtins(node: Map) -> Iterator[Mistake]:
    kind = node["type"]
    if "component" in node and BUILTIN_FIELD[kind] not in node:
        for field in _ONLY_BUILTIN.get(kind, ()):
            if field in node and not (field == "method" and names_method(node)):
                yield (field,), "has no meaning for a `component`; pass it in `args`"
    if "sha256" in node and "model" not in _intended(node, kind) and "component" not in node:
        yield ("sha256",), "needs `model`, the file that it is the digest of"


def _router(node: Map) -> Iterator[Mistake]:
    routes = node.get("routes")
    yield from _sticky(node, ("header", "cookie", "parameter", "input"))
    yield from _repeated(as_list(routes))
    if "component" in node:
        yield from _own_router(node)
        return
    for field in ("broadcast", "skip"):
        if field in node:
            yield (field,), "only a `component` can choose this; remove it"
    if node.get("strategy") == "rules" and isinstance(routes, list):
        yield ("routes",), "strategy rules takes its nodes from `rules` and `otherwise`"


def _repeated(routes: list[Any]) -> Iterator[Mistake]:
    seen: set[str] = set()
    for index, route in enumerate(routes):
        if isinstance(route, str):
            if route in seen:
                yield ("routes", index), "is already in the list"
            seen.add(route)


def _own_router(node: Map) -> Iterator[Mistake]:
    """A component picks by itself: it has no weights and no rules."""
    readers = {"rules": "rules", "otherwise": "rules", "sticky": "weighted"}
    for field, strategy in readers.items():
        if field in node:
            yield (field,), f"only strategy {strategy} reads this, not your `component`; remove it"
    if isinstance(node.get("routes"), dict):
        yield ("routes",), "only strategy weighted has weights; write a list of nodes"
    elif "routes" not in _intended(node, "router"):
        yield (), "a `component` needs `routes`, a list of the nodes to pick from"


def _scaled(owner: Map) -> Iterator[Mistake]:
    """The scaling of a node, or of the graph's routers."""
    yield from under(("scaling",), scaling_rules(as_map(owner.get("scaling"))))
    yield from _empty(owner, "scaling")


def _batched(node: Map, kind: str) -> Iterator[Mistake]:
    if "batching" in node and kind not in _BATCHABLE:
        kinds = quoted_all(_BATCHABLE)
        yield ("batching",), f"is for {kinds} nodes, which work by rows; remove it"


def _empty(owner: Map, field: str) -> Iterator[Mistake]:
    if owner.get(field) == {}:
        yield (field,), "is empty; remove it"


def _stand_in(node: Map) -> Iterator[Mistake]:
    stand_in = node.get("on_error")
    if not isinstance(stand_in, Mapping):
        return
    meant = {nearest(field, _STAND_INS) or field for field in stand_in}
    if ("use" in meant) == ("value" in meant):
        yield ("on_error",), "needs either `use`, a source, or `value`, a constant"


def _retries(node: Map) -> Iterator[Mistake]:
    """Only what may be called twice is called again."""
    meant = "idempotent" in _intended(node, node["type"]) and node.get("idempotent") is not False
    if as_number(node.get("retries")) and not meant:
        yield (
            ("retries",),
            "needs `idempotent: true` (calling the node twice must be safe); add it, or remove "
            "`retries`",
        )


def _gpu_memory(node: Map) -> Iterator[Mistake]:
    resources = as_map(node.get("resources"))
    if "gpu_memory" in resources and not resources.get("gpu"):
        yield (
            ("resources", "gpu_memory"),
            "is the most that the node takes of the GPUs that `gpu` reserves: add `gpu`, such as "
            "`gpu: 0.5` for half of one",
        )


def _multiplex(node: Map) -> Iterator[Mistake]:
    """One runtime, of which each model is the file that its name stands for."""
    if "multiplex" not in node:
        return
    if "component" in node:
        yield ("multiplex",), "is for built-in runtimes; a `component` reads `context` by itself"
    if str(node.get("model", "")).count("{model}") != 1:
        yield ("model",), "needs {model} once, where the name of the model goes"
    for field in ("sha256", "batching"):
        if field in node:
            yield (field,), "is the digest of one model, and `multiplex` has many; remove it"


def _sticky(owner: Map, fields: tuple[str, ...]) -> Iterator[Mistake]:
    sticky = as_map(owner.get("sticky"))
    known = [field for field in fields if field in sticky]
    if len(known) > 1:
        yield ("sticky",), f"takes one field, not {quoted_all(known)}"
    if not sticky and isinstance(owner.get("sticky"), Mapping):
        yield ("sticky",), f"needs one of {quoted_all(fields)}"


def _variables(node: Map) -> Iterator[Mistake]:
    """Each variable once, none of the engine's, and one source for each secret."""
    env, secrets = as_map(node.get("env")), as_map(node.get("secrets"))
    for field, given in (("env", env), ("secrets", secrets)):
        for name in given:
            taken = next(
                (prefix for prefix in _RESERVED_VARIABLES if name.startswith(prefix)), None
            )
            if taken is not None:
                yield (field, name), f"variables with {taken} are {_RESERVED_VARIABLES[taken]}"
    for name in env.keys() & secrets.keys():
        yield ("secrets", name), "stands in `env` too; remove one of the two"
    for name, source in secrets.items():
        if isinstance(source, Mapping):
            meant = {nearest(field, _SECRETS) or field for field in as_map(source)}
            if len(meant & set(_SECRETS)) != 1:
                yield ("secrets", name), f"needs exactly one of {quoted_all(_SECRETS)}"


_SECRETS = ("env", "file", "kubernetes")
_RESERVED_VARIABLES = {
    "ANABRANCH_": "the engine's own",
    "RAY_": "Ray's own",
    "PYTHON": "read when the process starts, before the node is there",
    "LD_": "read when the process starts, before the node is there",
}
"""Beginnings of names that no node may set, and why."""
_STAND_INS = ("use", "value")
Rule = Callable[[Map], Iterator[Mistake]]
_SOME_TIMEOUT: Rule = partial(some_time, field="timeout")
_EVERY_NODE: tuple[Rule, ...] = (
    _one_origin,
    _only_for_builtins,
    _SOME_TIMEOUT,
    _retries,
    _stand_in,
    _gpu_memory,
    _variables,
    contract_rules,
    watch_rules,
    node_caching_rules,
)
_RULES: dict[str, tuple[Rule, ...]] = {
    "router": (*_EVERY_NODE, _router),
    "predictor": (*_EVERY_NODE, _multiplex),
}
