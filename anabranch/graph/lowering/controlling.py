"""The controller's actor, as threads of other processes call it."""

from __future__ import annotations

from typing import Any

import ray

ACTOR = "anabranch-controller"
NAMESPACE = "anabranch"


class Controlling:
    """Calls of the controller that wait for its answer; for one thread, and never an event loop's.

    It may be away at any time. Whoever asks says again later what did not arrive.
    """

    def __init__(self) -> None:
        self._actor: Any = None

    def ask(self, method: str, *arguments: object, timeout: float) -> Any:
        """What a method answers within ``timeout`` seconds; raises where the controller is away."""
        if self._actor is None:
            self._actor = ray.get_actor(ACTOR, NAMESPACE)
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=timeout)
        except Exception:
            self._actor = None
            raise
