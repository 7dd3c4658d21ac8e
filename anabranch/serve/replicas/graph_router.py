"""One router of a graph: its sockets, its table, and what it counts; alone in a process or not."""

from __future__ import annotations

import asyncio
from functools import partial

from anabranch.access.guard import Guard
from anabranch.access.table import CLOSED
from anabranch.router.addresses import Reach, RouterAddress
from anabranch.router.admission.admission import Admission
from anabranch.router.following import Follower
from anabranch.router.grpc.lean_calls import LeanCalls, beside
from anabranch.router.grpc.servers import RouterServer
from anabranch.router.http.doors.engine_protocols import engine_protocols
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.http.listening import MANY_HANDLES, LeanServer
from anabranch.router.limits import BytesUnderWay, RequestLimits
from anabranch.router.measure.metrics import Metrics
from anabranch.router.request_log.recording import RequestLogs
from anabranch.router.request_log.settings import LogSettings
from anabranch.router.traffic.arms import Arms
from anabranch.router.traffic.feedback import Feedback
from anabranch.router.traffic.polling import RouterSync
from anabranch.router.traffic.samples import Samples, counted_samples
from anabranch.serve.calls.controller import ControllerSource
from anabranch.serve.calls.explanations import RemoteExplainers
from anabranch.serve.calls.remote_head import Heads
from anabranch.serve.node import forget, node_id, own_listeners, own_places
from anabranch.serve.replicas.head import HostedHead
from anabranch.serve.scaling.scaling import fewest_let_in

_FAREWELL_S = 0.2
"""Time for requests that were sent before all knew that the router goes."""
_ACCEPT_S = 0.05
"""Time to accept the connections that wait for it."""


class GraphRouter:
    """A router of ``graph`` that carries ``revision``, whose head is ``hosted``.

    ``replica`` is a name that no other router of the graph has, or has had; ``process`` counts the
    bytes under way of all routers in this process, where there may be several.
    """

    def __init__(
        self,
        graph: str,
        revision: int,
        hosted: HostedHead,
        limits: RequestLimits,
        replica: str,
        process: BytesUnderWay | None = None,
    ) -> None:
        self._timeout = hosted.plan.timeout
        self.source = ControllerSource(graph, replica)
        heads = Heads(graph, revision, hosted.head)
        samples = Samples(limits, counted_samples(graph))
        self._logs = RequestLogs(graph, replica, LogSettings.from_env())
        self._arms = Arms(
            graph, heads, limits, explainers=partial(RemoteExplainers, graph), samples=samples,
            sampler=hosted.sampler(), logs=self._logs, process=process,
            fewest=fewest_let_in(segment.scaling for segment in hosted.plan.segments),
            guard=Guard(CLOSED, graph, renew=self.source.renew_keys), everywhere=engine_protocols(),
        )  # fmt: skip
        hosted.keep_room(self._arms.gate)
        self._metrics = Metrics(graph)
        self._sync = RouterSync(self._arms, self.source, self._metrics)
        self._access = Follower(
            f"access table of graph {graph!r}", self.source.access, self._arms.take_access
        )
        feedback = Feedback(self._arms, self.source)
        self._grpc = RouterServer(self._arms, feedback)
        app = GraphApp(self._arms, feedback, self.source)
        handles = MANY_HANDLES if process is None else 1
        self.http = LeanServer(beside(app, LeanCalls(self._arms)), handles, self.gate)
        self._reach = Reach()

    @property
    def gate(self) -> Admission:
        """What counts the requests in progress."""
        return self._arms.gate

    async def start(self) -> None:
        """Answer, once there is a table to answer by."""
        places = own_places()
        await self._grpc.start(places.path(), places.host)
        listeners, self._reach = own_listeners(places)
        for one in listeners:
            await self.http.listen(*one)
        await self._access.begin()
        await self._sync.start()
        # Not before there is a table, and before the next poll, which tells it: nothing is awaited
        # in between.
        self.source.address = RouterAddress(
            Reach(node_id(), self._grpc.near, self._grpc.far), self._reach
        )

    async def close(self) -> None:
        """Leave, let requests end, and tell what was counted."""
        await self.source.leave()
        await self._end_requests()
        await asyncio.gather(self._sync.close(), self._access.close())
        await self.source.leave()  # polls have told of this router since
        await asyncio.to_thread(self._logs.close)
        self._metrics.flush(self._arms.report())

    async def _end_requests(self) -> None:
        """Let requests end, those too that were on their way when the router left.

        A socket without a file takes no connection more; those that wait are accepted before it is
        closed, which would reset them.
        """
        await asyncio.sleep(_FAREWELL_S)
        forget(self._reach)
        await asyncio.sleep(_ACCEPT_S)
        await asyncio.gather(self.http.close(self._timeout), self._grpc.stop(self._timeout))
