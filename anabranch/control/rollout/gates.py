"""The gate: someone outside who is asked before a rollout goes on.

An answer of 2xx lets it go on, any other refuses, at once. Where nobody answers the gate is asked
again, and then counts as refusing: a rollout never goes on because its gate is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from anabranch.control.lifecycle.rollouts import Move, RolloutState
from anabranch.control.rollout.outgoing import Caller
from anabranch.control.settings.destinations import allowed, shown
from anabranch.control.timestamps import timestamp

ATTEMPTS = 3
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; each further one waits twice as long."""
_MAX_BODY = 4096


class Gate:
    """Asks gates, of those that are below one of the ``prefixes``."""

    def __init__(
        self,
        prefixes: Iterable[str],
        caller: Caller,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._prefixes = tuple(prefixes)
        self._caller = caller
        self._sleep = sleep

    async def refusal(self, url: str, question: dict[str, Any]) -> str | None:
        """Why the rollout may not go on; None if it may."""
        if not allowed(url, self._prefixes):
            return f"the gate {shown(url)} is not below what ANABRANCH_WEBHOOKS allows"
        reply = await self._caller.call("POST", url, _MAX_BODY, json=question)
        for attempt in range(ATTEMPTS - 1):
            if reply.status is not None:
                break
            await self._sleep(FIRST_PAUSE * 2**attempt)
            reply = await self._caller.call("POST", url, _MAX_BODY, json=question)
        return None if reply.ok else f"the gate {shown(url)} refuses: {reply}"


def question(
    graph: str, stable: int | None, state: RolloutState, move: Move, at: float
) -> dict[str, Any]:
    """Return the question for a gate: the rollout's present step, and the weight of the next."""
    following = 100.0 if state.is_last else state.plan.steps[state.step + 1]
    return {
        "graph": graph,
        "revision": state.revision,
        "stable": stable,
        "move": move,
        "step": state.step + 1,
        "steps": len(state.plan.steps),
        "weight": state.weight,
        "next_weight": following,
        "at": timestamp(at),
    }
