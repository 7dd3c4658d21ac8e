"""Pass: refuse caches over what may answer the same question differently.

Built-in transformers and combiners always answer alike, and so do ``rules`` that read inputs and
parameters alone. Of models and of components only their author knows, who says so in the spec.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from anabranch.components import registry
from anabranch.components.artefacts.uris import is_mlflow, is_uri
from anabranch.components.rules import reads_call
from anabranch.errors import Mistake
from anabranch.graph.compile.draft import Draft, needed_by, node_path
from anabranch.graph.plan.plan import HEAD, PlannedNode
from anabranch.specs.models import NodeBase, Predictor, Router
from anabranch.specs.shared.reference import shared_reference

_Mistakes = Iterator[Mistake]


def check_caches(draft: Draft) -> Draft:
    """Look at the nodes that have a ``cache``, and at all nodes of a graph that has one."""
    own = [node for node in draft.nodes.values() if node.spec.cache and node.type != "router"]
    draft = draft.with_problems(_undetermined(own, "it has a `cache`", "remove its `cache`"))
    if draft.source.cache is None:
        return draft
    # A node with a cache of its own has been looked at.
    others = (node for node in _behind_outputs(draft) if node.spec.cache is None)
    instead = "remove `cache` from the graph, and give it to single nodes"
    draft = draft.with_problems(_undetermined(others, "the graph has a `cache`", instead))
    return draft.with_problems(_unseen(draft))


def _behind_outputs(draft: Draft) -> list[PlannedNode]:
    needed = needed_by(draft.nodes, (ref.node for ref in draft.outputs.values()))
    return [node for name, node in draft.nodes.items() if name in needed]


def _undetermined(nodes: Iterable[PlannedNode], why: str, instead: str) -> _Mistakes:
    for node in nodes:
        if isinstance(node.spec, Router) and node.spec.component is None:
            found = _router(node.spec)
        else:
            found = _component(node.spec)
        for field, text in found:
            yield node_path(node.name, field), f"{why}, and {text}, or {instead}"


def _router(spec: Router) -> Iterator[tuple[str, str]]:
    if spec.strategy != "rules":
        yield "strategy", f"{spec.strategy!r} chooses by chance, or by rewards; use `rules`"
    elif any(reads_call(rule.when) for rule in spec.rules or ()):
        yield (
            "rules",
            "rules go by more of the request than its parameters, which the same question may have "
            "differently; use `inputs` and `request.parameters` alone",
        )


def _component(spec: NodeBase) -> Iterator[tuple[str, str]]:
    if shared_reference(spec) is not None:
        yield "model", "a shared model has revisions of its own; give the `cache` to its document"
        return
    if not (spec.deterministic or _is_ours(spec)):
        yield (
            "deterministic",
            "the node must then always give the same answer to the same question: add "
            "`deterministic: true` if it does",
        )
    model = getattr(spec, "model", None) or ""
    multiplex = getattr(spec, "multiplex", None)
    if is_uri(model) and (
        multiplex is not None or (spec.sha256 is None and not is_mlflow(model))  # type: ignore[attr-defined]
    ):
        yield (
            "model",
            "the model at this place may change while answers are kept; "
            + ("take models out of the bundle" if multiplex else "give its `sha256`"),
        )


def _is_ours(spec: NodeBase) -> bool:
    """Return whether the node runs a built-in that computes, and nothing else."""
    name = registry.builtin_of(spec)
    if name is None or isinstance(spec, Predictor):
        return False
    return registry.get(registry.type_of(spec), name).is_deterministic


def _unseen(draft: Draft) -> _Mistakes:
    """Monitors and logs see answers from the cache only where the process has them."""
    homes = {name: part.name for part in draft.segments for name in part.nodes}
    for source, ref in draft.recorded.items():
        if homes.get(ref.node or "", HEAD) != HEAD:
            yield (
                ("spec", "telemetry", "requests", "nodes"),
                f"the graph has a `cache`, and {source!r} is in a process of its own, whose values "
                "the answers from there do not have; log nodes of the head, or give `cache` to the "
                "node",
            )
    for monitor in draft.monitors.values():
        for source, ref in monitor.watches.items():
            node = draft.nodes.get(ref.node or "")
            if node is not None and node.type != "router" and homes.get(node.name, HEAD) != HEAD:
                yield (
                    ("spec", "monitors", monitor.name, "watches"),
                    f"the graph has a `cache`, and {source!r} is in a process of its own, which "
                    "does not see the answers from there; watch inputs of the graph or nodes of "
                    "the head, or give `cache` to the node",
                )
