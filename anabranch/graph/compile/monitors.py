"""Pass: what monitors watch, and whether they can.

A monitor never makes a node run: it watches what requests need anyway. So a node that no output
needs is refused here, and `prune` leaves out the same nodes with and without monitors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from anabranch.components import registry
from anabranch.components.arguments import constructor_problems
from anabranch.components.contract import CannotLoad
from anabranch.components.source.classes import inside
from anabranch.errors import FieldPath, Mistake
from anabranch.graph.compile.draft import Draft, needed_by
from anabranch.graph.compile.resolve import Mistakes, resolve
from anabranch.graph.compile.typing import check_ref
from anabranch.graph.plan.plan import PlannedMonitor, Ref
from anabranch.monitors.references import check_format
from anabranch.monitors.table import MAX_FEATURES
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Monitor, TensorSpec


def check_monitors(draft: Draft) -> Draft:
    """Resolve what monitors watch, and refuse those that cannot do their work."""
    mistakes = Mistakes()
    needed = needed_by(draft.nodes, (ref.node for ref in draft.outputs.values()))
    planned = {}
    for name, spec in draft.source.monitors.items():
        watches = _watches(draft, name, spec, mistakes)
        for source, (ref, path) in watches.items():
            mistakes += _watchable(draft, source, ref, path, needed)
        planned[name] = PlannedMonitor(
            name, spec, {each: ref for each, (ref, _) in watches.items()}
        )
        mistakes += _names(name, planned[name].watches) if spec.component is not None else ()
        mistakes += _method(draft, planned[name])
    return replace(draft, monitors=planned).with_problems(mistakes)


def check_references(draft: Draft, root: Path) -> Draft:
    """Refuse references in files that are not there, or of no format that is read."""
    mistakes: list[Mistake] = []
    for name, monitor in draft.monitors.items():
        data = monitor.spec.reference.data if monitor.spec.reference is not None else None
        if data is None:
            continue
        try:
            check_format(data)
            inside(data, root)
        except CannotLoad as error:
            mistakes.append((monitor_path(name, "reference", "data"), str(error)))
    return draft.with_problems(mistakes)


def monitor_path(name: str, *rest: str | int) -> FieldPath:
    """Field path of a monitor or of a field in it."""
    return ("spec", "monitors", name, *rest)


def _watches(
    draft: Draft, name: str, spec: Monitor, mistakes: Mistakes
) -> dict[str, tuple[Ref, FieldPath]]:
    """Return the tensors that a monitor watches, by source, each with the path of its field."""
    sources = spec.watches if spec.watches is not None else list(draft.source.inputs)
    found: dict[str, tuple[Ref, FieldPath]] = {}
    for index, source in enumerate(sources):
        path = monitor_path(name, *(("watches", index) if spec.watches is not None else ()))
        if source in found:
            mistakes.append((path, f"{source!r} is already in the list"))
            continue
        ref = resolve(draft.source, source, path, mistakes)
        if ref is not None:
            found[source] = ref, path
    return found


def _watchable(
    draft: Draft, source: str, ref: Ref, path: FieldPath, needed: set[str]
) -> Iterator[Mistake]:
    found = check_ref(draft, ref, path)
    yield from found
    if ref.node in draft.nodes and ref.node not in needed and draft.outputs:
        yield (
            path,
            f"no output needs node {ref.node!r}, so it never runs, and a monitor does not make it "
            "run: watch another node, or make this one an output",
        )
    spec = None if found else draft.type_of(ref)
    if spec is not None and not spec.shape:
        yield path, f"{source!r} is {spec}, a single value; a monitor looks at rows (dimension 0)"


def _names(name: str, watches: Mapping[str, Ref]) -> Iterator[Mistake]:
    """A component gets each tensor by a parameter of its own."""
    taken: dict[str, str] = {}
    for source in watches:
        parameter = parameter_of(source)
        if parameter in taken:
            yield (
                monitor_path(name, "watches"),
                f"{taken[parameter]!r} and {source!r} would both be the parameter {parameter!r}",
            )
        taken[parameter] = source


def parameter_of(source: str) -> str:
    """The parameter by which a component gets what it watches: ``net.scores`` is ``net_scores``."""
    return re.sub(r"\W", "_", source)


def _method(draft: Draft, monitor: PlannedMonitor) -> Iterator[Mistake]:
    name, spec = monitor.name, monitor.spec
    if spec.method is None or spec.component is not None:
        return
    if spec.method not in registry.names(registry.MONITOR):
        yield monitor_path(name, "method"), registry.unknown(registry.MONITOR, spec.method)
        return
    kind = registry.get(registry.MONITOR, spec.method)
    ill_typed = constructor_problems(kind.cls, spec.args, f"monitor {spec.method!r}")
    for path, message in ill_typed or kind.check(spec):
        yield monitor_path(name, *path), message
    yield from _reference(name, spec, kind.cls)
    yield from _features(draft, monitor, kind.cls)


def _reference(name: str, spec: Monitor, method: Any) -> Iterator[Mistake]:
    reference, least = spec.reference, method.least
    if not least:
        if reference is not None:
            yield (
                monitor_path(name, "reference"),
                f"{spec.method} takes no reference; remove this field",
            )
    elif reference is None:
        yield (
            monitor_path(name),
            f"{spec.method} compares with a `reference`: {{data: FILE}}, or {{first: N}} rows",
        )
    elif reference.first is not None and reference.first < least:
        yield monitor_path(name, "reference", "first"), f"{spec.method} needs at least {least} rows"


def _features(draft: Draft, monitor: PlannedMonitor, method: Any) -> Iterator[Mistake]:
    types = {source: draft.type_of(ref) for source, ref in monitor.watches.items()}
    known = {source: spec for source, spec in types.items() if spec is not None and spec.shape}
    count = sum(_size(spec) for spec in known.values())
    if count > MAX_FEATURES:
        text = listing(f"{source} {_size(spec)}" for source, spec in known.items())
        yield (
            monitor_path(monitor.name),
            f"watches {count} features ({text}), at most {MAX_FEATURES}: watch a node "
            "with fewer features",
        )
    texts = [source for source, spec in known.items() if spec.datatype == "BYTES"]
    if texts and not method.takes_texts:
        yield (
            monitor_path(monitor.name),
            f"{monitor.spec.method} is for numbers, and {listing(texts)} holds texts: use "
            "chi_square or drift, or watch another source",
        )


def _size(spec: TensorSpec) -> int:
    """Return how many features a tensor has at least."""
    return prod(max(size, 1) for size in spec.shape[1:])
