"""The forms in which a node's value is kept, and the conversions between them.

A node with exactly one known output is kept as a bare array (``SINGLE``); one with several known
outputs as a dict of arrays (``MULTI``); one about whose outputs nothing is known as either
(``OPEN``). Which form a node has is known when the executor is built, so a request pays for a
check only where the answer is open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Any

import numpy as np

from anabranch.components.contract import DEFAULT_OUTPUT
from anabranch.components.tensors.arrays import to_array
from anabranch.components.tensors.datatypes import DTYPES, matches, to_dtype
from anabranch.errors import NodeError
from anabranch.graph.plan.plan import PlannedNode, Ref, may_leave_out
from anabranch.specs.models import TensorSpec

Convert = Callable[[Any], Any]

_PLAIN = frozenset(dtype for dtype in DTYPES.values() if dtype.kind != "O")
"""The dtypes whose arrays are tensors as they are."""
UNSET: Any = object()
"""Content of a slot before its vertex has run."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """In place of a value that is not there: its node was left out after a failure, or is absent.

    Only nodes with a quorum go on where it is among their inputs.
    """

    reason: str
    has_failed: bool = True
    """Whether a node failed; False for an optional input or output, and what needs it."""


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
    """How to get what ``ref`` names out of the node's value; Skipped where it is not there."""
    access = _accessor(node, ref)
    if access is identity or not (
        node.is_conditional or node.optional or node.spec.on_error == "skip"
    ):
        return access
    left_out = Skipped(f"node {node.name!r} left out {_named(ref)}", has_failed=False)
    is_optional = may_leave_out(node, ref)

    def find(value: Any) -> Any:
        if isinstance(value, Skipped):
            return value
        if is_optional and isinstance(value, dict) and _lacks(value, ref.output):
            return left_out
        return access(value)

    return find


def _named(ref: Ref) -> str:
    return "its output" if ref.output is None else f"its output {ref.output!r}"


def _lacks(value: Mapping[str, Any], output: str | None) -> bool:
    return not value if output is None else output not in value


def _accessor(node: PlannedNode, ref: Ref) -> Convert:
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
    convert = _route_converter(router, target)
    if convert is identity or not (target.is_conditional or target.optional):
        return convert
    return unless_skipped(convert)


def unless_skipped(convert: Convert) -> Convert:
    """The conversion that leaves alone what is not there."""
    return lambda value: value if isinstance(value, Skipped) else convert(value)


def _route_converter(router: PlannedNode, target: PlannedNode) -> Convert:
    source, goal = form_of(target), form_of(router)
    if source is goal:
        return identity
    if goal is ValueForm.SINGLE:
        return lambda value: _pick(target.name, value, None)
    if goal is ValueForm.MULTI:
        wanted, optional = tuple(router.outputs or ()), target.optional
        return lambda value: {
            key: _pick(target.name, value, key)
            for key in wanted
            if key not in optional or key in value
        }
    only = next(iter(target.outputs or ()), DEFAULT_OUTPUT)
    if source is ValueForm.MULTI or only == DEFAULT_OUTPUT:
        return identity
    return lambda value: {only: value}


def finisher(node: PlannedNode) -> Convert:
    """How what a component returned becomes the node's value; raises NodeError if it may not."""
    form, declared = form_of(node), node.spec.outputs or {}
    checks = {name: _checker(node.name, name, spec) for name, spec in declared.items()}
    if form is ValueForm.MULTI:
        wanted = tuple(node.outputs or ())
        if node.optional:
            return _finish_some(node.name, wanted, node.optional, checks)
        return _finish_multi(node.name, wanted, checks)
    if form is ValueForm.SINGLE:
        only = next(iter(node.outputs or ()))
        finish = _finish_single(node.name, only, checks.get(only))
    else:
        finish = _finish_open(node.name)
    return _finish_optional(node.name, finish) if node.optional else finish


def _finish_optional(name: str, finish: Convert) -> Convert:
    """None, or a dict without any output, is a result that lacks all of them."""
    left_out = Skipped(f"node {name!r} left out its outputs", has_failed=False)

    def check(value: Any) -> Any:
        found = _present(value)
        return left_out if found is None or found == {} else finish(found)

    return check


def _present(value: Any) -> Any:
    """Return a component's result without the outputs that are None."""
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if item is not None}
    return value


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


def _finish_some(
    name: str, known: tuple[str, ...], optional: Collection[str], checks: Mapping[str, Convert]
) -> Convert:
    needed = set(known) - set(optional)
    left_out = Skipped(f"node {name!r} left out its outputs", has_failed=False)

    def finish(value: Any) -> Any:
        found = {} if value is None else _present(value)
        if not isinstance(found, Mapping) or not needed <= found.keys() <= set(known):
            got = _listed(found) if isinstance(found, Mapping) else "one bare value"
            raise NodeError(
                name,
                f"it returned {got}; expected the outputs {', '.join(known)}, of which it may "
                f"leave out {', '.join(sorted(optional))}",
            )
        arrays = {key: _array(name, found[key]) for key in known if key in found}
        checked = {key: checks.get(key, identity)(array) for key, array in arrays.items()}
        return checked or left_out

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
    if isinstance(value, Skipped):
        return value
    if isinstance(value, dict):
        return {key: protect(item) for key, item in value.items()}
    view = value.view()
    view.setflags(write=False)
    return view


def _listed(value: Mapping[Any, Any]) -> str:
    if not value:
        return "no outputs"
    return "the outputs " + ", ".join(str(key) for key in list(value)[:12])
