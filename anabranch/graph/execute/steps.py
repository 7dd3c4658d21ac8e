"""The steps of a schedule: run a node, follow a router's pick, call another segment.

``inline`` runs a step at once, where nothing leaves the loop; ``begin`` starts it within a
``Run``, leaving a value or a task in the step's slot.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from anabranch.components.contract import Context
from anabranch.graph.calls.counts import Counts, NodeCounts
from anabranch.graph.calls.lanes import Lane, clock
from anabranch.graph.calls.pace import SLOW
from anabranch.graph.calls.values import UNSET, Convert, Skipped, identity
from anabranch.graph.calls.watch import WATCH
from anabranch.graph.execute.policy import FAILURES, RecoveryPolicy
from anabranch.graph.execute.run import Frame, Run, Schedule
from anabranch.pulse import PULSE
from anabranch.telemetry.logs import NODE
from anabranch.telemetry.trace import Trace
from anabranch.telemetry.tracing import SpanRecording

Invoke = Callable[[Frame, Context], Any]
# A method of what is imported, and a function in an attribute, are looked up anew by each call.
_set_node = NODE.set


class NodeStep:
    """Runs a component in this process. A router's decision is one too."""

    leaves = False

    def __init__(
        self,
        slot: int,
        needs: Sequence[int],
        invoke: Invoke,
        finish: Convert,
        lane: Lane,
        policy: RecoveryPolicy | None,
        about: Mapping[str, str],
        counts: NodeCounts | None = None,
    ) -> None:
        self.slot = slot
        self._about = about
        self._counts = counts
        self.needs = tuple(needs)
        self._invoke = invoke
        self._finish = finish
        self._lane = lane
        self._node = lane.node
        self._number = lane.number
        self._pace = lane.pace
        self._policy = policy
        self.leaves = lane.is_async

    @property
    def is_quick(self) -> bool:
        """Whether the component runs on the loop."""
        return self._lane.inline

    def done(self, frame: Frame) -> bool:
        """True once the node has run or is running."""
        return frame[self.slot] is not UNSET

    def inline(self, frame: Frame, context: Context) -> None:
        """Run the component here and now."""
        _set_node(self._node)
        invoke = self._invoke if context.trace is None else self._recorded
        finish = self._finish
        watch = WATCH
        if not watch.awake:
            watch.wake()
        PULSE.called[0] = self._number
        started = watch.since = clock()
        watch.lane = self._lane
        try:
            frame[self.slot] = finish(invoke(frame, context))
        except BaseException as error:
            found = self._lane.error(error)
            if self._counts is not None and context.is_traffic:
                self._counts.failed(found)
            raise found from error
        finally:
            watch.lane = None
            now = clock()
            seconds = now - started
            if seconds > SLOW or self._pace.was_slow:
                self._lane.note(seconds, now)
        counts = self._counts
        if counts is not None and context.is_traffic:
            counts.duration.observe(seconds)
            if context.trace is not None:
                counts.witness(seconds, context.trace)

    def begin(self, run: Run) -> None:
        """Run the component at once if it may and can, else as a task."""
        if not self._lane.inline or run.pending(self.needs):
            run.frame[self.slot] = run.spawn(self.later(run))
        elif self._policy is None:
            self.inline(run.frame, run.context)
        else:
            self._try(self._policy, run)

    def _try(self, policy: RecoveryPolicy, run: Run) -> None:
        """Run the component at once; only what is done about a failure needs a task."""
        policy.began()
        try:
            self.inline(run.frame, run.context)
        except FAILURES as error:
            again = policy.recover(error, lambda: self._attempt(run), run)
            run.frame[self.slot] = run.spawn(again)

    async def later(self, run: Run) -> Any:
        """Return the value of the component once its inputs are there."""
        await run.settle(self.needs)
        if self._policy is None:
            return await self._attempt(run)
        return await self._policy.apply(lambda: self._attempt(run), run)

    async def _attempt(self, run: Run) -> Any:
        frame, context = run.frame, run.context
        NODE.set(self._node)
        if context.trace is not None:
            return await self._recorded_attempt(frame, context, context.trace)
        return await self._called(lambda: self._invoke(frame, context), context)

    async def _called(self, invoke: Callable[[], Any], context: Context) -> Any:
        counts = self._counts if context.is_traffic else None
        return await self._lane.call(invoke, self._finish, counts, context)

    def _recording(self, trace: Trace) -> SpanRecording:
        return SpanRecording(trace, f"node {self._node}", dict(self._about))

    def _recorded(self, frame: Frame, context: Context) -> Any:
        """Invoke the component for a request that is traced."""
        assert context.trace is not None
        with self._recording(context.trace) as recording:
            return self._invoke(frame, replace(context, trace=recording.trace))

    async def _recorded_attempt(self, frame: Frame, context: Context, trace: Trace) -> Any:
        with self._recording(trace) as recording:
            within = replace(context, trace=recording.trace)

            def invoke() -> Any:
                if not self._lane.is_async:
                    recording.waited(f"queue {self._node}", self._about)
                return self._invoke(frame, within)

            return await self._called(invoke, within)


