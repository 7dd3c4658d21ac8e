"""Pass: decide which nodes share a process.

The head orchestrates: it runs in the router and calls every other segment itself. So all nodes
that ask for nothing (no ``resources``, ``scaling`` or ``placement``) run in the head, wherever they
stand in the graph, and cost no hop; only a node that asks for a process of its own costs one. A
segment other than the head is called as a whole, so it must be convex: no path may leave it and
come back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeVar

import networkx as nx

from anabranch.components.bandits.nodes import strategy_of
from anabranch.errors import Mistake
from anabranch.graph.compile.draft import Draft, edges, node_path
from anabranch.graph.plan.plan import HEAD, PlannedNode, Segment
from anabranch.graph.plan.vertices import pick_of
from anabranch.specs.models import NodeBase, Placement, Resources, Scaling
from anabranch.specs.shared.reference import shared_reference
from anabranch.specs.units import Size

Mistakes = list[Mistake]
Amount = TypeVar("Amount", float, Size)


def segment(draft: Draft) -> Draft:
    """Group the nodes into segments, the head first, and count the hops."""
    mistakes: Mistakes = []
    groups = _groups(draft)
    remote = [group for group in groups if any(_asks(draft.nodes[name]) for name in group)]
    away = {name for group in remote for name in group}
    inside = tuple(name for name in draft.order if name not in away)
    asked = draft.source.placement
    machines = None if asked is None else Placement(**asked.model_dump(exclude_none=True))
    head = Segment(HEAD, inside, scaling=draft.source.scaling, placement=machines)
    segments = (head, *(_build(draft, group, mistakes) for group in remote))
    graph = split_routers({name: draft.nodes[name] for name in draft.order}, away)
    for group in remote:
        mistakes += _not_convex(graph, group)
        mistakes += _learners(draft, group)
    draft = replace(draft, segments=segments)
    calls = _contracted(draft, graph)
    mistakes = mistakes or [*_circles(draft, calls)]
    return replace(draft, hops=0 if mistakes else _most_hops(calls)).with_problems(mistakes)


def _groups(draft: Draft) -> list[tuple[str, ...]]:
    """Nodes tied to each other by ``placement.with``, in order of evaluation."""
    ties: nx.Graph[str] = nx.Graph()
    ties.add_nodes_from(draft.order)
    for name in draft.order:
        placement = draft.nodes[name].spec.placement
        other = placement.with_ if placement is not None else None
        if other is not None and other in ties:
            ties.add_edge(name, other)
    rank = {name: index for index, name in enumerate(draft.order)}
    groups = [tuple(sorted(group, key=rank.__getitem__)) for group in nx.connected_components(ties)]
    return sorted(groups, key=lambda group: rank[group[0]])


def _asks(node: PlannedNode) -> bool:
    spec = node.spec
    is_explainer = node.type == "explainer"
    is_elsewhere = shared_reference(spec) is not None
    asks = spec.resources or spec.scaling or is_apart(spec.placement)
    return bool(asks or is_explainer or is_elsewhere)


def is_apart(placement: Placement | None) -> bool:
    """Return whether a placement needs a process of its own."""
    return placement is not None and bool(placement.isolate or _machines(placement))


def _machines(placement: Placement | None) -> dict[str, Any]:
    """Return what a placement says of machines, by field."""
    if placement is None:
        return {}
    return placement.model_dump(include={"labels", "node_affinity", "spread"}, exclude_none=True)


def _learners(draft: Draft, group: tuple[str, ...]) -> Iterator[Mistake]:
    """Routers that learn get what was learned in the head alone."""
    for name in group:
        spec = draft.nodes[name].spec
        if strategy_of(spec) is None:
            continue
        asked = [field for field in ("resources", "scaling", "placement") if getattr(spec, field)]
        others = ", ".join(other for other in group if other != name)
        what = f"remove `{asked[0]}`" if asked else f"{others} must not be tied to it"
        yield (
            node_path(name, *asked[:1]),
            f"{name!r} learns from rewards, and so runs in the head: {what}",
        )


def _build(draft: Draft, group: tuple[str, ...], mistakes: Mistakes) -> Segment:
    specs = {name: draft.nodes[name].spec for name in group}
    if len(group) > 1:
        mistakes += _unshared(specs)
    owner = next((name for name in group if _owns(specs[name])), group[0])
    return Segment(
        name=owner,
        nodes=group,
        resources=_sum_resources(specs, mistakes),
        scaling=_one_scaling(specs, mistakes),
        placement=_one_placement(specs, mistakes),
        model=shared_reference(specs[owner]),
    )


def _unshared(specs: Mapping[str, NodeBase]) -> Iterator[Mistake]:
    """Yield what nodes that share a process cannot have."""
    for name, spec in specs.items():
        others = ", ".join(other for other in specs if other != name)
        if spec.placement is not None and spec.placement.isolate:
            path = node_path(name, "placement", "isolate")
            yield path, f"{name!r} is isolated, yet tied to {others}"
        if shared_reference(spec) is not None:
            said = f"{others} cannot share a process with {name!r}, which is a shared model"
            yield node_path(name, "model"), said
        if spec.on_error != "fail":
            yield (
                node_path(name, "on_error"),
                f"{name!r} shares a process with other nodes, where a stand-in is out of reach; "
                "give it a process of its own",
            )


def _owns(spec: NodeBase) -> bool:
    """Return whether a node says how the segment that it is in runs."""
    return bool(spec.resources or spec.scaling or _machines(spec.placement))


def _sum_resources(specs: Mapping[str, NodeBase], mistakes: Mistakes) -> Resources | None:
    """A segment reserves what its nodes ask for together."""
    asked = {name: spec.resources for name, spec in specs.items() if spec.resources is not None}
    if not asked:
        return None
    accelerators = {item.accelerator: name for name, item in asked.items() if item.accelerator}
    if len(accelerators) > 1:
        listed = ", ".join(f"{name} wants {kind}" for kind, name in accelerators.items())
        name = next(reversed(accelerators.values()))
        path = node_path(name, "resources", "accelerator")
        mistakes.append((path, f"one process, two accelerators: {listed}"))
    total = Resources.model_construct(  # the sum may be beyond the bounds of one node
        cpu=_total(float, (item.cpu for item in asked.values())),
        gpu=_total(float, (item.gpu for item in asked.values())),
        gpu_memory=_total(Size, (item.gpu_memory for item in asked.values())),
        memory=_total(Size, (item.memory for item in asked.values())),
        accelerator=next(iter(accelerators), None),
        custom=_custom(asked.values()) or None,
    )
    mistakes += _fractions(asked, total)
    return total


def _custom(asked: Iterable[Resources]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for one in asked:
        total.update(one.custom or {})
    return {name: round(amount, 4) for name, amount in total.items()}


def _fractions(asked: Mapping[str, Resources], total: Resources) -> Iterator[Mistake]:
    """Yield what Ray does not give: it gives a part of one device, or whole devices."""
    amounts: list[tuple[tuple[str, ...], float | None]] = [(("gpu",), total.gpu)]
    amounts += [(("custom", name), amount) for name, amount in (total.custom or {}).items()]
    for path, amount in amounts:
        if amount is None or amount <= 1 or float(amount).is_integer():
            continue
        names = [name for name, one in asked.items() if path[-1] in one.amounts()]
        yield (
            node_path(names[-1], "resources", *path),
            f"{', '.join(names)} ask{'s' if len(names) == 1 else ''} for {amount:g} {path[-1]}; "
            "above 1, only whole numbers can be had",
        )


def _one_placement(specs: Mapping[str, NodeBase], mistakes: Mistakes) -> Placement | None:
    """A segment is where all of its nodes may be; None if that is anywhere."""
    first: dict[tuple[str, ...], tuple[str, Any]] = {}
    for name, spec in specs.items():
        for path, value in _wishes(spec.placement):
            other, known = first.setdefault(path, (name, value))
            if known != value:
                said = f"is {value!r}, but {_spelled(other, path)} is {known!r}, and {name!r} and "
                said += f"{other!r} share a process; keep one"
                mistakes.append((node_path(name, "placement", *path), said))
    if {("spread",), ("node_affinity",)} <= first.keys():
        one, pinned = first["spread",][0], first["node_affinity",][0]
        said = "replicas that each need a machine cannot all be on that of "
        said += f"{_spelled(pinned, ('node_affinity',))}; keep one of the two"
        mistakes.append((node_path(one, "placement", "spread"), said))
    labels = {path[1]: value for path, (_, value) in first.items() if path[0] == "labels"}
    rest = {path[0]: value for path, (_, value) in first.items() if path[0] != "labels"}
    return Placement(**rest, labels=labels or None) if first else None


def _spelled(name: str, path: tuple[str, ...]) -> str:
    return ".".join(map(str, node_path(name, "placement", *path)))


def _wishes(placement: Placement | None) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what a placement says of machines, each label by itself."""
    for field, value in _machines(placement).items():
        if field == "labels":
            yield from (((field, key), wanted) for key, wanted in value.items())
        else:
            yield (field,), value


