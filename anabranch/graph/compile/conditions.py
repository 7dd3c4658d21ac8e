"""Pass: refuse rules of the traffic whose condition cannot work."""

from __future__ import annotations

from anabranch.components.rules import mistakes
from anabranch.graph.compile.draft import Draft


def check_conditions(draft: Draft) -> Draft:
    """Check the conditions; those of the graph's own routers are checked with their nodes."""
    return draft.with_problems(
        (("spec", "traffic", "rules", index, "when"), mistake)
        for index, text in draft.source.conditions.items()
        for mistake in mistakes(text, None)
    )
