"""Passes: refuse graphs in which a node needs itself, and leave out what nothing asks for.

Each strongly connected component is reported once, by one cycle in it, so that a tangle of many
cycles stays one message. Nodes on a cycle are left out of ``order``; all others are in it, so the
later passes can still judge them.
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx

from anabranch.errors import Mistake, Problem
from anabranch.graph.compile.draft import Draft, edges, needed_by, node_path

MAX_SHOWN = 12


def check_acyclic(draft: Draft) -> Draft:
    """Order the nodes so that each comes after all that it may need."""
    graph = edges(draft.nodes)
    position = {name: index for index, name in enumerate(draft.nodes)}
    mistakes = []
    tangled: set[str] = set()
    for component in nx.strongly_connected_components(graph):
        if len(component) > 1:
            mistakes.append(_describe(graph, component, position))
            tangled |= component
        elif graph.has_edge(*(list(component) * 2)):
            name = next(iter(component))
            path = graph.edges[name, name]["path"]
            mistakes.append((path, f"node {name!r} needs itself"))
            tangled.add(name)
    graph.remove_nodes_from(tangled)
    order = tuple(nx.lexicographical_topological_sort(graph, key=position.__getitem__))
    return replace(draft, order=order).with_problems(mistakes)


def prune(draft: Draft) -> Draft:
    """Drop nodes that nothing asks for, each with a warning."""
    explainers = (name for name, node in draft.nodes.items() if node.type == "explainer")
    outputs = (ref.node for ref in draft.outputs.values())
    wanted = needed_by(draft.nodes, (*outputs, *explainers))
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


def check_inputs(draft: Draft) -> Draft:
    """Warn of inputs that no node and no output reads, and no monitor watches by name."""
    read = [*draft.outputs.values()]
    for node in draft.nodes.values():
        read += [*node.inputs.values(), *node.triggers]
        read += [] if node.fallback is None else [node.fallback]
    for monitor in draft.monitors.values():
        read += monitor.watches.values() if monitor.spec.watches is not None else ()
    names = {ref.output for ref in read if ref.node is None}
    warnings = tuple(
        Problem(("spec", "inputs", name), f"no node that runs reads input {name!r}")
        for name in draft.source.inputs
        if name not in names
    )
    return replace(draft, warnings=draft.warnings + warnings)


def _describe(graph: nx.DiGraph[str], component: set[str], position: dict[str, int]) -> Mistake:
    start = min(component, key=position.__getitem__)
    inside = graph.subgraph(component)
    back = min(inside.predecessors(start), key=position.__getitem__)
    cycle = nx.shortest_path(inside, start, back)
    shown = cycle if len(cycle) <= MAX_SHOWN else [*cycle[: MAX_SHOWN - 1], "…", cycle[-1]]
    text = " → ".join([*shown, start])
    return graph.edges[back, start]["path"], f"the nodes form a cycle: {text}"