def _total(kind: type[Amount], amounts: Iterable[Amount | None]) -> Amount | None:
    given = [amount for amount in amounts if amount is not None]
    return kind(sum(given)) if given else None


def _one_scaling(specs: Mapping[str, NodeBase], mistakes: Mistakes) -> Scaling | None:
    asked = {name: spec.scaling for name, spec in specs.items() if spec.scaling is not None}
    scalings = list(asked.values())
    if any(one != scalings[0] for one in scalings):
        first, second, *_ = asked
        said = f"{first!r} and {second!r} share a process but scale differently; keep one"
        mistakes.append((node_path(second, "scaling"), said))
    return scalings[0] if scalings else None


def split_routers(nodes: Mapping[str, PlannedNode], away: set[str]) -> nx.DiGraph[str]:
    """The dependency graph with every router outside the head split in two.

    Such a router decides in its own segment, but the branch it picks is evaluated by the head.
    """
    graph = edges(nodes)
    for name in away:
        node = nodes[name]
        if node.type != "router":
            continue
        refs = (*node.inputs.values(), *node.triggers)
        sources = {ref.node for ref in refs if ref.node is not None}
        graph.remove_edges_from([(source, name) for source in sources - set(node.routes)])
        graph.add_edges_from((source, pick_of(name)) for source in sources & nodes.keys())
        graph.add_edge(pick_of(name), name)
    return graph


