"""Constructs and loads every part of a graph once, in a process of its own, and tells what fails.

What a user's code prints there goes to stderr, and its death is the failure of one part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from anabranch.components.raised import pass_interrupt
from anabranch.components.source.classes import explain
from anabranch.errors import AnabranchError, ArtefactError, LoadError, Problem
from anabranch.graph.compile.explainers import explained_part
from anabranch.graph.compile.loading import Loaded, open_graph
from anabranch.graph.execute.nodes import load_nodes, unload_nodes
from anabranch.graph.explain.explainer import Explaining
from anabranch.graph.local import in_one_process, no_call, wait
from anabranch.graph.monitor.windows import load_monitors
from anabranch.graph.plan.plan import Plan
from anabranch.specs.checks import check
from anabranch.specs.loader import read
from anabranch.specs.shared.reference import shared_reference

Part = tuple[str, str]
"""``nodes`` or ``monitors``, and a name."""
_STOP_S = 5.0
"""Longest time that a process gets to end by itself, in seconds."""


def load_problems(path: Path, timeout: float, say: Callable[[str], None]) -> list[Problem]:
    """Construct and load the nodes and monitors of a spec; return a problem for each that fails.

    A part that takes longer than ``timeout`` seconds, or ends its process, fails; those after it
    are loaded in another process. Shared models are loaded elsewhere, and what calls them with
    them. ``say`` is told which part is next. Raises SpecError.
    """
    plan, document = open_graph(path).plan, check(read(path)).document
    left: list[Part] = [("nodes", name) for name in plan.nodes if not _is_elsewhere(plan, name)]
    left += [("monitors", name) for name in plan.monitors]
    problems = []
    while left:
        for (kind, name), failure in _tried(path, left, timeout, say):
            left = left[1:]
            if failure:
                problems.append(document.problem(("spec", kind, name), failure))
    return problems


def _is_elsewhere(plan: Plan, name: str) -> bool:
    """Return whether a node is a shared model, or an explainer that calls one."""
    if plan.nodes[name].type != "explainer":
        return shared_reference(plan.nodes[name].spec) is not None
    return bool(explained_part(in_one_process(plan), name).called)


def _tried(
    path: Path, parts: Sequence[Part], timeout: float, say: Callable[[str], None]
) -> Iterator[tuple[Part, str]]:
    """Yield each part and why it failed, empty if it did not, until one ends the process."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_try, args=(path, parts, theirs))
    process.start()
    theirs.close()
    try:
        for part in parts:
            say(f"loading {part[0].removesuffix('s')} {part[1]}")
            failure, goes_on = _answer(ours, process, timeout)
            yield part, failure
            if not goes_on:
                return
    finally:
        ours.close()
        _end(process)


def _answer(ours: Connection, process: BaseProcess, timeout: float) -> tuple[str, bool]:
    """Return what the process says of its next part, and whether it goes on."""
    try:
        if ours.poll(timeout):
            return str(ours.recv()), True
    except EOFError:
        process.join(_STOP_S)
        code = process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"status {code}"
        return f"the process that loaded it ended with {how}", False
    return f"is not loaded after {timeout:g} seconds", False


def _end(process: BaseProcess) -> None:
    process.join(_STOP_S if process.exitcode is not None else 0.5)
    if process.is_alive():
        process.kill()
    process.join()


def _try(path: Path, parts: Sequence[Part], told: Connection) -> None:
    os.dup2(2, 1)  # what components print is no result of the command
    loaded = open_graph(path)
    os.chdir(loaded.root)  # as where a graph is deployed, for relative paths in ``args``
    for part in parts:
        told.send(_failure(loaded, part))
    told.close()


def _failure(loaded: Loaded, part: Part) -> str:
    try:
        _load(loaded, *part)
    except LoadError as error:
        return error.reason
    except ArtefactError as error:
        return str(error).removeprefix(f"node {part[1]!r}: ")
    except AnabranchError as error:
        return str(error)
    except BaseException as error:
        pass_interrupt(error)
        return explain(error, loaded.root)
    return ""


def _load(loaded: Loaded, kind: str, name: str) -> None:
    plan, root = loaded.plan, loaded.root
    if kind == "monitors":
        load_monitors(replace(plan, monitors={name: plan.monitors[name]}), root, None)
    elif plan.nodes[name].type == "explainer":
        explaining = wait(Explaining.load(in_one_process(plan), name, root, no_call))
        wait(unload_nodes(explaining.bound, root))
        explaining.close()
    else:
        wait(unload_nodes(wait(load_nodes(plan, [name], root)), root))
