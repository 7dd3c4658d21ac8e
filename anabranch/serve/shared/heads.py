"""Heads of a shared model's revisions in a process that uses the model.

A model's graph has one node, in a segment; its head has no component, and so costs nothing in the
user's process but the policy of the node: a call is one hop, to a replica of the model.
"""

from __future__ import annotations

from collections.abc import Collection
from weakref import WeakValueDictionary

from anabranch.graph.calls.counts import Counts
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.plan.plan import Plan
from anabranch.router.table import app_name
from anabranch.router.traffic.local_head import LocalHead
from anabranch.serve.calls.membership import ServeMembership
from anabranch.serve.calls.remote_head import closed_with
from anabranch.serve.calls.remote_segment import RemoteSegment, longest_call
from anabranch.serve.calls.replica_calls import ReplicaCalls
from anabranch.serve.calls.secret import call_secret
from anabranch.serve.export.multiplexed_models import parameter_of
from anabranch.specs.shared.document import NODE


class ModelHeads:
    """Heads of the revisions of the shared model ``name``, whose plans are told beforehand.

    It must be called on the loop that makes the calls.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._plans: dict[int, Plan] = {}
        self.live: WeakValueDictionary[int, ModelHead] = WeakValueDictionary()
        """The heads that are in use, by revision."""

    def lacking(self, revisions: Collection[int]) -> list[int]:
        """Return the revisions whose plans are not known; forget those of all others."""
        self._plans = {number: plan for number, plan in self._plans.items() if number in revisions}
        return sorted(set(revisions) - self._plans.keys())

    def learn(self, revision: int, plan: Plan) -> None:
        """Take the plan of a revision."""
        self._plans[revision] = plan

    def __call__(self, revision: int) -> ModelHead:
        """The head of a revision, whether or not its replicas are there yet."""
        plan = self._plans[revision]
        shown = f"{self._name}.r{revision}"
        membership = ServeMembership(shown, NODE, app_name(self._name, "segments", revision))
        replicas = ReplicaCalls(shown, membership, call_secret())
        segment = plan.segment(NODE)
        call = RemoteSegment(replicas, longest_call(plan, segment), parameter_of(plan, segment))
        head = self.live[revision] = ModelHead(plan, call, revision)
        closed_with(head, replicas)
        return head


class ModelHead(LocalHead):
    """The head of one revision of a shared model, and the call to its replicas."""

    def __init__(self, plan: Plan, call: RemoteSegment, revision: int) -> None:
        notice = Counts(plan.name, str(revision)).recovered
        super().__init__(HeadExecutor(plan, {}, {NODE: call}, notice), self._obstacle)
        self._call = call

    def _obstacle(self) -> str:
        return "no replica is healthy" if self._call.is_down else ""

    async def joins(self) -> bool | None:
        """Return whether the results of the model can be joined; None where it does not stream."""
        return (await self._call.streaming()).get(NODE)