def _inside(graph: nx.DiGraph[str], group: tuple[str, ...]) -> set[str]:
    """The vertices of a segment: for a router, where it decides."""
    return {pick_of(name) if pick_of(name) in graph else name for name in group}


def _not_convex(graph: nx.DiGraph[str], group: tuple[str, ...]) -> Iterator[Mistake]:
    inside = _inside(graph, group)
    leaving = sorted(set().union(*(graph.successors(name) for name in inside)) - inside)
    for start in leaving:
        after = {start, *nx.descendants(graph, start)}
        entry = next(
            (name for name in sorted(inside) if after & set(graph.predecessors(name))), None
        )
        if entry is None:
            continue
        origin = min(set(graph.predecessors(start)) & inside)
        path = [origin, *nx.shortest_path(graph, start, entry)]
        said = f"{', '.join(group)} cannot share a process: a path leaves it and comes back"
        between = dict.fromkeys(map(_node_of, path))
        others = [name for name in between if name not in group]
        mend = f"give {', '.join(others)} `placement: {{with: {group[0]}}}` too, or " * bool(others)
        yield (
            node_path(_node_of(entry), "placement"),
            f"{said}: {_readable(path)}; {mend}remove `with`",
        )
        return


def _node_of(vertex: str) -> str:
    return vertex.removesuffix("#pick")


def _readable(path: list[str]) -> str:
    """A path for people; the branch that a router picks is evaluated in the head."""
    steps = [name if name != pick_of(_node_of(name)) else _node_of(name) for name in path]
    joined = {name for name, after in pairwise(steps) if name == after}
    shown = [f"{name} (joined in the head)" if name in joined else name for name in steps]
    return " → ".join(dict.fromkeys(shown))


def _contracted(draft: Draft, graph: nx.DiGraph[str]) -> nx.DiGraph[str]:
    """The graph with one vertex for each segment that requests call; others begin with ``=``."""
    home = {
        vertex: part.name
        for part in draft.segments[1:]
        if draft.nodes[part.nodes[0]].type != "explainer"
        for vertex in _inside(graph, part.nodes)
    }
    whole: nx.DiGraph[str]
    whole = nx.relabel_nodes(graph, {vertex: home.get(vertex, f"={vertex}") for vertex in graph})
    whole.remove_edges_from([*nx.selfloop_edges(whole)])
    return whole


def _circles(draft: Draft, calls: nx.DiGraph[str]) -> Iterator[Mistake]:
    """Yield segments that are convex, and yet each would have to be called before the other."""
    for circle in nx.strongly_connected_components(calls):
        tied = [part for part in draft.segments if part.name in circle and len(part.nodes) > 1]
        if len(tied) > 1:
            first, *others = (", ".join(part.nodes) for part in tied)
            yield (
                node_path(tied[0].nodes[-1], "placement"),
                f"{first} cannot share a process where {' and '.join(others)} do: each of these "
                "segments would have to be called before the other",
            )


def _most_hops(calls: nx.DiGraph[str]) -> int:
    """Most hops that a request can have to make one after the other."""
    hops: dict[str, int] = {}
    for vertex in nx.topological_sort(calls):
        before = max((hops[source] for source in calls.predecessors(vertex)), default=0)
        hops[vertex] = before + (not vertex.startswith("="))
    return max(hops.values(), default=0)
