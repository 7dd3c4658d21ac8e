"""Construct and load the components of the nodes that run in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from anabranch.components.binding import bind
from anabranch.components.contract import Bound, CannotLoad
from anabranch.components.raised import (
    pass_cancellation,
    pass_interrupt,
    text_of,
    without_secrets,
)
from anabranch.components.source.classes import explain
from anabranch.errors import AnabranchError, LoadError
from anabranch.graph.execute.cached import check_caches
from anabranch.graph.execute.quorum import check_quorums
from anabranch.graph.execute.streaming import check_streams
from anabranch.graph.plan.plan import Plan
from anabranch.graph.plan.signatures import check_signatures
from anabranch.pulse import PULSE

logger = logging.getLogger("anabranch.graph")
loading = logging.getLogger("anabranch.graph.loading")
"""Has a line for each step of starting a process, as the client that waits for a deploy shows."""


async def load_nodes(
    plan: Plan, names: Iterable[str], root: Path, in_thread: bool = False
) -> dict[str, Bound]:
    """Construct each node of ``names`` from the bundle in ``root``, then load and warm it up.

    With ``in_thread`` the event loop goes on meanwhile. Raises LoadError or ArtefactError, each
    naming the node.
    """

    def construct(name: str) -> Bound:
        loading.info("constructing node %s", name)
        return bind(name, plan.nodes[name].spec, root)

    def constructed() -> dict[str, Bound]:
        return {name: construct(name) for name in names}

    with PULSE.resting():
        bound = await asyncio.to_thread(constructed) if in_thread else constructed()
        check_streams(plan, bound)
        check_caches(plan, bound)
        check_quorums(plan, bound)
        await _load(plan, bound, root, in_thread)
        return bound


async def _load(plan: Plan, bound: Mapping[str, Bound], root: Path, in_thread: bool) -> None:
    """Load one node after the other; where that fails, let go of what those before it hold."""
    begun: dict[str, Bound] = {}
    try:
        for name, each in bound.items():
            begun[name] = each
            loading.info("loading node %s", name)
            await run_hook("load", [each], root, in_thread)
        check_signatures(plan, bound)
    except BaseException:
        await unload_nodes(begun, root)
        raise


async def run_hook(hook: str, nodes: Iterable[Bound], root: Path, *given: object) -> None:
    """Run ``load``, ``unload`` or ``check_health`` of each node; LoadError names the first to fail.

    ``load`` warms up too. ``given`` is what the hook of ``Bound`` takes.
    """
    for each in nodes:
        try:
            await getattr(each, hook)(*given)
        except AnabranchError as error:
            without_secrets(error)
            raise
        except CannotLoad as error:
            raise LoadError(each.node, text_of(error)) from None
        except BaseException as error:
            pass_cancellation(error)
            pass_interrupt(error)
            raise LoadError(each.node, f"{hook}() raised {explain(error, root)}") from None


async def unload_nodes(bound: Mapping[str, Bound], root: Path) -> None:
    """Let components release what they hold; what fails is logged, not raised."""
    for each in bound.values():
        try:
            await run_hook("unload", [each], root)
        except AnabranchError as error:
            logger.warning("%s", error)
