"""Construct and load the components of the nodes that run in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from anabranch.components.binding import bind
from anabranch.components.contract import Bound
from anabranch.components.loading import explain
from anabranch.errors import AnabranchError, LoadError
from anabranch.graph.plan import Plan


async def load_nodes(plan: Plan, names: Iterable[str], root: Path) -> dict[str, Bound]:
    """Construct each node of ``names`` from the bundle in ``root``, then load and warm it up.

    Raises LoadError or ArtefactError, each naming the node.
    """
    bound = {name: bind(name, plan.nodes[name].spec, root) for name in names}
    for name, each in bound.items():
        try:
            await each.load()
        except AnabranchError:
            raise
        except (Exception, SystemExit) as error:
            raise LoadError(name, f"load() or warmup() raised {explain(error, root)}") from None
    return bound


async def unload_nodes(bound: Mapping[str, Bound]) -> None:
    """Give every component the chance to let go of what it holds."""
    for each in bound.values():
        await each.unload()
