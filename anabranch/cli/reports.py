"""What the commands print, from the JSON of the engine and the compiler. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from anabranch.cli.console import table
from anabranch.errors import Problem, SpecError

Json = dict[str, Any]
_LONGEST_DATA = 200


def plan_text(plan: Json, changes: Sequence[str] | None) -> str:
    """A plan for people; ``changes`` is None where there is no engine to compare with."""
    hops = plan["critical_path_hops"]
    segments = [
        (segment["name"], ", ".join(segment["nodes"]), _resources(segment["resources"]))
        for segment in plan["segments"]
    ]
    lines = [
        f"{plan['name']}: {_count(len(segments), 'segment')}, "
        f"{_count(hops, 'hop')} on the critical path",
        "",
        table(("SEGMENT", "NODES", "RESOURCES"), segments),
    ]
    if plan["warnings"]:
        lines += ["", *(f"warning: {warning}" for warning in plan["warnings"])]
    if changes is not None:
        lines += ["", "against what runs:", *(f"  {change}" for change in changes or ["no change"])]
    return "\n".join(lines)


def status_text(found: Json) -> str:
    """Graphs of an engine, or one graph with its revisions, newest first."""
    if "graphs" in found:
        rows = [
            (graph["graph"], graph["live"], graph["state"], graph["url"])
            for graph in found["graphs"]
        ]
        return table(("GRAPH", "REVISION", "STATE", "URL"), rows) if rows else "no graphs"
    segments = [
        (one["name"], ", ".join(one["nodes"]), f"{one['running']}/{one['replicas']}")
        for one in found["segments"]
    ]
    revisions = [
        (one["revision"], one["state"], one["author"], one["message"], one["reason"])
        for one in found["revisions"]
    ]
    parts = [
        f"{found['graph']} is {found['state']} at {found['url']}",
        table(("SEGMENT", "NODES", "REPLICAS"), segments) if segments else "",
        table(("REVISION", "STATE", "AUTHOR", "MESSAGE", "REASON"), revisions),
    ]
    return "\n\n".join(part for part in parts if part)


def validation_json(failures: Mapping[str, SpecError | None]) -> Json:
    """``{"valid", "files": [{"file", "valid", "problems": [...]}]}``."""
    files = [
        {
            "file": file,
            "valid": error is None,
            "problems": [_problem(problem) for problem in error.problems] if error else [],
        }
        for file, error in failures.items()
    ]
    return {"valid": not any(failures.values()), "files": files}


def outputs_text(answer: Json) -> str:
    """An inference response for people: one line per output."""
    rows = [
        (output["name"], output["datatype"], output["shape"], _data(output.get("data")))
        for output in answer.get("outputs", [])
    ]
    return table(("OUTPUT", "DATATYPE", "SHAPE", "DATA"), rows)


def _problem(problem: Problem) -> Json:
    where = problem.position
    return {
        "line": where.line if where else None,
        "column": where.column if where else None,
        "path": ".".join(str(part) for part in problem.path),
        "message": problem.message,
    }


def _data(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False)
    return text if len(text) <= _LONGEST_DATA else f"{text[: _LONGEST_DATA - 1]}…"


def _resources(resources: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (resources or {}).items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
