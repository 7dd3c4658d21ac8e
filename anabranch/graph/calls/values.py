"""The forms in which a node's value is kept, and the conversions between them.

A node with exactly one known output is kept as a bare array (``SINGLE``); one with several known
outputs as a dict of arrays (``MULTI``); one about whose outputs nothing is known as either
(``OPEN``). Which form a node has is known when the executor is built, so a request pays for a
check only where the answer is open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Any

import numpy as np

from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.tensors.arrays import to_array
from anabranch.components.tensors.datatypes import DTYPES, matches, to_dtype
from anabranch.errors import NodeError
from anabranch.graph.plan.plan import PlannedNode, Ref
from anabranch.specs.models import TensorSpec

Convert = Callable[[Any], Any]

_PLAIN = frozenset(dtype for dtype in DTYPES.values() if dtype.kind != "O")
"""The dtypes whose arrays are tensors as they are."""
UNSET: Any = object()
"""Content of a slot before its vertex has run."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """In place of the value of a node that failed and is left out; only combiners read it."""

    reason: str


class ValueForm(Enum):
    """The form in which a node's value is kept."""

    SINGLE = "single"
    MULTI = "multi"
    OPEN = "open"


def form_of(node: PlannedNode) -> ValueForm:
    """The form in which this node's value is kept."""
    if node.outputs is None:
        return ValueForm.OPEN
    return ValueForm.SINGLE if len(node.outputs) == 1 else ValueForm.MULTI


def identity(value: Any) -> Any:
    """The conversion that converts nothing; executors skip it."""
    return value


def accessor(node: PlannedNode, ref: Ref) -> Convert:
    """How to get what ``ref`` names out of the node's value."""
    form = form_of(node)
    if form is ValueForm.SINGLE:
        return identity
    if form is ValueForm.MULTI:
        return itemgetter(str(ref.output))
    return _picker(node.name, ref.output)


def _picker(name: str, output: str | None) -> Convert:
    is_default = output in (None, DEFAULT_OUTPUT)

    def pick(value: Any) -> Any:
        if is_default and not isinstance(value, dict):
            return value
        return _pick(name, value, output)

    return pick


def _pick(name: str, value: Any, output: str | None) -> Any:
    if not isinstance(value, dict):
        if output in (None, DEFAULT_OUTPUT):
            return value
        raise NodeError(name, f"it returned one bare array, and no output {output!r}")
    if output is None and len(value) == 1:
        return next(iter(value.values()))
    if output is None:
        raise NodeError(name, f"it returned several outputs ({_listed(value)}); name one of them")
    if output not in value:
        raise NodeError(name, f"it returned no output {output!r}; it returned: {_listed(value)}")
    return value[output]


def route_converter(router: PlannedNode, target: PlannedNode) -> Convert:
    """How the value of the picked node becomes the value of the router."""
    source, goal = form_of(target), form_of(router)
    if source is goal:
        return identity
    if goal is ValueForm.SINGLE:
        return lambda value: _pick(target.name, value, None)
    if goal is ValueForm.MULTI:
        wanted = tuple(router.outputs or ())
        return lambda value: {key: _pick(target.name, value, key) for key in wanted}
    only = next(iter(target.outputs or ()), DEFAULT_OUTPUT)
    if source is ValueForm.MULTI or only == DEFAULT_OUTPUT:
        return identity
    return lambda value: {only: value}


def finisher(node: PlannedNode) -> Convert:
    """How what a component returned becomes the node's value; raises NodeError if it may not."""
    form, declared = form_of(node), node.spec.outputs or {}
    checks = {name: _checker(node.name, name, spec) for name, spec in declared.items()}
    if form is ValueForm.MULTI:
        return _finish_multi(node.name, tuple(node.outputs or ()), checks)
    if form is ValueForm.SINGLE:
        only = next(iter(node.outputs or ()))
        return _finish_single(node.name, only, checks.get(only))
    return _finish_open(node.name)


def _finish_open(name: str) -> Convert:
    def finish(value: Any) -> Any:
        if type(value) is np.ndarray and value.dtype in _PLAIN:
            return value
        return arrays_of(name, value)

    return finish


def _finish_single(name: str, only: str, check: Convert | None) -> Convert:
    def finish(value: Any) -> Any:
        if type(value) is not np.ndarray:
            if isinstance(value, Mapping):
                if set(value) != {only}:
                    raise NodeError(name, f"it returned {_listed(value)}; expected only {only!r}")
                value = value[only]
            value = _array(name, value)
        return value if check is None else check(value)

    return finish


def _finish_multi(name: str, wanted: tuple[str, ...], checks: Mapping[str, Convert]) -> Convert:
    def finish(value: Any) -> Any:
        if not isinstance(value, Mapping) or set(value) != set(wanted):
            got = _listed(value) if isinstance(value, Mapping) else "one bare value"
            raise NodeError(name, f"it returned {got}; expected the outputs {', '.join(wanted)}")
        return {key: checks.get(key, identity)(_array(name, value[key])) for key in wanted}

    return finish


def arrays_of(name: str, value: Any) -> Any:
    """Return a component's result as an array or a dict of arrays; NodeError if it is neither."""
    if type(value) is not np.ndarray and isinstance(value, Mapping):
        if not value:
            raise NodeError(name, "it returned an empty dict; expected at least one output")
        return {str(key): _array(name, item) for key, item in value.items()}
    return _array(name, value)


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    if value is None:
        raise NodeError(name, "it returned None; expected an array or a dict of arrays")
    try:
        return to_array(value)
    except (TypeError, ValueError) as error:
        raise NodeError(name, f"it returned no array: {error}") from error


def _checker(node: str, output: str, spec: TensorSpec) -> Convert:
    """A check of one output against its declaration, quick where all is well."""
    sizes = tuple((axis, size) for axis, size in enumerate(spec.shape) if size != -1)
    rank, dtype = len(spec.shape), to_dtype(spec.datatype)

    def check(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        shape = value.shape
        if (
            value.dtype == dtype
            and len(shape) == rank
            and all(shape[axis] == size for axis, size in sizes)
        ):
            return value
        reason = matches(spec, value)
        if reason is None:
            return value
        raise NodeError(node, f"output {output!r}: {reason}")

    return check


def protect(value: Any) -> Any:
    """The value as read-only views, so that no consumer can change what another one reads."""
    if isinstance(value, dict):
        return {key: protect(item) for key, item in value.items()}
    view = value.view()
    view.flags.writeable = False
    return view


def _listed(value: Mapping[Any, Any]) -> str:
    return "the outputs " + ", ".join(str(key) for key in list(value)[:12])
