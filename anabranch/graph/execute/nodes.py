"""Construct and load the components of the nodes that run in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from anabranch.components.binding import bind
from anabranch.components.contract import Bound, CannotLoad
from anabranch.components.source.classes import explain
from anabranch.errors import AnabranchError, LoadError
from anabranch.graph.execute.quorum import check_quorums
from anabranch.graph.execute.streaming import check_streams
from anabranch.graph.plan.plan import Plan
from anabranch.graph.plan.signatures import check_signatures

logger = logging.getLogger("anabranch.graph")


async def load_nodes(plan: Plan, names: Iterable[str], root: Path) -> dict[str, Bound]:
    """Construct each node of ``names`` from the bundle in ``root``, then load and warm it up.

    Raises LoadError or ArtefactError, each naming the node.
    """
    bound = {name: bind(name, plan.nodes[name].spec, root) for name in names}
    check_streams(plan, bound)
    check_quorums(plan, bound)
    await _load(plan, bound, root)
    return bound


async def _load(plan: Plan, bound: Mapping[str, Bound], root: Path) -> None:
    """Load one node after the other; where that fails, let go of what those before it hold."""
    begun: dict[str, Bound] = {}
    try:
        for name, each in bound.items():
            begun[name] = each
            await run_hook("load", [each], root)
        check_signatures(plan, bound)
    except BaseException:
        await unload_nodes(begun, root)
        raise


async def run_hook(hook: str, nodes: Iterable[Bound], root: Path) -> None:
    """Run ``load``, ``unload`` or ``check_health`` of each node; LoadError names the first to fail.

    ``load`` warms up too.
    """
    for each in nodes:
        try:
            await getattr(each, hook)()
        except AnabranchError:
            raise
        except CannotLoad as error:
            raise LoadError(each.node, str(error)) from None
        except (Exception, SystemExit) as error:
            raise LoadError(each.node, f"{hook}() raised {explain(error, root)}") from None


async def unload_nodes(bound: Mapping[str, Bound], root: Path) -> None:
    """Let components release what they hold; what fails is logged, not raised."""
    for each in bound.values():
        try:
            await run_hook("unload", [each], root)
        except AnabranchError as error:
            logger.warning("%s", error)
