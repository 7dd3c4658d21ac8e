"""The way to a revision's monitors: off the request path, and never in its way.

A process that sees what is watched puts copies into an ``Outlet``. Its thread packs them and has
them sent, a few times a second; what does not fit, or does not arrive in time, is dropped and
counted. The replica of the monitors may hang or die, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence

from ray import serve

from anabranch.errors import Unavailable
from anabranch.graph.observe.monitor_copies import MOST, MOST_BYTES, Seen
from anabranch.graph.plan.plan import MONITORS, Plan
from anabranch.serve.attachment import serve_name
from anabranch.serve.calls.handle import Handle
from anabranch.telemetry.outlet import Outlet

SEND_S = 5.0
"""Longest time that values may wait for the monitors."""
ANSWER_S = 10.0
"""Longest time for the answer of the monitors' process, which says what became of the values."""


class Sender:
    """Sends watched values to the monitors of an application, by Serve's name of that.

    It is made on the loop that sends.
    """

    def __init__(self, graph: str, application: str) -> None:
        self._application = application
        self._loop = asyncio.get_running_loop()
        self._handle: Handle = None
        self._outlet: Outlet[Seen] = Outlet(graph, MONITORS, self._deliver, MOST, MOST_BYTES)
        self.offer = self._outlet.offer

    def close(self) -> None:
        """Send what is there, for a moment at most."""
        self._outlet.close(0.5)

    def _deliver(self, batch: Sequence[Seen]) -> None:
        """In the outlet's thread, which packs too, for that may take as long as many requests."""
        data = pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)
        work = asyncio.run_coroutine_threadsafe(self._send(data), self._loop)
        try:
            fate = work.result(ANSWER_S + 1)
        except TimeoutError:
            work.cancel()
            raise
        if fate == "full":
            raise Unavailable("the monitors have too much to look at")
        if fate == "late":
            raise TimeoutError(f"the monitors were busy for {SEND_S:g} seconds")

    async def _send(self, data: bytes) -> str:
        if self._handle is None:
            self._handle = serve.get_deployment_handle(
                MONITORS, self._application, _check_exists=False, _record_telemetry=False
            )
        response = self._handle.watch.remote(data, SEND_S)
        try:
            async with asyncio.timeout(ANSWER_S):
                fate: str = await response
        except BaseException:
            response.cancel()
            raise
        return fate


def sender_for(plan: Plan, application: str | None = None) -> Sender | None:
    """The way to a plan's monitors in an application, that of this replica if none is named.

    None where the plan has no monitors.
    """
    if not plan.monitors:
        return None
    if application is None:
        return Sender(plan.name, serve.get_replica_context().app_name)
    return Sender(plan.name, serve_name(application))
