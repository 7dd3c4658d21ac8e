"""The request path of a graph: from a decoded request to an answer by one of its revisions.

A request goes by the routing table that was in force when it came, to its end. A new table takes
the place of the old one in a single step; revisions that stay keep their heads, and what was
counted of them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import TypeVar

from anabranch.components.weights import DRAW, Draw
from anabranch.errors import InvalidRequest, NotFound, RequestError
from anabranch.graph.explain.answers import NoExplainer
from anabranch.router.core import (
    Head,
    InferenceCore,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
)
from anabranch.router.limits import ConcurrencyLimit, RequestLimits
from anabranch.router.measure.sketch import observe
from anabranch.router.measure.tally import Judged, Report, Tally, keep_latest
from anabranch.router.request_log.recording import ArmLog, RequestLogs
from anabranch.router.table import RoutingTable
from anabranch.router.tracing import below
from anabranch.router.traffic.decisions import ROUTING, Decision, Made, decided
from anabranch.router.traffic.decisions import routing as routing_of
from anabranch.router.traffic.explaining import EXPLAIN, Explainers, ExplainersOf, nothing_explains
from anabranch.router.traffic.explaining import beside as explained_beside
from anabranch.router.traffic.mirror import HEADER, Mirrors
from anabranch.router.traffic.samples import Samples
from anabranch.router.traffic.split import Split
from anabranch.specs.models import Compare
from anabranch.telemetry.sampling import UNTRACED, Sampler

Answer = TypeVar("Answer")
Encode = Callable[[InferenceResponse], Answer]
"""A protocol's encoder."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A revision that can be reached, and what is counted of it."""

    core: InferenceCore
    tally: Tally
    explainers: Explainers
    routers: Collection[str] = ()
    """Nodes that pick a route."""
    log: ArmLog | None = None
    """Where its requests are logged."""


class Routing:
    """One routing table, ready to be asked. Raises ValueError for one that cannot be used."""

    def __init__(self, table: RoutingTable, arms: Mapping[int, Arm], draw: Draw) -> None:
        lacking = {table.stable, *table.weights, *table.mirrors} - arms.keys()
        if lacking:
            raise ValueError(f"the table lacks the signatures of revisions {sorted(lacking)}")
        self.table = table
        self.arms = arms
        self.stable = arms[table.stable]
        self.split = Split(table, draw)
        self.rule = table.policy.compare or Compare()
        self.sketch = table.sketch
        self.versions = tuple(str(number) for number in sorted(arms))
        self._splits = len(table.weights) > 1

    def arm(self, revision: int | str) -> Arm:
        """The arm of a revision; NotFound if there is none."""
        found = self.arms.get(int(revision)) if str(revision) in self.versions else None
        if found is None:
            raise NotFound(
                f"graph {self.table.graph!r} has no revision {str(revision)[:64]!r} that runs "
                f"(there are: {', '.join(self.versions)})"
            )
        return found

    def choose(self, request: InferenceRequest) -> int:
        """The revision that the table says."""
        number = self.split.only
        if number is None:
            number = self.split.choose(request.headers, request.parameters, request.known_as)
        return number

    def decides(self, arm: Arm) -> bool:
        """Whether there was something to decide about a request that the arm answered."""
        return self._splits or bool(arm.routers)

    def is_to_blame(self, arm: Arm, request: InferenceRequest, error: Exception) -> bool:
        """Whether an error is the arm's and not the caller's.

        A request that the stable revision would have taken is no mistake of the caller.
        """
        if not isinstance(error, RequestError):
            return True
        if isinstance(error, NoExplainer):
            return False
        is_wrong = isinstance(error, InvalidRequest) and arm is not self.stable
        return is_wrong and self.stable.core.takes(request)


