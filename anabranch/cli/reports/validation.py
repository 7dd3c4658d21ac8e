"""Reports of ``anabranch validate``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anabranch.errors import Problem, SpecError

Json = dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """What is known of a document after it was checked."""

    error: SpecError | None = None
    warnings: Sequence[Problem] = ()
    unchecked: Sequence[Problem] = ()
    """What was taken for right."""


def validation_text(file: str, found: Findings) -> str:
    """Return the mistakes of a document or that it has none, warnings, and what is not checked."""
    lines = [f"{file}: ok" if found.error is None else str(found.error)]
    lines += [f"warning: {one}" for one in found.warnings]
    lines += [f"not checked: {one}" for one in found.unchecked]
    return "\n".join(lines)


def validation_json(found: Mapping[str, Findings]) -> Json:
    """Return ``{"valid", "files": [{"file", "valid", "problems", "warnings", "not_checked"}]}``."""
    files = [
        {
            "file": file,
            "valid": one.error is None,
            "problems": _problems(one.error.problems if one.error else ()),
            "warnings": _problems(one.warnings),
            "not_checked": _problems(one.unchecked),
        }
        for file, one in found.items()
    ]
    return {"valid": not any(one.error for one in found.values()), "files": files}


def _problems(found: Iterable[Problem]) -> list[Json]:
    return [_problem(problem) for problem in found]


def _problem(problem: Problem) -> Json:
    where = problem.position
    return {
        "line": where.line if where else None,
        "column": where.column if where else None,
        "path": ".".join(str(part) for part in problem.path),
        "message": problem.message,
    }
