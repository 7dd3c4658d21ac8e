"""Graphs that answer Seldon's clients: each one function of its inputs, behind a real server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from anabranch.components.contract import Context
from anabranch.graph.plan.plan import Signature
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.inference.contract import Evaluated
from anabranch.router.limits import RequestLimits
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback
from anabranch.specs.models import InputSpec
from tests.router.conftest import Step, StepHead, make_table
from tests.router.traffic.test_feedback import Source

ROUTES = {"chooser": ("forest", "net")}
NUMBERS = {"x": ("FP64", (-1, 2))}


class AnnotatedHead(StepHead):
    """A head whose answers carry what its components have said, as a local one's do."""

    async def run(self, inputs: Any, context: Context, outputs: Any) -> Evaluated:
        found = await super().run(inputs, context, outputs)
        found.annotations = context.annotations or None
        return found


async def doubled(inputs: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {"y": inputs["x"] * 2}


def signature(
    inputs: Mapping[str, tuple[str, tuple[int, ...]]] = NUMBERS,
    outputs: tuple[str, ...] = ("y",),
    content: str = "text",
    **fields: Any,
) -> Signature:
    types = {
        name: InputSpec(datatype=datatype, shape=shape, **(
            {"content": content} if datatype == "BYTES" else {}
        ))
        for name, (datatype, shape) in inputs.items()
    }  # fmt: skip
    return Signature(
        types, dict.fromkeys(outputs), **{"timeout": 60.0, "protocols": ("seldon",), **fields}
    )


def seldon_arms(
    step: Step = doubled,
    name: str = "demo",
    limits: RequestLimits | None = None,
    weights: Mapping[int, float] | None = None,
    table: Mapping[str, Any] | None = None,
    draws: Sequence[float] = (),
    heads: dict[int, StepHead] | None = None,
    **fields: Any,
) -> Arms:
    """A graph whose revisions are all alike; ``fields`` are those of ``signature``.

    Heads are noted in ``heads``.
    """
    noted = {} if heads is None else heads
    left = iter(draws)

    def head(revision: int) -> StepHead:
        return noted.setdefault(revision, AnnotatedHead(step))

    arms = Arms(name, head, limits or RequestLimits(), lambda: next(left))
    weights = weights or {3: 100.0}
    reached = {*weights, *(table or {}).get("mirrors", ())}
    found = make_table(
        weights, revisions=dict.fromkeys(reached, signature(**fields)), **(table or {})
    )
    arms.apply(replace(found, graph=name))
    return arms


def seldon_app(arms: Arms) -> tuple[GraphApp, Source]:
    """The graph's application, and where its rewards go."""
    source = Source()
    return GraphApp(arms, Feedback(arms, source)), source
