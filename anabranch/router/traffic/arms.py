"""The request path of a graph: from a decoded request to an answer by one of its revisions.

A request goes by the routing table that was in force when it came, to its end. A new table takes
the place of the old one in a single step; revisions that stay keep their heads, and what was
counted of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from typing import Any

from anabranch.access.guard import Guard
from anabranch.access.limits import LimitsByCaller
from anabranch.access.table import OPEN, AccessTable
from anabranch.components.contract import NodeFeedback
from anabranch.components.weights import DRAW, Draw
from anabranch.errors import NotFound
from anabranch.router.admission.admission import Admission
from anabranch.router.admission.ceiling import FEWEST
from anabranch.router.admission.offline import OfflineTurns, is_offline
from anabranch.router.inference.contract import (
    Head,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
)
from anabranch.router.inference.core import InferenceCore
from anabranch.router.limits import BytesUnderWay, ConcurrencyLimit, RequestLimits
from anabranch.router.measure.tally import Judged, Report, Tally, keep_latest
from anabranch.router.request_log.recording import RequestLogs
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.chosen_arm import ChosenArm
from anabranch.router.traffic.decisions import Decision, Made
from anabranch.router.traffic.explaining import Explainers, ExplainersOf, nothing_explains
from anabranch.router.traffic.mirror import Mirrors
from anabranch.router.traffic.routing import Routing
from anabranch.router.traffic.samples import Samples
from anabranch.router.traffic.stages.compose import Arm, SharedParts
from anabranch.router.traffic.stages.contract import Answer, Encode
from anabranch.router.traffic.teaching import Teaching
from anabranch.specs.models import ProtocolName
from anabranch.telemetry.sampling import UNTRACED, Sampler


class Arms:
    """The revisions of a graph that one router reaches; ``apply`` a table before the first request.

    ``heads`` gives the head of a revision, ``draw`` numbers of at least 0 and below 1.
    What large requests hold counts in that of the ``process`` too, which graphs may share. Only
    requests that were routed count in an arm's tally, not those to a revision by its number.
    ``fewest``: so many are let in even under overload. ``guard`` decides who may ask; without one,
    everybody may. ``everywhere`` are the protocols that the engine turns on for every graph.
    """

    def __init__(
        self,
        graph: str,
        heads: Callable[[int], Head],
        limits: RequestLimits,
        draw: Draw = DRAW,
        explainers: ExplainersOf = nothing_explains,
        samples: Samples | None = None,
        sampler: Sampler = UNTRACED,
        logs: RequestLogs | None = None,
        process: BytesUnderWay | None = None,
        fewest: int = FEWEST,
        guard: Guard | None = None,
        everywhere: Iterable[ProtocolName] = (),
    ) -> None:
        self.name = graph
        self.guard = guard or Guard(OPEN, graph)
        """Who may ask; adapters ask it."""
        self.sampler = sampler
        """Which requests are traced; adapters ask it."""
        self.limits = limits
        self.gate = Admission(graph, limits.max_ongoing, fewest)
        """Adapters hold a place from before they decode a request until its reply is encoded."""
        self._offline = OfflineTurns(self.gate)
        self.explain_gate = ConcurrencyLimit(
            max(1, limits.max_ongoing // 4), "may wait for explanations"
        )
        """Held by requests while they wait for an explanation, so that predictions have places."""
        self.under_way = BytesUnderWay(limits.max_under_way, f"graph {graph!r}", process)
        """What large requests hold; adapters count it."""
        self._everywhere = frozenset(everywhere)
        self._heads = heads
        self._explainers_of = explainers
        self._samples = samples or Samples(limits)
        self._logs = logs
        self._tallies: dict[int, Tally] = {}
        self._mirrors = Mirrors(limits)
        self._teaching = Teaching()
        self.made = Made()
        """The decisions of late, for the rewards that are to come."""
        # What hangs in others must not use up the places of the stable revision.
        guests = ConcurrencyLimit(
            max(1, limits.max_ongoing * 3 // 4), "may be at others than the stable revision"
        )
        self._shared = SharedParts(
            guests, self.explain_gate, self.made, self._mirrors, self._samples, draw
        )
        self._arms: Mapping[int, Arm] = {}
        self.routing: Routing
        """The routing in force now, once there is a table."""
        self._limits: LimitsByCaller | None = None
        self._routers = 1

    def apply(self, table: RoutingTable) -> None:
        """Put a table in force; if it cannot be used, raise and leave the old one."""
        before = self._arms
        arms = {
            number: before.get(number) or self._arm(table, number) for number in table.revisions
        }
        self.routing = Routing(table, arms, self._shared)
        self._arms = arms
        self.share(table.routers)
        self._retire([arm for number, arm in before.items() if number not in arms])
        keep_latest(self._tallies, arms)
        self._mirrors.keep(table.mirrors)

    def share(self, routers: int) -> None:
        """Have a share of the limits of callers, as one of so many routers of the graph."""
        self._routers = routers
        self.gate.limit_callers(self._limits, routers)

    def admit_by(self, table: AccessTable) -> None:
        """Put an access table in force: who may ask, and how much."""
        self.guard.apply(table)
        self._limits = table.limits_at(self.name)
        self.share(self._routers)

    async def take_access(self, table: AccessTable) -> None:
        """Put an access table in force, as followers do."""
        self.admit_by(table)

    def _arm(self, table: RoutingTable, number: int) -> Arm:
        signature = table.revisions[number]
        core = InferenceCore(self.name, signature, self._heads(number), number, self.limits)
        explainers = Explainers(core, signature.explainers, self._explainers_of(number))
        tally = self._tallies.setdefault(number, Tally())
        log = None if self._logs is None else self._logs.of(number, signature)
        return Arm(core, tally, explainers, signature.routers, log)

    def _retire(self, gone: Iterable[Arm]) -> None:
        for arm in gone:
            if self._logs is not None and arm.log is not None:
                self._logs.retire(arm.log)

    def infer(
        self,
        request: InferenceRequest,
        encode: Encode[Answer],
        revision: int | str | None = None,
    ) -> Coroutine[Any, Any, tuple[InferenceResponse, Answer]]:
        """Answer a request, by the revision that its number or else the table says.

        The result is the response, and the bytes that ``encode`` makes of it. To encode is a part
        of the answer, so that an arm whose outputs the protocol cannot carry is charged with it.
        Raises as ``InferenceCore`` does, and NotFound for a revision that is
        not there.
        """
        if self.gate.has_queue:
            self._confirm(request)
        work = self.routing.way(request, revision).infer(request, encode)
        if request.parameters and is_offline(request.parameters):
            return self._offline.run(work)
        return work

    async def explain(
        self,
        request: InferenceRequest,
        revision: int | str | None = None,
    ) -> bytes:
        """Explain a request, in JSON, by an explainer of the revision that ``infer`` would choose.

        The caller holds a place of ``explain_gate``. Raises as ``infer`` does.
        """
        routing = self.routing
        number = routing.choose(request) if revision is None else revision
        return await routing.arm(number).explainers.explain(request)

    def stream(
        self,
        request: InferenceRequest,
        revision: int | str | None = None,
    ) -> AsyncGenerator[InferenceResponse, None]:
        """Answer as ``infer`` does, response after response; close the iterator to end it early.

        A graph that does not stream gives one response. No copy goes to mirrors: what they would
        be compared with is there only at the end.
        """
        return self.choose(request, revision).stream(request)

    def choose(
        self,
        request: InferenceRequest,
        revision: int | str | None = None,
    ) -> ChosenArm:
        """Choose the revision of a call, once for all of its evaluations.

        Raises as ``infer`` does before it evaluates.
        """
        if self.gate.has_queue:
            self._confirm(request)
        core, way = self.routing.chosen(request, revision)
        return ChosenArm(core, way, self.gate.meter(request.caller))

    def _confirm(self, request: InferenceRequest) -> None:
        """Raise Unavailable if a request should not wait for the others before it."""
        parameters = request.parameters
        self.gate.confirm(parameters, self.routing.stable.core.seconds(parameters))

    def rewarded(self, decision: Decision, reward: float | None, judged: Judged | None) -> None:
        """Count a reward for a decision; None for one that came again.

        Of a revision that this router has never known, or not for long, nothing is counted.
        """
        tally = self._tallies.get(decision.revision)
        if tally is None:
            return
        if reward is None:
            tally.repeated += 1
        else:
            tally.reward(reward, judged, decision.picks)

    def teach(self, revision: int, given: NodeFeedback) -> None:
        """Hand a reward to the components and the log of a revision, if it still runs.

        Do not wait for that.
        """
        arm = self.routing.arms.get(revision)
        if arm is not None and arm.log is not None:
            arm.log.rewarded(given)
        if arm is not None:
            self._teaching.send(arm.core.feedback, given)

    def metadata(self, revision: int | str | None = None) -> ModelMetadata:
        """Describe a revision; without a number the stable one, and say which ones there are."""
        routing = self.routing
        if revision is not None:
            return routing.arm(revision).core.metadata()
        return routing.stable.core.metadata(routing.versions)

    def check_ready(self, revision: int | str | None = None) -> None:
        """Raise Unavailable where an output of a revision cannot be computed; of the stable one."""
        self.routing.arm(revision).core.check_ready()

    @property
    def protocols(self) -> tuple[ProtocolName, ...]:
        """Protocols over which the graph answers by its stable revision, beside Open Inference."""
        return self.routing.stable.core.protocols

    def takes(self, protocol: ProtocolName) -> bool:
        """Return whether the graph answers over a protocol: its own, or one of all graphs."""
        return protocol in self._everywhere or protocol in self.protocols

    def check_protocol(self, protocol: ProtocolName) -> None:
        """Raise NotFound for a protocol over which the graph does not answer."""
        if not self.takes(protocol):
            raise NotFound(
                f"graph {self.name!r} does not answer over protocol {protocol!r}; "
                f"its spec turns it on by `protocols: [{protocol}]`"
            )

    def explainers(self, revision: int | str | None = None) -> tuple[str, ...]:
        """The explainers of a revision, without a number of the stable one."""
        return self.routing.arm(revision).explainers.names

    def report(self) -> Report:
        """All that was counted so far: the sums themselves, which go on growing."""
        return Report(self._tallies, self._mirrors.tallies)

    async def close(self) -> None:
        """Cancel the copies that are on their way to mirrors and explainers."""
        await self._mirrors.close()
        await self._samples.close()
        await self._teaching.close()
