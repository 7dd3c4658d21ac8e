"""Pass: what a graph's own port cannot do that the edge can."""

from __future__ import annotations

from dataclasses import replace

from anabranch.errors import Problem
from anabranch.graph.compile.draft import Draft


def check_serving(draft: Draft) -> Draft:
    """Warn of a graph whose routers may sleep: no request at its own port wakes them."""
    serving, scaling = draft.source.serving, draft.source.scaling
    if serving is None or scaling is None or scaling.min != 0:
        return draft
    warning = Problem(
        ("spec", "serving", "port"),
        "connections to the port are refused while the graph sleeps, which `scaling: {min: 0}` "
        "allows; only requests at the engine's ports wake it",
    )
    return replace(draft, warnings=(*draft.warnings, warning))
