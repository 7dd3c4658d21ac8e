"""Passes: rules of the traffic, timeouts, what a port of its own and what a pool do not allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from anabranch.components.rules import mistakes
from anabranch.errors import Mistake, Problem
from anabranch.graph.compile.draft import Draft, node_path
from anabranch.graph.compile.segment import is_apart
from anabranch.graph.plan.plan import DEFAULT_TIMEOUT
from anabranch.specs.models import NodeBase


def check_conditions(draft: Draft) -> Draft:
    """Refuse rules of the traffic whose condition cannot work.

    Conditions of the graph's own routers are checked with their nodes.
    """
    return draft.with_problems(
        (("spec", "traffic", "rules", index, "when"), mistake)
        for index, text in draft.source.conditions.items()
        for mistake in mistakes(text, None)
    )


def check_serving(draft: Draft) -> Draft:
    """Warn of a graph whose routers may sleep: no request at its own port wakes them."""
    serving, scaling = draft.source.serving, draft.source.scaling
    if serving is None or serving.port is None or scaling is None or scaling.min != 0:
        return draft
    warning = Problem(
        ("spec", "serving", "port"),
        "connections to the port are refused while the graph sleeps, which `scaling: {min: 0}` "
        "allows; only requests at the engine's ports wake it",
    )
    return replace(draft, warnings=(*draft.warnings, warning))


def check_timeouts(draft: Draft) -> Draft:
    """Warn of nodes whose timeout is above the graph's, which ends a request before theirs does.

    A shared model has no timeout as a graph, and an explanation is no part of a request.
    """
    if draft.source.is_model:
        return draft
    given = draft.source.timeout
    longest = DEFAULT_TIMEOUT if given is None else given.seconds
    text = f"{longest:g}s, its default" if given is None else str(given)
    warnings = [
        Problem(
            node_path(name, "timeout"),
            f"{timeout} is above the graph's `timeout` ({text}), which ends a request first: lower "
            "it, or raise `spec.timeout`",
        )
        for name, node in draft.nodes.items()
        if (timeout := node.spec.timeout) is not None
        and timeout.seconds > longest
        and node.type != "explainer"
    ]
    return replace(draft, warnings=(*draft.warnings, *warnings))


def check_pool(draft: Draft) -> Draft:
    """Refuse nodes of a graph in a pool that ask for a process of their own."""
    serving = draft.source.serving
    if serving is None or serving.pool is None:
        return draft
    return draft.with_problems(_needs(draft, serving.pool))


def _needs(draft: Draft, pool: str) -> Iterator[Mistake]:
    for name, node in draft.nodes.items():
        field = next((field for field in _ALONE if _has(node.spec, field)), None)
        if field is not None:
            yield (
                node_path(name, field),
                f"a node of a graph in a pool ({pool!r}) has no `{field}`, for it shares a process "
                "with other graphs; remove it or `serving.pool`",
            )
        elif node.type == "explainer":
            yield (
                node_path(name, "type"),
                f"an explainer runs in a process of its own, and the graph is in pool {pool!r}; "
                "remove it or `serving.pool`",
            )


_ALONE = ("resources", "scaling", "placement", "env", "secrets")


def _has(spec: NodeBase, field: str) -> bool:
    value = getattr(spec, field, None)
    return is_apart(value) if field == "placement" else bool(value)
