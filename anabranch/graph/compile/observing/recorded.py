"""Pass: the values of nodes that the request log is to have.

As a monitor does, a log takes what requests need anyway, and makes no node run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from anabranch.errors import FieldPath
from anabranch.graph.compile.draft import Draft
from anabranch.graph.compile.resolve import Mistakes, resolve
from anabranch.graph.compile.typing import check_ref
from anabranch.graph.plan.plan import Ref

_FIELD = ("spec", "telemetry", "requests", "nodes")


def check_recorded(draft: Draft) -> Draft:
    """Resolve the sources in ``telemetry.requests.nodes``, each output of a node by itself."""
    log = draft.source.telemetry.requests if draft.source.telemetry is not None else None
    sources = (log.nodes if log is not None else None) or ()
    mistakes = Mistakes()
    found: dict[str, Ref] = {}
    for index, source in enumerate(sources):
        path = (*_FIELD, index)
        ref = resolve(draft.source, source, path, mistakes)
        if ref is not None:
            found |= {str(one): one for one in _outputs(draft, ref, path, mistakes)}
    return replace(draft, recorded=found).with_problems(mistakes)


def _outputs(draft: Draft, ref: Ref, path: FieldPath, mistakes: Mistakes) -> Iterator[Ref]:
    """Yield the outputs that a source means; of a node all that it has."""
    if ref.node is None:
        mistakes.append((path, f"{str(ref)!r} is a graph input, which is logged anyway"))
        return
    node = draft.nodes.get(ref.node)
    if node is None:
        mistakes.append((path, f"no output needs node {ref.node!r}, so it never runs"))
    elif ref.output is not None:
        wrong = list(check_ref(draft, ref, path))
        mistakes.extend(wrong)
        yield from () if wrong else (ref,)
    elif node.outputs is None:
        mistakes.append((path, f"the outputs of node {ref.node!r} are not known: declare them"))
    else:
        yield from (Ref(ref.node, name) for name in node.outputs)
