"""Rules of ``contract``: what a component with another system's contract can be, and be given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anabranch.errors import Mistake
from anabranch.specs.excerpts import quoted, quoted_all
from anabranch.specs.unvalidated import as_map

SELDON_TRANSFORMS = ("transform_input", "transform_output")
"""Methods of a transformer with Seldon's contract; the first one unless a node says otherwise."""
MLSERVER_METHODS = ("predict", "predict_stream")
"""Methods of a predictor with MLServer's contract; see ``MLModel`` in ``mlserver/model.py``."""


def names_method(node: Mapping[str, Any]) -> bool:
    """Return whether ``method`` of a node names a method of its component, and no built-in."""
    return (str(node.get("contract")), str(node.get("type"))) in _METHODS


def contract_rules(node: Mapping[str, Any]) -> Iterator[Mistake]:
    """Every rule that the ``contract`` of a node breaks; its parts may be anything."""
    rules = _RULES.get(str(node.get("contract")))
    if rules is None:
        return
    if "component" not in node:
        yield ("contract",), "is that of a `component`, your class; add one, or remove `contract`"
    wrong_type = list(_typed(node))
    yield from wrong_type or (*_method(node), *rules(node))


_TYPES = {
    "seldon": ("transformer", "predictor", "combiner", "router"),
    "mlserver": ("transformer", "predictor", "combiner"),
}
_METHODS = {
    ("seldon", "transformer"): SELDON_TRANSFORMS,
    ("mlserver", "predictor"): MLSERVER_METHODS,
}


def _typed(node: Mapping[str, Any]) -> Iterator[Mistake]:
    contract, kind = str(node["contract"]), node["type"]
    if kind not in _TYPES[contract]:
        kinds = quoted_all(_TYPES[contract])
        yield ("contract",), f"{quoted(contract)} is for nodes of type {kinds}, not {quoted(kind)}"


def _method(node: Mapping[str, Any]) -> Iterator[Mistake]:
    known, method = _METHODS.get((node["contract"], node["type"])), node.get("method")
    if known is not None and isinstance(method, str) and method not in known:
        yield ("method",), f"must be {' or '.join(map(quoted, known))}, a method of the component"


def _seldon(node: Mapping[str, Any]) -> Iterator[Mistake]:
    """One payload goes in, and one comes out."""
    inputs, outputs = node.get("inputs"), as_map(node.get("outputs"))
    if node["type"] != "combiner" and (inputs is None or isinstance(inputs, Mapping)):
        count = len(as_map(inputs))
        if count != 1:
            yield (
                ("inputs",) if count else (),
                f"a component with Seldon's contract takes exactly one payload, and here are "
                f"{count or 'no'} inputs; only a combiner's `aggregate` takes several",
            )
    if len(outputs) > 1:
        yield (
            ("outputs",),
            "a component with Seldon's contract returns one payload; declare one output",
        )


def _mlserver(node: Mapping[str, Any]) -> Iterator[Mistake]:
    if node["type"] == "combiner" and isinstance(node.get("inputs"), list):
        yield ("inputs",), "MLServer names the inputs of a request; write a map of name: source"
    if "batching" in node:
        yield (
            ("batching",),
            "MLServer's contract hands over one request a call; remove it",
        )


_RULES: dict[str, Callable[[Mapping[str, Any]], Iterator[Mistake]]] = {
    "seldon": _seldon,
    "mlserver": _mlserver,
}
