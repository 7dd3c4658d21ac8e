"""A routing table that is in force: which arm answers a request, and the way there."""

from __future__ import annotations

from collections.abc import Mapping

from anabranch.errors import NotFound
from anabranch.router.inference.contract import InferenceRequest
from anabranch.router.inference.core import InferenceCore
from anabranch.router.signing import Signatures
from anabranch.router.table import RoutingTable
from anabranch.router.traffic.split import Split
from anabranch.router.traffic.stages.compose import Arm, SharedParts, StageComposer
from anabranch.router.traffic.stages.contract import Answering


class Routing:
    """One routing table, ready to be asked. Raises ValueError for one that cannot be used."""

    def __init__(self, table: RoutingTable, arms: Mapping[int, Arm], shared: SharedParts) -> None:
        lacking = {table.stable, *table.weights, *table.mirrors} - arms.keys()
        if lacking:
            raise ValueError(f"the table lacks the signatures of revisions {sorted(lacking)}")
        self.arms = arms
        self.stable = arms[table.stable]
        self.versions = tuple(str(number) for number in sorted(arms))
        self.is_idempotent = table.is_idempotent
        """Whether a request may be sent again whose router ended before it answered."""
        self.created = table.created
        """When the graph was created, as a Unix time."""
        self.signatures = Signatures(table.graph, table.keys)
        self.decides = len(table.weights) > 1 or self.stable.decides
        """Whether requests that the table sends leave decisions, by which rewards find them."""
        self._graph = table.graph
        self._split = Split(table, shared.draw)
        stages = StageComposer(table, arms, self._split, self.signatures, shared)
        self._numbered = {number: stages.numbered(number) for number in arms}
        self._routed = {n: stages.routed(n, way) for n, way in self._numbered.items()}
        self._only = None if self._split.only is None else self._routed[self._split.only]

    def arm(self, revision: int | str | None) -> Arm:
        """The arm of a revision, without one the stable arm; NotFound if there is none."""
        if revision is None:
            return self.stable
        found = self.arms.get(int(revision)) if str(revision) in self.versions else None
        if found is None:
            raise NotFound(
                f"graph {self._graph!r} has no revision {str(revision)[:64]!r} that runs "
                f"(there are: {', '.join(self.versions)})"
            )
        return found

    def choose(self, request: InferenceRequest) -> int:
        """The revision that the table says."""
        number = self._split.only
        if number is None:
            number = self._split.choose(request.headers, request.parameters, request.known_as)
        return number

    def way(self, request: InferenceRequest, revision: int | str | None) -> Answering:
        """The first stage of a request to a revision, without one to that which the table says."""
        if revision is None:
            return self._only or self._routed[self.choose(request)]
        return self._numbered[self.arm(revision).core.revision]

    def chosen(
        self, request: InferenceRequest, revision: int | str | None
    ) -> tuple[InferenceCore, Answering]:
        """The core of the revision that answers a request, and the first stage of the way there."""
        if revision is None:
            number = self.choose(request)
            return self.arms[number].core, self._routed[number]
        core = self.arm(revision).core
        return core, self._numbered[core.revision]
