"""Monitors of the user's own classes.

A class has ``score(**tensors)``, which is called with each window; the parameters are the watched
sources, a tensor [rows, ...] each, ``net.scores`` as ``net_scores``. It returns the window's score
as a number, in units of the threshold, so that above 1 is drift, or a map of ``score`` and
``outliers``: the number of outliers, or a mask [rows]. A class with ``fit(**tensors)`` gets the
``reference`` first.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anabranch.components.contract import METHODS, CannotLoad
from anabranch.components.parameters import (
    check_args,
    check_names,
    constructor_mistakes,
    is_async,
    parameters_of,
)
from anabranch.components.raised import pass_interrupt
from anabranch.components.registry import MONITOR
from anabranch.components.source.classes import explain, load_class
from anabranch.components.source.outline import Method, Unknown, outline
from anabranch.components.source.roots import active
from anabranch.errors import Mistake
from anabranch.monitors.base import Finding
from anabranch.monitors.table import Array, Unfit
from anabranch.specs.models import Monitor


class Own:
    """A component, constructed and checked; ``names`` are its parameters by what is watched."""

    def __init__(self, spec: Monitor, root: Path, names: Mapping[str, str]) -> None:
        """CannotLoad says what is wrong with the class."""
        self._names = names
        self._component = spec.component or ""
        self._root = root
        with active(root):
            self._instance = self._constructed(spec)
        self._score = self._method(METHODS[MONITOR])
        self._fit = self._method("fit") if hasattr(self._instance, "fit") else None
        _check_fit(spec, has_fit=self._fit is not None)

    def _constructed(self, spec: Monitor) -> Any:
        cls = load_class(self._component, self._root)
        if (parameters := parameters_of(cls)) is not None:
            check_args(self._component, spec.args, parameters)
        try:
            return cls(**spec.args)
        except BaseException as error:
            pass_interrupt(error)
            raise CannotLoad(
                f"the constructor of {self._component} raised {explain(error, self._root)}"
            ) from None

    def _method(self, name: str) -> Any:
        method = getattr(self._instance, name, None)
        owner = f"{type(self._instance).__name__}.{name}()"
        if not callable(method):
            raise _no_method(self._component, name)
        if is_async(method) or inspect.isgeneratorfunction(method):
            raise _not_plain(owner)
        parameters = parameters_of(method)
        if parameters is not None:
            check_names(owner, "watches", list(self._names.values()), parameters)
        return method

    def fit(self, reference: Mapping[str, Array]) -> None:
        """Call ``fit`` with the reference; raise Unfit with its error."""
        if self._fit is not None:
            self._called("fit", self._fit, reference)

    def look(self, window: Mapping[str, Array], number: int) -> Finding:
        """Call ``score`` with a window; raise Unfit with its error, or for an invalid result."""
        found = self._called("score", self._score, window)
        score: Any = found.get("score") if isinstance(found, Mapping) else found
        outliers = found.get("outliers", 0) if isinstance(found, Mapping) else 0
        try:
            score, count = float(score), int(np.sum(outliers))
        except (TypeError, ValueError):
            raise Unfit(
                f"score() returned {str(found)[:80]!r}; expected a number, or a map of `score` and "
                "`outliers`"
            ) from None
        rows = len(next(iter(window.values())))
        if not np.isfinite(score) or not 0 <= count <= rows:
            raise Unfit(f"score() returned the score {score:g} and {count} outliers of {rows} rows")
        return Finding(score, outliers=count)

    def _called(self, name: str, method: Any, tensors: Mapping[str, Array]) -> Any:
        given = {self._names[source]: tensor for source, tensor in tensors.items()}
        try:
            return method(**given)
        except BaseException as error:
            pass_interrupt(error)
            raise Unfit(f"{name}() raised {explain(error, self._root)}") from None


def component_problems(spec: Monitor, names: Sequence[str], root: Path) -> Iterator[Mistake]:
    """Find what the source of a monitor's component shows to be wrong, without running it.

    ``names`` are the parameters by which it gets what it watches.
    """
    component = spec.component or ""
    try:
        cls = outline(component, root)
    except CannotLoad as error:
        yield ("component",), str(error)
        return
    if cls is None:
        return
    if cls.constructor is not None:
        yield from constructor_mistakes(component, spec.args, cls.constructor)
    score, fit = cls.method(METHODS[MONITOR]), cls.method("fit")
    if score is None:
        yield ("component",), f"{_no_method(component, METHODS[MONITOR])} ({cls.place})"
    try:
        if not isinstance(fit, Unknown):
            _check_fit(spec, has_fit=fit is not None)
    except CannotLoad as error:
        yield ("reference",) if spec.reference else ("component",), f"{error} ({cls.place})"
    for name, method in (("score", score), ("fit", fit)):
        if isinstance(method, Method):
            yield from _method_findings(f"{cls.name}.{name}()", method, names)


def _method_findings(owner: str, method: Method, names: Sequence[str]) -> Iterator[Mistake]:
    if method.is_async or method.yields:
        yield ("component",), f"{_not_plain(owner)} ({method.place})"
    try:
        check_names(owner, "watches", names, method.parameters)
    except CannotLoad as error:
        yield ("watches",), f"{error} ({method.place})"


def _check_fit(spec: Monitor, *, has_fit: bool) -> None:
    if has_fit != (spec.reference is not None):
        raise CannotLoad(
            f"{spec.component} has fit(), which takes a `reference`, and none is given"
            if has_fit
            else f"{spec.component} has no fit(), which would take the `reference`"
        )


def _no_method(component: str, name: str) -> CannotLoad:
    return CannotLoad(f"{component} has no method {name}(), which a monitor needs")


def _not_plain(owner: str) -> CannotLoad:
    return CannotLoad(f"{owner} must be a plain method: it has a process of its own")