class Arms:
    """The revisions of a graph that one router reaches; ``apply`` a table before the first request.

    ``heads`` gives the head of a revision, ``draw`` numbers of at least 0 and below 1. Only
    requests that were routed count in an arm's tally, not those to a revision by its number.
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
    ) -> None:
        self.name = graph
        self.sampler = sampler
        """Which requests are traced; adapters ask it."""
        self.limits = limits
        self.gate = ConcurrencyLimit(limits.max_ongoing)
        """Adapters hold it from before they read a request's body until its reply is encoded."""
        # What hangs in others must not use up the places of the stable revision.
        self._guests = ConcurrencyLimit(
            max(1, limits.max_ongoing * 3 // 4), "may be at others than the stable revision"
        )
        self.explain_gate = ConcurrencyLimit(
            max(1, limits.max_ongoing // 4), "may wait for explanations"
        )
        """Held by requests while they wait for an explanation, so that predictions have places."""
        self._heads = heads
        self._reach = explainers
        self._samples = samples or Samples(limits)
        self._draw = draw
        self._logs = logs
        self._tallies: dict[int, Tally] = {}
        self._mirrors = Mirrors(limits)
        self.made = Made()
        """The decisions of late, for the rewards that are to come."""
        self._routing: Routing | None = None

    @property
    def routing(self) -> Routing:
        """What is in force now."""
        assert self._routing is not None, "no table yet"
        return self._routing

    def apply(self, table: RoutingTable) -> None:
        """Put a table in force; if it cannot be used, raise and leave the old one."""
        before = self._routing.arms if self._routing else {}
        arms = {
            number: before.get(number) or self._arm(table, number) for number in table.revisions
        }
        self._routing = Routing(table, arms, self._draw)
        self._retire([arm for number, arm in before.items() if number not in arms])
        keep_latest(self._tallies, arms)
        self._mirrors.keep(table.mirrors)

    def _arm(self, table: RoutingTable, number: int) -> Arm:
        signature = table.revisions[number]
        core = InferenceCore(self.name, signature, self._heads(number), number)
        explainers = Explainers(core, signature.explainers, self._reach(number))
        tally = self._tallies.setdefault(number, Tally())
        log = None if self._logs is None else self._logs.of(number, signature)
        return Arm(core, tally, explainers, signature.routers, log)

    def _retire(self, gone: Iterable[Arm]) -> None:
        for arm in gone:
            if self._logs is not None and arm.log is not None:
                self._logs.retire(arm.log)

    async def infer(
        self,
        request: InferenceRequest,
        encode: Encode[Answer],
        revision: int | str | None = None,
    ) -> Answer:
        """Answer a request, by the revision that its number or else the table says.

        ``encode`` is a part of the answer, so that an arm whose outputs the protocol cannot carry
        is charged with it. Raises as ``InferenceCore`` does, and NotFound for a revision that is
        not there.
        """
        routing = self.routing
        if revision is not None:
            arm = routing.arm(revision)
            return (await self._answered(routing, arm, request, encode))[1]
        number = routing.choose(request)
        explainers = routing.arms[number].explainers
        names = self._samples.drawn(explainers, self._draw) if explainers.shares else ()
        if not names or HEADER in request.headers:
            return await self._routed(routing, number, request, encode)
        with self._samples.kept(request) as copy:
            answer = await self._routed(routing, number, request, encode)
        self._samples.send(explainers, names, copy)
        return answer

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

    async def _routed(
        self,
        routing: Routing,
        number: int,
        request: InferenceRequest,
        encode: Encode[Answer],
    ) -> Answer:
        if routing.split.mirrored and HEADER not in request.headers:
            return await self._mirrored(routing, number, request, encode)
        arm = routing.arms[number]
        return (await self._counted(routing, arm, request, encode))[1]

    async def _mirrored(
        self,
        routing: Routing,
        number: int,
        request: InferenceRequest,
        encode: Encode[Answer],
    ) -> Answer:
        """Answer by revision ``number``, then send copies to the mirrors that the draw picks."""
        arm, mirrors = routing.arms[number], self._mirrors
        chosen = {n: routing.arms[n].core for n in routing.split.mirrors(number)}
        if not chosen:
            return (await self._counted(routing, arm, request, encode))[1]
        with mirrors.kept(request) as copy:
            found = await self._counted(routing, arm, request, encode)
        response, answer = found
        mirrors.send(chosen, copy, response, routing.rule)
        return answer

    async def _counted(
        self,
        routing: Routing,
        arm: Arm,
        request: InferenceRequest,
        encode: Encode[Answer],
    ) -> tuple[InferenceResponse, Answer]:
        started = time.perf_counter()
        try:
            response, answer = await self._answered(routing, arm, request, encode)
        except Exception as error:
            if routing.is_to_blame(arm, request, error):
                arm.tally.fail(type(error).__name__, time.perf_counter() - started)
            raise
        arm.tally.record(response.seconds)
        _look(routing, arm, response)
        return response, answer

    async def _answered(
        self,
        routing: Routing,
        arm: Arm,
        request: InferenceRequest,
        encode: Encode[Answer],
    ) -> tuple[InferenceResponse, Answer]:
        """Evaluate a request, and log it where that is asked for and it is drawn."""
        log = arm.log
        entry = None if log is None else log.begin(request)
        if log is None or entry is None:
            response = await self._evaluate(routing, arm, request)
            return response, encode(response)
        try:
            response = await self._evaluate(routing, arm, request)
            answer = encode(response)
        except Exception as error:
            log.failed(entry, error)
            raise
        log.answered(entry, response)
        return response, answer

    async def _evaluate(
        self,
        routing: Routing,
        arm: Arm,
        request: InferenceRequest,
    ) -> InferenceResponse:
        if EXPLAIN not in request.parameters:
            return await self._predicted(routing, arm, request)
        others = None if arm is routing.stable else routing.stable.explainers
        explanation = explained_beside(arm.explainers, others, request, self.explain_gate)
        with explanation as told:
            response = await self._predicted(routing, arm, request)
            response.parameters |= await told()
        return response

    async def _predicted(
        self,
        routing: Routing,
        arm: Arm,
        request: InferenceRequest,
    ) -> InferenceResponse:
        if request.trace is None:
            response = await self._asked(routing, arm, request)
        else:
            with below(request, f"arm r{arm.core.version}", revision=arm.core.revision):
                response = await self._asked(routing, arm, request)
        if routing.decides(arm):
            self._decided(arm, response, request)
        return response

    async def _asked(
        self,
        routing: Routing,
        arm: Arm,
        request: InferenceRequest,
    ) -> InferenceResponse:
        if arm is routing.stable:
            return await arm.core.infer(request)
        with self._guests:
            return await arm.core.infer(request)

    def _decided(self, arm: Arm, response: InferenceResponse, request: InferenceRequest) -> None:
        """Remember what was decided about a request, and tell it in the answer; 1 to 2 us."""
        decision = decided(request.known_as, arm.core.revision, response.path)
        response.parameters[ROUTING] = routing_of(decision)
        self.made.add(decision, response.outputs)

    async def stream(
        self,
        request: InferenceRequest,
        revision: int | str | None = None,
    ) -> AsyncGenerator[InferenceResponse, None]:
        """Answer as ``infer`` does, response after response; close the iterator to end it early.

        A graph that does not stream gives one response. No copy goes to mirrors: what they would
        be compared with is there only at the end.
        """
        if EXPLAIN in request.parameters:
            raise InvalidRequest(
                f"parameter {EXPLAIN!r} is for infer, whose reply comes whole; ask infer or explain"
            )
        routing = self.routing
        routed = revision is None
        number = routing.choose(request) if revision is None else revision
        arm = routing.arm(number)
        started = time.perf_counter()
        seconds = None
        responses = self._stream(routing, arm, request)
        entry = None if arm.log is None else arm.log.begin(request)
        if arm.log is not None and entry is not None:
            responses = arm.log.followed(entry, responses)
        try:
            async with aclosing(responses) as it:
                async for response in it:
                    seconds = response.seconds
                    if routed:
                        _look(routing, arm, response)
                    yield response
        except Exception as error:
            if routed and routing.is_to_blame(arm, request, error):
                arm.tally.fail(type(error).__name__, time.perf_counter() - started)
            raise
        if routed:
            arm.tally.record(time.perf_counter() - started if seconds is None else seconds)

    async def _stream(
        self,
        routing: Routing,
        arm: Arm,
        request: InferenceRequest,
    ) -> AsyncGenerator[InferenceResponse, None]:
        with ExitStack() as held:
            held.enter_context(
                below(request, f"arm r{arm.core.version}", revision=arm.core.revision)
            )
            if arm is not routing.stable:
                held.enter_context(self._guests)
            untold = routing.decides(arm)
            async with aclosing(arm.core.stream(request)) as responses:
                async for response in responses:
                    if untold:
                        self._decided(arm, response, request)
                        untold = False
                    yield response

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

    def metadata(self, revision: int | str | None = None) -> ModelMetadata:
        """Describe a revision; without a number the stable one, and say which ones there are."""
        routing = self.routing
        if revision is not None:
            return routing.arm(revision).core.metadata()
        return routing.stable.core.metadata(routing.versions)

    def explainers(self, revision: int | str | None = None) -> tuple[str, ...]:
        """The explainers of a revision, without a number of the stable one."""
        routing = self.routing
        arm = routing.stable if revision is None else routing.arm(revision)
        return arm.explainers.names

    def report(self) -> Report:
        """All that was counted so far: the sums themselves, which go on growing."""
        return Report(self._tallies, self._mirrors.tallies)

    async def close(self) -> None:
        """Cancel the copies that are on their way to mirrors and explainers."""
        await self._mirrors.close()
        await self._samples.close()


def _look(routing: Routing, arm: Arm, response: InferenceResponse) -> None:
    """Note the distribution of outputs, where a rollout judges it."""
    if routing.sketch:
        for output in response.outputs:
            observe(arm.tally.outputs, output.name, output.array)
