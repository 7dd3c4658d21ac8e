"""Endpoints that show what a revision is: its plan, a request that fits it, what it changed.

| method | path below ``/graphs/<graph>/revisions/<N>`` | answers |
|---|---|---|
| GET | ``/plan`` | the compiled graph, as ``anabranch plan -o json`` prints it |
| GET | ``/example`` | ``{"source": "warmup" or "zeros", "request": an inference request}`` |
| GET | ``/diff?from=M`` | what differs from revision M; the one before if left out |
"""

from __future__ import annotations

import asyncio
from typing import Any

from anabranch.control.api.endpoints import ApiAnswer, ApiCall, Routes, answer, views, whole_number
from anabranch.control.api.views import revision_view
from anabranch.control.release.differences import difference
from anabranch.control.release.examples import example
from anabranch.control.release.releases import Releases
from anabranch.control.store.store import Revision, Store
from anabranch.graph.compile.render import plan_to_json

REVISION = r"/revisions/(?P<revision>[0-9]{1,9})"
_MOST = 10**9


class ConsoleApi:
    """Answers from the store and the bundles."""

    def __init__(self, store: Store, releases: Releases) -> None:
        self._store = store
        self._releases = releases

    @property
    def routes(self) -> Routes:
        """Endpoints by path below the graph, and by method."""
        return {
            f"{REVISION}/plan": views(self._plan),
            f"{REVISION}/example": views(self._example),
            f"{REVISION}/diff": views(self._diff),
        }

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
        return await asyncio.to_thread(self._stored, call.graph, number)

    def _stored(self, graph: str, number: int) -> Revision:
        return self._store.revision(graph, number)


def _whole(revision: Revision) -> dict[str, Any]:
    return revision_view(revision) | {"spec": revision.spec}
