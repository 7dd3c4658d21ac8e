"""Loads a spec and compiles it to a plan; all mistakes of all stages are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anabranch.errors import Problem, SpecError
from anabranch.graph.compile.compiler import run_passes, to_plan
from anabranch.graph.compile.draft import Draft, KnownModels
from anabranch.graph.compile.memory.model_sizes import check_model_sizes
from anabranch.graph.compile.monitors import check_references
from anabranch.graph.plan.plan import Plan
from anabranch.specs.checks import check
from anabranch.specs.loader import Document, parse, read
from anabranch.specs.models import InferenceGraph


@dataclass(frozen=True)
class Loaded:
    """A compiled spec; its relative paths start from the folder ``root``."""

    graph: InferenceGraph
    plan: Plan
    root: Path
    unchecked: tuple[Problem, ...] = ()
    """What could not be checked, and is taken for right."""


Pass = Callable[[Draft], Draft]


def open_graph(
    path: str | Path, passes: Sequence[Pass] = (), models: KnownModels | None = None
) -> Loaded:
    """Read and compile the spec at ``path``. Raise SpecError with all mistakes in it.

    ``passes`` run after those of the compiler; ``models`` as for ``load_text``.
    """
    path = Path(path)
    root = path.parent.resolve()
    files = (check_references, check_model_sizes)
    own = [lambda draft, one=one: one(draft, root) for one in files]
    return _compile(read(path), root, (*own, *passes), models)


def load_text(
    data: bytes | str,
    file: str = "<spec>",
    root: Path | None = None,
    models: KnownModels | None = None,
) -> Loaded:
    """Compile a spec given as text. Raise SpecError with all mistakes in it.

    ``models`` tells of the shared models that it may use; without, these are taken for right.
    """
    return _compile(parse(data, file), root or Path.cwd(), models=models)


def load_data(data: Any, root: Path | None = None, passes: Sequence[Pass] = ()) -> Loaded:
    """Compile a spec given as plain data. Raise SpecError, whose problems have no positions.

    ``passes`` run after those of the compiler.
    """
    try:
        loaded = _compile(Document(data), root or Path.cwd(), passes)
    except SpecError as error:
        raise SpecError(_bare(error.problems)) from None
    return replace(loaded, plan=replace(loaded.plan, warnings=_bare(loaded.plan.warnings)))


def _bare(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(replace(problem, position=None, file=None) for problem in problems)


def _compile(
    document: Document,
    root: Path,
    passes: Sequence[Pass] = (),
    models: KnownModels | None = None,
) -> Loaded:
    """``passes`` are further ones, where the files beside the spec are there to look at."""
    checked = check(document)
    draft = run_passes(checked.partial, models)
    for each in passes:
        draft = each(draft)
    placed = checked.document
    problems = [*checked.problems, *(_place(placed, problem) for problem in draft.problems)]
    if problems or checked.graph is None:
        raise SpecError(sorted(problems, key=_by_position))
    plan = to_plan(draft)
    warnings = tuple(_place(placed, warning) for warning in plan.warnings)
    unchecked = tuple(_place(placed, one) for one in draft.unchecked)
    return Loaded(checked.graph, replace(plan, warnings=warnings), root, unchecked)


def _place(document: Document, problem: Problem) -> Problem:
    return document.problem(problem.path, problem.message)


def _by_position(problem: Problem) -> tuple[int, int]:
    where = problem.position
    return (where.line, where.column) if where is not None else (0, 0)