@dataclass(frozen=True)
class Branch:
    """One route of a router: where its value comes from, and how it becomes the router's."""

    slot: int
    schedule: Schedule
    convert: Convert


class JoinStep:
    """Evaluates the branch that a router has picked and takes over its value."""

    leaves = False
    is_quick = False

    def __init__(
        self,
        router: str,
        slot: int,
        pick: int,
        branches: Mapping[str, Branch],
        counts: Counts | None = None,
    ) -> None:
        self.slot = slot
        self._counts = counts
        self._router = router
        self._pick = pick
        self.needs: tuple[int, ...] = (pick,)
        self._branches = branches

    def done(self, frame: Frame) -> bool:
        """True once the branch was evaluated or is under way."""
        return frame[self.slot] is not UNSET

    def inline(self, frame: Frame, context: Context) -> None:
        """Evaluate the branch here and now."""
        if isinstance(frame[self._pick], Skipped):
            frame[self.slot] = frame[self._pick]
            return
        branch = self._taken(frame[self._pick], context)
        for step in branch.schedule():
            if frame[step.slot] is UNSET:
                step.inline(frame, context)
        frame[self.slot] = branch.convert(frame[branch.slot])

    def begin(self, run: Run) -> None:
        """Begin the branch; a task is needed only where something is still being made."""
        frame = run.frame
        if isinstance(frame[self._pick], Future):
            frame[self.slot] = run.spawn(self._later(run))
            return
        if isinstance(frame[self._pick], Skipped):
            frame[self.slot] = frame[self._pick]
            return
        branch = self._taken(frame[self._pick], run.context)
        run.begin(branch.schedule())
        value = frame[branch.slot]
        if not isinstance(value, Future):
            frame[self.slot] = branch.convert(value)
        elif branch.convert is identity:
            frame[self.slot] = value
        else:
            frame[self.slot] = run.spawn(self._converted(run, branch))

    def _taken(self, pick: str, context: Context) -> Branch:
        """The branch of a pick, which goes into the record of the request."""
        context.path[self._router] = pick
        if self._counts is not None and context.is_traffic:
            self._counts.routed(self._router, pick)
        return self._branches[pick]

    async def _later(self, run: Run) -> Any:
        pick = await run.value(self._pick)
        if isinstance(pick, Skipped):
            return pick
        branch = self._taken(pick, run.context)
        run.begin(branch.schedule())
        return await self._converted(run, branch)

    async def _converted(self, run: Run, branch: Branch) -> Any:
        return branch.convert(await run.value(branch.slot))


class SegmentGate(Protocol):
    """Decides whether the only node of another segment is skipped."""

    @property
    def slots(self) -> tuple[int, ...]:
        """Slots that it looks at."""

    def absence(self, frame: Frame) -> Skipped | None:
        """Return why the node is skipped; None where it runs."""


class RemoteStep:
    """Calls another segment for the values of some of its vertices, all in one call."""

    leaves = True
    is_quick = False

    def __init__(
        self,
        call: Callable[..., Coroutine[Any, Any, Mapping[str, Any]]],
        wants: Mapping[str, int],
        needs: Mapping[str, int],
        policy: RecoveryPolicy | None,
        gate: SegmentGate | None = None,
    ) -> None:
        self.slot = next(iter(wants.values()))
        self._call = call
        self._wants = wants
        self._sources = needs
        self.needs = (*needs.values(), *(() if gate is None else gate.slots))
        self._policy = policy
        self._gate = gate

    def done(self, frame: Frame) -> bool:
        """True once every wanted value is there or on its way."""
        for slot in self._wants.values():  # noqa: SIM110 - a generator would be made for each step
            if frame[slot] is UNSET:
                return False
        return True

    def inline(self, frame: Frame, context: Context) -> None:
        """Never called: a graph with remote segments does not run inline."""
        raise AssertionError("a remote segment cannot be evaluated inline")

    def begin(self, run: Run) -> None:
        """Start the call; what the segment gave for this request before is handed back to it."""
        wants, needs, frame = self._wants, self._sources, run.frame
        known = {name: slot for name, slot in wants.items() if frame[slot] is not UNSET}
        if known:
            wants = {name: slot for name, slot in wants.items() if name not in known}
            needs = {**needs, **known}
        run.call(self._later(run, tuple(wants), needs), wants)

    async def _later(
        self, run: Run, wants: tuple[str, ...], needs: Mapping[str, int]
    ) -> Mapping[str, Any]:
        await run.settle(tuple(needs.values()))
        if self._gate is not None:
            await run.settle(self._gate.slots)
            absence = self._gate.absence(run.frame)
            if absence is not None:
                return dict.fromkeys(wants, absence)
        values = {name: run.frame[slot] for name, slot in needs.items()}

        def attempt() -> Coroutine[Any, Any, Mapping[str, Any]]:
            return self._call(values, wants, run.context)

        if self._policy is None:
            return await attempt()
        found: Mapping[str, Any] = await self._policy.apply(attempt, run)
        return found
