"""The control API, below ``/control/v1``; every answer is JSON.

| method | path | answers |
|---|---|---|
| GET | ``/graphs`` | ``{"graphs": [...]}`` |
| GET | ``/graphs/<graph>?limit=100`` | the graph: traffic, rollout, watches, segments, revisions |
| DELETE | ``/graphs/<graph>`` | 202; the graph is gone once a GET answers 404 |
| GET | ``/graphs/<graph>/revisions?limit=100`` | ``{"state", "revisions": [...]}``, newest first |
| POST | ``/graphs/<graph>/revisions?author=&message=&intent=&force=0`` | see ``_deploy`` |
| GET | ``/graphs/<graph>/revisions/<N>`` | one revision |
| GET | ``/graphs/<graph>/revisions/<N>/files`` | ``{"files": {path: mark of its content}}`` |
| GET | ``/graphs/<graph>/logs?tail=100&after=&node=&…`` | lines, see ``_logs`` |
| GET | ``/kept`` | ``{"kept": [...]}``: what is kept, and its bounds, see ``housekeeping`` |
| GET | ``/namespaces`` | ``{"namespaces": [...]}``, each with ``use`` and ``limits`` |
| GET | ``/traces/<trace id>`` | ``{"trace_id", "spans": [...]}``, see ``traces`` |

Revisions and their files are shown of deleted graphs too. What moves traffic is in ``traffic``,
what routers have learned in ``bandits``, what a revision is in ``console``, what monitors have
found in ``monitors``, the past in ``history``, the log of events in ``events``, processes in
``replicas``, machines in ``nodes``, batch jobs in ``jobs``, other pages in ``links``, links that
sign in to the console in ``sign_in``, keys and access rules in ``access``, models of portable
bundles in ``artefacts``, shared models in ``shared``. All runs in the controller, which is told who
asks; each endpoint says what that takes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from anabranch.access.actor import ACTOR
from anabranch.access.identity import Asker, Identity
from anabranch.control.access.book import AccessBook
from anabranch.control.access.quotas import Quotas
from anabranch.control.api.access import AccessApi
from anabranch.control.api.bandits import BanditApi
from anabranch.control.api.console import ConsoleApi
from anabranch.control.api.endpoints import (
    JSON,
    ApiAnswer,
    ApiCall,
    Guarded,
    Query,
    Routes,
    answer,
    deleted,
    operates,
    read_query,
    views,
    whole_number,
)
from anabranch.control.api.events import EventApi
from anabranch.control.api.experiments import ExperimentApi
from anabranch.control.api.history import HistoryApi
from anabranch.control.api.intents import read_intent
from anabranch.control.api.jobs.job_api import JobApi
from anabranch.control.api.links import LinkApi
from anabranch.control.api.monitors import MonitorApi
from anabranch.control.api.nodes import NodeApi
from anabranch.control.api.release.artefacts import ArtefactApi
from anabranch.control.api.replicas import ReplicaApi
from anabranch.control.api.shared.models import ModelApi
from anabranch.control.api.sign_in import SignInApi
from anabranch.control.api.traffic import TrafficApi
from anabranch.control.api.traffic_views import arms_view, mirrors_view, rollout_view
from anabranch.control.api.views import (
    blocked,
    graph_view,
    inlined,
    ready_state,
    revision_view,
    segments_view,
    watch_view,
)
from anabranch.control.deployments import AskedRevision, Deployments
from anabranch.control.housekeeping import KeptItems
from anabranch.control.lifecycle import operations
from anabranch.control.lifecycle.operations import Change, Moment, Operation, Situation
from anabranch.control.models.shared_models import SharedModels
from anabranch.control.nodes.logs import EngineLogs
from anabranch.control.observe import logs
from anabranch.control.observe.refusals import Refusals
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.observe.traces import RecentTraces
from anabranch.control.reconcile.reconciler import Reconciler
from anabranch.control.release.own_ports import OwnPorts
from anabranch.control.release.releases import Releases
from anabranch.control.settings.settings import Settings
from anabranch.control.store.records import write_text
from anabranch.control.store.store import GraphRecord, RevisionInfo, Store
from anabranch.control.traffic.topics import TableTopics
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.control.watching.watcher import WatchedModel
from anabranch.errors import AnabranchError, Conflict, NotFound, SpecError
from anabranch.names import GRAPH_IN_PATH, every_graph_of
from anabranch.router.backend import GraphState
from anabranch.router.errors import MethodNotAllowed, error_reply
from anabranch.router.measure.refusals import reason_of
from anabranch.router.measure.tally import Report

_GRAPH = f"/graphs/(?P<graph>{GRAPH_IN_PATH})"
MAX_REVISIONS = 10_000
_NEWEST = 100
"""Revisions that are listed unless the query says otherwise."""
_MAX_PATH = 256


class ControlApi:
    """Answers the control API from the store, Serve and the bundles."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        releases: Releases,
        reconciler: Reconciler,
        writer: TrafficWriter,
        topics: TableTopics,
        totals: ArmTotals,
        bandits: BanditApi,
        traces: RecentTraces,
        monitors: MonitorApi,
        history: HistoryApi,
        experiments: ExperimentApi,
        access: AccessBook,
        refusals: Refusals,
        kept: Callable[[], list[KeptItems]],
        quotas: Quotas,
        ports: OwnPorts,
        deployments: Deployments,
        watching: Callable[[str], list[WatchedModel]],
        lines: EngineLogs,
        nodes: NodeApi,
        models: SharedModels,
        model_api: ModelApi,
        jobs: JobApi,
    ) -> None:
        self._url = settings.url
        self._store = store
        self._releases = releases
        self._deployments = deployments
        self._watching = watching
        self._quotas = quotas
        self._models = models
        self._lines = lines
        self._reconciler = reconciler
        self._writer = writer
        self._topics = topics
        self._totals = totals
        self._bandits = bandits
        self._experiments = experiments
        self._refusals = refusals
        self._kept = kept
        self._traces = traces
        self._monitors = monitors
        routes: Routes = {
            "/graphs": {"GET": Guarded("view", self._list, somewhere=True)},
            _GRAPH: {**views(self._show), "DELETE": Guarded("deploy", self._delete)},
            f"{_GRAPH}/revisions": {
                **views(self._revisions),
                "POST": Guarded("deploy", self._deploy),
            },
            f"{_GRAPH}/revisions/(?P<revision>[0-9]{{1,9}})": views(self._revision),
            f"{_GRAPH}/revisions/(?P<revision>[0-9]{{1,9}})/files": views(self._files),
            f"{_GRAPH}/(?P<action>load|unload)": operates(self._load),
            f"{_GRAPH}/logs": views(self._logs),
            "/history": {"GET": Guarded("view", history.all, somewhere=True)},
            "/kept": views(self._keeps),
            **EventApi(store).routes,
            "/namespaces": {"GET": Guarded("view", self._namespaces, somewhere=True)},
            **nodes.routes,
            **model_api.routes,
            **jobs.routes,
            **SignInApi(access).routes,
            **LinkApi(settings).routes,
            **AccessApi(access).routes,
            **ArtefactApi(releases.blobs, settings.artefacts.max_size).routes,
            "/traces/(?P<trace>[0-9a-f]{32})": views(self._trace),
        }
        below = TrafficApi(store, releases, ports, quotas, writer, topics, totals, models).routes
        below |= bandits.routes
        below |= ConsoleApi(store, releases).routes | monitors.routes | history.routes
        below |= experiments.routes | ReplicaApi(store, lambda: reconciler.applications).routes
        for path, methods in below.items():
            routes[f"{_GRAPH}{path}"] = methods
        self._routes = [(re.compile(f"{path}/?"), methods) for path, methods in routes.items()]

    async def handle(
        self, method: str, path: str, query: str, body: bytes, asker: Asker
    ) -> ApiAnswer:
        """Answer one request, on behalf of who asks; errors become replies."""
        ACTOR.set(asker.actor)
        found: Mapping[str, str] = {}
        try:
            guarded, found = self._endpoint(method, path)
            call = _call(found, query, body, asker.identity)
            guarded.check(asker.identity, call.graph)
            return await guarded.endpoint(call)
        except SpecError as error:
            return answer(400, {"error": str(error)})
        except Exception as error:
            reason = reason_of(error)
            if reason is not None:
                what = f"{method} {path[:_MAX_PATH]}: {error}"
                self._refusals.add(asker.actor, reason, what, found.get("graph", ""))
            reply = error_reply(error, "control")
            return reply.status, (*JSON, *reply.headers), reply.body

    async def states(self) -> dict[str, GraphState]:
        """Every graph that should be live, for the gateway."""
        return await asyncio.to_thread(self._states)

    def _states(self) -> dict[str, GraphState]:
        apps = self._reconciler.applications
        states: dict[str, GraphState] = {}
        for stored in self._store.situations():
            now = stored.situation
            state = ready_state(now, apps, self._obstacle(now))
            if state is not None:
                state["protocols"] = self._topics.protocols(now.graph)
                state["created"] = stored.created
                states[now.graph] = state
        return states

    def _obstacle(self, now: Situation) -> str:
        """Return why an output of the stable revision cannot be computed; empty if all can."""
        down = self._reconciler.outages.of(now.graph, now.stable)
        if not down or now.stable is None:
            return ""
        try:
            return blocked(self._releases.plan(self._store.revision(now.graph, now.stable)), down)
        except AnabranchError:
            return ""

    def _endpoint(self, method: str, path: str) -> tuple[Guarded, Mapping[str, str]]:
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if method not in methods:
                raise MethodNotAllowed(method, methods)
            return methods[method], match.groupdict()
        raise NotFound(
            f"the control API has no path {path[:256]!r}; it has /graphs, /graphs/<graph>, /events"
            ", /events/verify, /history, /kept, /models, /namespaces, /nodes, /nodes/<node>/drain"
            ", /traces/<trace id>, /links, /codes, /sessions, "
            "/keys, /keys/<key>, /keys/<key>/rotate, /access, /access/check, /access/me"
            ", and below /graphs/<graph>: /revisions, /revisions/<N>, /revisions/<N>/files, /logs, "
            "/load, /unload, /traffic, /promote, /abort, /rollback, /rollout, "
            "/rollout/<action>, /compare, /monitors, /replicas, /history, /experiments, /bandits "
            "and /bandits/reset"
        )

    async def _list(self, call: ApiCall) -> ApiAnswer:
        graphs, stored = await asyncio.to_thread(
            lambda: (self._store.graphs(), self._store.situations())
        )
        now = {one.situation.graph: one.situation for one in stored}
        apps = self._reconciler.applications
        obstacles = await asyncio.to_thread(
            lambda: {graph: self._obstacle(one) for graph, one in now.items()}
        )
        views = [
            graph_view(graph, now[graph.name], apps, self._url, obstacles[graph.name])
            | {"drifting": self._monitors.drifting(now[graph.name])}
            for graph in graphs
            if graph.name in now and call.may_view(graph.name)
        ]
        return answer(200, {"graphs": views})

    async def _show(self, call: ApiCall) -> ApiAnswer:
        limit = whole_number(call.query, "limit", _NEWEST, MAX_REVISIONS)
        # Here: the totals are for one thread.
        lately, ever = self._totals.recent(call.graph), self._totals.totals(call.graph)
        return answer(200, await asyncio.to_thread(self._view, call.graph, limit, *lately, ever))

    def _view(
        self, name: str, limit: int, recent: Report, seconds: float, totals: Report
    ) -> dict[str, Any]:
        graph = self._present(name)
        now = self._store.situation(name).situation
        apps = self._reconciler.applications
        return {
            **graph_view(graph, now, apps, self._url, self._obstacle(now)),
            "inlined": inlined(name, apps),
            "arms": arms_view(now, recent, seconds, totals),
            "mirrors": mirrors_view(now, recent, seconds),
            "rollout": None if now.rollout is None else rollout_view(now.rollout),
            "revisions": [revision_view(one) for one in self._newest(now, limit)],
            "watches": [watch_view(one) for one in self._watching(name)],
            "segments": self._segments(now, apps),
            "models": sorted(map(str, self._models.used_by(now))),
            "users": [str(user) for user in self._models.users(name)],
        }

    def _newest(self, now: Situation, limit: int) -> list[RevisionInfo]:
        """The newest revisions, and all others that are up or on their way."""
        newest = self._store.revisions(now.graph, limit)
        missing = now.members.keys() - {revision.number for revision in newest}
        others = [self._store.revision(now.graph, one) for one in sorted(missing, reverse=True)]
        return [*newest, *others]

    def _present(self, name: str) -> GraphRecord:
        graph = self._store.graph(name)
        if graph.state == "deleted":
            raise deleted(name)
        return graph

    def _segments(self, now: Situation, apps: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the segments of the stable revision, or of the newest one on its way."""
        shown = now.stable if now.stable is not None else max(now.coming, default=None)
        if shown is None:
            return []
        try:
            plan = self._releases.plan(self._store.revision(now.graph, shown))
        except AnabranchError:
            return []
        down = self._reconciler.outages.of(now.graph, shown)
        return segments_view(plan, shown, apps, down, self._reconciler.waiting.of)

    async def _delete(self, call: ApiCall) -> ApiAnswer:
        graph = await asyncio.to_thread(self._present, call.graph)
        unused = self._models.unused(graph.name, "deleted")
        await self._writer.change(graph.name, operations.deleted, unused)
        await self._bandits.forget(graph.name)
        await self._experiments.forget(graph.name)
        return answer(202, {"graph": graph.name, "state": "deleting"})

    async def _load(self, call: ApiCall) -> ApiAnswer:
        """Take a graph down for a while, or bring it back."""
        graph = await asyncio.to_thread(self._present, call.graph)
        operation = operations.loaded if call.action == "load" else operations.unloaded
        unused = self._models.unused(graph.name, "unloaded")
        held = self._quotas.held() if call.action == "load" else self._quotas.held(unused)
        stored = await self._writer.change(
            graph.name, self._quotas.checked(partial(_kept, operation)), held
        )
        return answer(202, {"graph": graph.name, "state": stored.situation.state})

    async def _revisions(self, call: ApiCall) -> ApiAnswer:
        limit = whole_number(call.query, "limit", _NEWEST, MAX_REVISIONS)
        graph = await asyncio.to_thread(self._store.graph, call.graph)
        found = await asyncio.to_thread(self._store.revisions, call.graph, limit)
        views = [revision_view(revision) for revision in found]
        return answer(200, {"graph": graph.name, "state": graph.state, "revisions": views})

    async def _deploy(self, call: ApiCall) -> ApiAnswer:
        """Make a revision of a bundle: 202. 200 with the revision that is that already, if any."""
        asked = await asyncio.to_thread(self._asked, call)
        revision, is_new = await self._deployments.deploy(asked)
        sent = {"graph": call.graph, "revision": revision.number, "state": revision.state}
        return answer(202 if is_new else 200, {**sent, "new": is_new})

    def _asked(self, call: ApiCall) -> AskedRevision:
        """Return the revision that a request asks for."""
        force = whole_number(call.query, "force", 0, 1)
        received = self._releases.receive(call.graph, call.body)
        intent = read_intent(call.query.get("intent"), received.rollout)
        author, message = call.query.get("author", ""), call.query.get("message", "")
        self._models.check_caller(received.plan, call.identity)
        return AskedRevision(call.graph, received, intent, author, message, force == 1)

    async def _revision(self, call: ApiCall) -> ApiAnswer:
        revision = await asyncio.to_thread(self._store.revision, call.graph, call.revision)
        # Who waits for a revision to be up asks it something next.
        await self._writer.until_in_force(call.graph)
        installing = self._releases.is_installing(call.graph, call.revision)
        more = {"spec": revision.spec, "installing": installing}
        return answer(200, revision_view(revision) | more)

    async def _files(self, call: ApiCall) -> ApiAnswer:
        revision = await asyncio.to_thread(self._store.revision, call.graph, call.revision)
        return answer(200, {"files": await asyncio.to_thread(self._releases.files, revision)})

    async def _logs(self, call: ApiCall) -> ApiAnswer:
        """Answer with lines and a cursor, see ``EngineLogs``.

        They are filtered by ``node``, ``revision``, ``request_id`` and ``machine``.
        """
        await asyncio.to_thread(self._present, call.graph)
        query = call.query
        count = whole_number(query, "tail", 100, logs.MAX_LINES)
        revision = whole_number(query, "revision", 0, 10**9) if "revision" in query else None
        wanted = logs.Wanted(query.get("node", ""), revision, query.get("request_id", ""))
        found = await self._lines.read(
            self._reconciler.applications, call.graph, wanted, count, query.get("after"),
            query.get("machine", ""),
        )  # fmt: skip
        return answer(200, found._asdict())

    async def _keeps(self, call: ApiCall) -> ApiAnswer:
        found = await asyncio.to_thread(self._kept)
        return answer(200, {"kept": [asdict(one) for one in found]})

    async def _namespaces(self, call: ApiCall) -> ApiAnswer:
        """Show those of which the asker may view all graphs."""
        found = await asyncio.to_thread(self._quotas.view)
        seen = [one for one in found if call.may_view(every_graph_of(one["namespace"]))]
        return answer(200, {"namespaces": seen})

    async def _trace(self, call: ApiCall) -> ApiAnswer:
        return answer(200, self._traces.view(call.trace))


def _call(found: Mapping[str, str], query: str, body: bytes, identity: Identity) -> ApiCall:
    fields: Query = read_query(query)
    revision = int(found.get("revision", 0))
    graph = write_text(found.get("graph", ""))  # not every database takes any text
    others = {name: found.get(name, "") for name in ("action", "trace", "key", "node", "digest")}
    return ApiCall(graph, revision, query=fields, body=body, identity=identity, **others)


def _kept(operation: Operation, now: Situation, moment: Moment) -> Change:
    if now.state in operations.GONE:
        raise Conflict(f"graph {now.graph!r} is being deleted")
    return operation(now, moment)
