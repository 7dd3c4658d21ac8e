"""Endpoints that make revisions, and show what a revision is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anabranch.control.api.endpoints import (
    GRAPH,
    REVISION,
    ApiAnswer,
    ApiCall,
    Guarded,
    Routes,
    answer,
    views,
    whole_number,
)
from anabranch.control.api.graphs.showing import MAX_REVISIONS, NEWEST
from anabranch.control.api.release.intents import read_intent
from anabranch.control.api.replicas import replicas_view
from anabranch.control.api.views import revision_view
from anabranch.control.deployments import AskedRevision, Deployments
from anabranch.control.models.shared_models import SharedModels
from anabranch.control.release.differences import difference
from anabranch.control.release.examples import example
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Revision, Store
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.graph.compile.render import plan_to_json
from anabranch.router.table import ROUTER

_MOST = 10**9


@dataclass(eq=False, repr=False)
class RevisionApi:
    """Answers what makes and shows revisions, those of deleted graphs too.

    | method | path below ``/graphs/<graph>/revisions`` | answers |
    |---|---|---|
    | GET | ``?limit=100`` | ``{"state", "revisions": [...]}``, newest first |
    | POST | ``?author=&message=&intent=&force=0`` | see ``_deploy`` |
    | GET | ``/<N>`` | one revision |
    | GET | ``/<N>/files`` | ``{"files": {path: mark of its content}}`` |
    | GET | ``/<N>/plan`` | the compiled graph, as ``anabranch plan -o json`` prints it |
    | GET | ``/<N>/example`` | ``{"source": "warmup" or "zeros", "request": a request}`` |
    | GET | ``/<N>/diff?from=M`` | what differs from revision M; the one before if left out |
    """

    _store: Store
    _releases: Releases
    _deployments: Deployments
    _models: SharedModels
    _writer: TrafficWriter
    _applications: Callable[[], Mapping[str, Any]]

    def __post_init__(self) -> None:
        self.routes: Routes = {
            f"{GRAPH}/revisions": {
                **views(self._list),
                "POST": Guarded("deploy", self._deploy),
            },
            REVISION: views(self._show),
            f"{REVISION}/files": views(self._files),
            f"{REVISION}/plan": views(self._plan),
            f"{REVISION}/example": views(self._example),
            f"{REVISION}/diff": views(self._diff),
        }

    async def _list(self, call: ApiCall) -> ApiAnswer:
        limit = whole_number(call.query, "limit", NEWEST, MAX_REVISIONS)
        now = (await asyncio.to_thread(self._store.situation, call.graph)).situation
        found = await asyncio.to_thread(self._store.revisions, call.graph, limit)
        views = [revision_view(revision) for revision in found]
        return answer(200, {"graph": now.graph, "state": now.state, "revisions": views})

    async def _deploy(self, call: ApiCall) -> ApiAnswer:
        """Make a revision of a bundle: 202. 200 with the revision that is that already, if any."""
        asked = await asyncio.to_thread(self._asked, call)
        revision, is_new = await self._deployments.deploy(asked)
        sent = {"graph": call.graph, "revision": revision.number, "state": revision.state}
        return answer(202 if is_new else 200, {**sent, "new": is_new})

    def _asked(self, call: ApiCall) -> AskedRevision:
        force = whole_number(call.query, "force", 0, 1)
        received = self._releases.receive(call.graph, call.body)
        intent = read_intent(call.query.get("intent"), received.rollout)
        author, message = call.query.get("author", ""), call.query.get("message", "")
        self._models.check_caller(received.plan, call.identity)
        return AskedRevision(call.graph, received, intent, author, message, force == 1)

    async def _show(self, call: ApiCall) -> ApiAnswer:
        revision = await self._revision(call, call.revision)
        # Who waits for a revision to be up asks it something next.
        await self._writer.until_in_force(call.graph, self._routers(call.graph))
        installing = self._releases.is_installing(call.graph, call.revision)
        more = {"spec": revision.spec, "installing": installing}
        return answer(200, revision_view(revision) | more)

    def _routers(self, graph: str) -> int:
        replicas = replicas_view(self._applications(), graph)
        return sum((one["deployment"], one["state"]) == (ROUTER, "RUNNING") for one in replicas)

    async def _files(self, call: ApiCall) -> ApiAnswer:
        revision = await self._revision(call, call.revision)
        return answer(200, {"files": await asyncio.to_thread(self._releases.files, revision)})

    async def _plan(self, call: ApiCall) -> ApiAnswer:
        revision = await self._revision(call, call.revision)
        plan = await asyncio.to_thread(self._releases.plan, revision)
        return answer(200, plan_to_json(plan))

    async def _example(self, call: ApiCall) -> ApiAnswer:
        revision = await self._revision(call, call.revision)
        return answer(200, await asyncio.to_thread(example, self._releases, revision))

    async def _diff(self, call: ApiCall) -> ApiAnswer:
        after = await self._revision(call, call.revision)
        first = whole_number(call.query, "from", max(1, call.revision - 1), _MOST)
        before = await self._revision(call, first)
        return answer(200, await asyncio.to_thread(self._difference, before, after))

    def _difference(self, before: Revision, after: Revision) -> dict[str, Any]:
        same = before.digest == after.digest
        files = [{}, {}] if same else [self._releases.files(one) for one in (before, after)]
        return difference(_whole(before), _whole(after), *files)

    async def _revision(self, call: ApiCall, number: int) -> Revision:
        return await asyncio.to_thread(self._store.revision, call.graph, number)


def _whole(revision: Revision) -> dict[str, Any]:
    return revision_view(revision) | {"spec": revision.spec}
