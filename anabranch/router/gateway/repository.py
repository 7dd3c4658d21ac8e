"""The repository of graphs, as every protocol shows it: what is there, and loading and unloading.

Loading brings a graph back as it was deployed; unloading keeps all but what runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from anabranch.errors import AnabranchError, InvalidRequest, NotFound, Unavailable
from anabranch.names import MAX_NAME, MODEL_WORDS, graph_path
from anabranch.router.errors import HttpReply
from anabranch.specs.excerpts import hint, nearest

if TYPE_CHECKING:
    from anabranch.access.identity import Asker, Identity
    from anabranch.router.backend import ControlBackend, GraphState

EXTENSIONS = ("binary_tensor_data", "generate", "model_repository", "parameters")
"""Supported extensions of the protocol, by the names that its servers have for them."""
LOOKS = 600
"""How often loading looks whether a graph answers; all in all for two minutes."""
_LOOK_S = 0.2

Action = Literal["load", "unload"]


async def change(
    control: ControlBackend, name: str, action: Action, asker: Asker
) -> HttpReply | None:
    """Load or unload a graph; None once that is done, or what the control API says against it.

    Raises NotFound for a graph that is deleted meanwhile, Unavailable for one that does not come.
    """
    target = f"{graph_path(name)}/{action}"
    status, headers, answer = await control.handle("POST", target, "", b"", asker)
    if status >= HTTPStatus.BAD_REQUEST:
        return HttpReply(status, answer, headers)
    if action == "load":
        await _until_ready(control, name)
    return None


async def _until_ready(control: ControlBackend, name: str) -> None:
    reason = ""
    for _ in range(LOOKS):
        graph = (await control.graphs()).get(name)
        if graph is None:
            raise NotFound(f"graph {name!r} was deleted meanwhile")
        if graph["ready"]:
            return
        reason = graph["reason"]
        await asyncio.sleep(_LOOK_S)
    raise Unavailable(f"graph {name!r} is not ready yet: {reason}")


def check_parameters(names: Iterable[str]) -> None:
    """Refuse parameters that would load something else than what was deployed."""
    unknown = [name for name in names if name != "unload_dependents"]
    if unknown:
        raise InvalidRequest(
            f"parameter {unknown[0][:64]!r} is not supported: a graph is loaded as it was deployed"
        )


def absent(name: str, graphs: Mapping[str, GraphState]) -> AnabranchError:
    """Why a graph cannot be asked that has no router: there is none of that name, or not now."""
    if name in graphs:
        reason = graphs[name]["reason"] or "it has no router yet"
        return Unavailable(f"graph {name!r} cannot answer now: {reason}")
    name = name[: MAX_NAME + 1]
    meant = hint(name, graphs) or " (no graph is deployed)"
    first, _, word = name.partition("/")
    if first in graphs and (near := nearest(word, MODEL_WORDS)) is not None:
        meant += f"; graph {first!r} has a path '/{near}'"
    return NotFound(f"there is no graph {name!r}{meant}")


def index(
    graphs: Mapping[str, GraphState], identity: Identity, only_ready: bool
) -> list[dict[str, str]]:
    """Return the repository's index: the graphs that somebody may know of, or those ready."""
    return [
        _entry(name, graph)
        for name, graph in graphs.items()
        if (graph["ready"] or not only_ready) and identity.may("describe", name)
    ]


def _entry(name: str, graph: GraphState) -> dict[str, str]:
    return {
        "name": name,
        "version": str(graph["revision"]),
        "state": "READY" if graph["ready"] else "UNAVAILABLE",
        "reason": graph["reason"],
    }
