"""Pass: leave out what no output and no explainer asks for."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx

from anabranch.errors import Problem
from anabranch.graph.compile.draft import Draft, edges, node_path


def prune(draft: Draft) -> Draft:
    """Drop nodes that nothing asks for, each with a warning."""
    graph = edges(draft.nodes)
    roots = {ref.node for ref in draft.outputs.values() if ref.node is not None}
    roots |= {name for name, node in draft.nodes.items() if node.type == "explainer"}
    roots &= graph.nodes
    wanted = set(roots).union(*(nx.ancestors(graph, root) for root in roots))
    unused = [name for name in draft.nodes if name not in wanted]
    warnings = tuple(
        Problem(node_path(name), f"no output needs node {name!r}; it will not run")
        for name in unused
    )
    return replace(
        draft,
        nodes={name: node for name, node in draft.nodes.items() if name in wanted},
        order=tuple(name for name in draft.order if name in wanted),
        warnings=draft.warnings + warnings,
    )
