"""The compiler: a list of small, pure, named passes from a spec to a plan."""

from __future__ import annotations

from collections.abc import Callable

from anabranch.graph.compile.absence import mark_absent
from anabranch.graph.compile.acyclic import check_acyclic, check_inputs, prune
from anabranch.graph.compile.batchable import check_batching
from anabranch.graph.compile.caching import check_caches
from anabranch.graph.compile.draft import Draft, KnownModels
from anabranch.graph.compile.explainers import check_explainers
from anabranch.graph.compile.memory.budgets import check_budgets
from anabranch.graph.compile.monitors import check_monitors
from anabranch.graph.compile.observing.recorded import check_recorded
from anabranch.graph.compile.resolve import resolve_sources
from anabranch.graph.compile.segment import segment
from anabranch.graph.compile.serving import (
    check_conditions,
    check_pool,
    check_serving,
    check_timeouts,
)
from anabranch.graph.compile.stand_ins import check_stand_ins
from anabranch.graph.compile.typing import check_types
from anabranch.graph.compile.variables import check_variables
from anabranch.graph.plan.plan import DEFAULT_TIMEOUT, Plan
from anabranch.specs.checks import Partial
from anabranch.specs.models import Telemetry

PASSES: tuple[Callable[[Draft], Draft], ...] = (
    check_conditions,
    resolve_sources,
    check_acyclic,
    check_types,
    mark_absent,
    check_stand_ins,
    check_batching,
    check_explainers,
    check_monitors,
    check_serving,
    prune,
    check_inputs,
    check_timeouts,
    check_recorded,
    segment,
    check_budgets,
    check_variables,
    check_pool,
    check_caches,
)


def run_passes(source: Partial, models: KnownModels | None = None) -> Draft:
    """Run every pass; the draft's ``problems`` holds all mistakes.

    ``models`` tells of shared models, where they are known.
    """
    draft = Draft(source, models=models)
    for each in PASSES:
        draft = each(draft)
    return draft


def to_plan(draft: Draft) -> Plan:
    """The plan of a draft without mistakes."""
    timeout, serving = draft.source.timeout, draft.source.serving
    return Plan(
        name=str(draft.source.name),
        inputs=draft.source.inputs,
        nodes={name: draft.nodes[name] for name in draft.order},
        outputs=draft.outputs,
        output_types={name: draft.type_of(ref) for name, ref in draft.outputs.items()},
        segments=draft.segments,
        critical_path_hops=draft.hops,
        timeout=timeout.seconds if timeout is not None else DEFAULT_TIMEOUT,
        warnings=draft.warnings,
        telemetry=draft.source.telemetry or Telemetry(),
        monitors=draft.monitors,
        recorded=draft.recorded,
        port=None if serving is None else serving.port,
        pool=None if serving is None else _pool(str(draft.source.name), serving.pool),
        protocols=draft.source.protocols,
        is_model=draft.source.is_model,
        cache=draft.source.cache,
    )


def _pool(graph: str, pool: str | None) -> str | None:
    """Return the pool of a graph in its namespace: no process is shared with other namespaces."""
    namespace, slash, _ = graph.partition("/")
    return f"{namespace}/{pool}" if pool is not None and slash else pool
