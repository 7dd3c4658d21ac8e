"""The parts of a controller, put together on one store; they act only while it has the lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from anabranch.control.access.book import AccessBook
from anabranch.control.access.quotas import Quotas
from anabranch.control.api.access import AccessApi
from anabranch.control.api.api import ControlApi
from anabranch.control.api.bandits import BanditApi
from anabranch.control.api.engine import EngineApi
from anabranch.control.api.events import EventApi
from anabranch.control.api.experiments import ExperimentApi
from anabranch.control.api.graphs.changing import GraphChangeApi
from anabranch.control.api.graphs.logs import LogApi
from anabranch.control.api.graphs.showing import GraphApi
from anabranch.control.api.history import HistoryApi
from anabranch.control.api.jobs.job_api import JobApi
from anabranch.control.api.links import LinkApi
from anabranch.control.api.monitors import MonitorApi
from anabranch.control.api.nodes import NodeApi
from anabranch.control.api.release.artefacts import ArtefactApi
from anabranch.control.api.release.revisions import RevisionApi
from anabranch.control.api.replicas import ReplicaApi
from anabranch.control.api.shared.models import ModelApi
from anabranch.control.api.sign_in import SignInApi
from anabranch.control.api.traffic import TrafficApi
from anabranch.control.clock import SteadyClock
from anabranch.control.deployments import Deployments
from anabranch.control.housekeeping import Housekeeping
from anabranch.control.jobs.book import JobBook
from anabranch.control.jobs.runner import JobProcesses, JobRunner
from anabranch.control.later.keeping import AsyncKeeper
from anabranch.control.later.sending import RouterSender
from anabranch.control.later.worker import AsyncWorker
from anabranch.control.lifecycle.clocks import is_ahead, timely
from anabranch.control.models.checks import ModelChecks
from anabranch.control.models.load import METRICS as MODEL_METRICS
from anabranch.control.models.load import ModelLoad
from anabranch.control.models.shared_models import SharedModels
from anabranch.control.nodes.cluster import RayCluster, log_folder
from anabranch.control.nodes.counts import MachineCounts
from anabranch.control.nodes.everywhere import Everywhere
from anabranch.control.nodes.faces import FaceRunner
from anabranch.control.nodes.files import MachineFiles
from anabranch.control.nodes.keeper import MachineKeeper
from anabranch.control.nodes.logs import EngineLogs
from anabranch.control.nodes.turns import JoinTurns
from anabranch.control.nodes.views import placed
from anabranch.control.observe.history import METRICS, TrafficHistory
from anabranch.control.observe.hung import HungProcesses
from anabranch.control.observe.looks import LookHistory
from anabranch.control.observe.memory import RevisionMemory
from anabranch.control.observe.monitors import Monitors
from anabranch.control.observe.process_sums import ProcessSums
from anabranch.control.observe.refusals import Refusals
from anabranch.control.observe.totals import ArmTotals
from anabranch.control.observe.traces import RecentTraces
from anabranch.control.reconcile import serving
from anabranch.control.reconcile.outages import Outages
from anabranch.control.reconcile.pools import Pools
from anabranch.control.reconcile.reconciler import Reconciler
from anabranch.control.reconcile.waiting import UnplacedReplicas
from anabranch.control.release.machine_caches import tidy_up
from anabranch.control.release.own_ports import OwnPorts
from anabranch.control.release.releases import Releases
from anabranch.control.rollout.driver import RolloutDriver
from anabranch.control.rollout.webhooks import Deliveries
from anabranch.control.settings.settings import Settings
from anabranch.control.store.async_requests import AsyncRequests
from anabranch.control.store.event_log import EventFilter
from anabranch.control.store.lease import Lease
from anabranch.control.store.records import Event
from anabranch.control.store.store import Store
from anabranch.control.tasks import forever
from anabranch.control.traffic.bandits import Bandits
from anabranch.control.traffic.experiments import Experiments
from anabranch.control.traffic.feedback import DecisionMemory, RewardCounter
from anabranch.control.traffic.signing_keys import SigningKeys
from anabranch.control.traffic.tables import Catalogue
from anabranch.control.traffic.topics import TableTopics
from anabranch.control.traffic.writer import TrafficWriter
from anabranch.control.watching.models import WatchingRevisions
from anabranch.control.watching.moves import Moves
from anabranch.control.watching.registry_tags import RegistryTags
from anabranch.control.watching.watcher import Watcher
from anabranch.errors import Unavailable
from anabranch.router.gateway.forwarding import Forwarder
from anabranch.router.limits import RequestLimits
from anabranch.serve.attachment import is_attached
from anabranch.serve.calls.control_link import ControllerLink
from anabranch.serve.sockets import unix_folder
from anabranch.serve.workers.machines import MachineRounds

logger = logging.getLogger("anabranch.control")

_RENEWAL_S = 1.0
_MOST_EVENTS = 100


def _segment_events(store: Store, graph: str, revision: int) -> Sequence[Event]:
    """Return the latest events of a revision on segments that are down, or up again."""
    wanted = EventFilter(graph=graph, kind="segment_*", revision=revision)
    return store.newest_events(wanted, _MOST_EVENTS)


class ControllerParts:
    """All objects that read and write one store; building them starts nothing."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        topics: TableTopics,
        totals: ArmTotals,
        pools: Pools,
        process_sums: ProcessSums,
    ) -> None:
        self.store = store
        self._lease = Lease(store)
        # Its own thread: a lease must not be lost because all others are busy.
        self._lease_thread = ThreadPoolExecutor(1, "lease")
        self._store = store
        clock = SteadyClock()
        self.releases = releases = Releases(settings)
        catalogue = Catalogue(store, releases)
        models = releases.models = SharedModels(store, catalogue)
        checks = ModelChecks(store, releases, models)
        load = ModelLoad(lambda: process_sums.totals(MODEL_METRICS), models.names)
        memory = RevisionMemory(unix_folder())
        cluster = RayCluster(settings.autoscaling)
        self._keys = SigningKeys(store.database, clock)
        self._writer = TrafficWriter(
            store, catalogue, topics, totals, self._keys, checks.check, checks.held,
            settings.grace, clock,
        )  # fmt: skip
        self.reconciler = Reconciler(
            settings,
            store,
            releases,
            catalogue,
            self._writer,
            lambda: self._lease.held,
            pools,
            memory,
            Outages(store, partial(_segment_events, store)),
            UnplacedReplicas(cluster.look),
            models,
        )
        self.bandits = Bandits(store.database, catalogue.of)
        experiments = Experiments(store.database, catalogue.of)
        self.rewards = RewardCounter(
            store.database, catalogue.of, [self.bandits.learn, experiments.learn],
            self.bandits.committed,
        )  # fmt: skip
        self.memory = DecisionMemory()
        self.traces = RecentTraces()
        self.monitors = Monitors(store, clock)
        self._writer.watch(lambda: self.monitors.keep(topics.graphs()))
        self._writer.watch(lambda: self.memory.keep(topics.graphs()))
        self.looks = LookHistory()
        self._writer.watch(lambda: self.looks.keep(topics.graphs()))
        self.history = TrafficHistory(
            lambda: process_sums.totals(METRICS), totals.watched, topics.graphs, clock
        )
        self.access = AccessBook(store.database, settings.home, settings.anonymous)
        self.refusals = Refusals(store)
        quotas = Quotas(store, releases, self.access.policy)
        ports = OwnPorts(settings, store, releases)
        deployments = Deployments(store, releases, ports, quotas, checks, self._writer)
        watching = WatchingRevisions(store, releases)
        moves = Moves(store, releases, deployments, self._writer, settings.artefacts)
        self.watcher = Watcher(store, watching, moves, settings.artefacts)
        registry_tags = RegistryTags(store, watching, settings.artefacts)
        machines = MachineRounds(tidy_up).round if settings.is_cluster else None
        logs = partial(Path, settings.home, "logs") if is_attached() else log_folder
        housekeeping = Housekeeping(settings, store, self._keys, logs, machines)

        def applications() -> Mapping[str, Any]:
            return self.reconciler.applications

        counts = MachineCounts(applications)
        runner = FaceRunner(settings, serving, applications)
        keeper = MachineKeeper(cluster, runner, settings.ingress, counts.see, self._busy)
        jobs = JobBook(store.database)
        self._jobs = JobRunner(store, jobs, releases, JobProcesses(settings), settings.jobs)
        everywhere = Everywhere(MachineFiles(log_folder, unix_folder()), lambda: keeper.present)
        self.graphs = GraphApi(
            settings.url, store, releases, self.reconciler, topics, totals, self.monitors,
            self.watcher.of, models,
        )  # fmt: skip
        groups = (
            self.graphs,
            GraphChangeApi(store, self._writer, quotas, self.bandits, experiments),
            RevisionApi(store, releases, deployments, models, self._writer, applications),
            LogApi(store, EngineLogs(everywhere), applications),
            ReplicaApi(store, applications),
            TrafficApi(store, releases, ports, quotas, self._writer, topics, totals, models),
            BanditApi(store, catalogue, self.bandits),
            ExperimentApi(store, catalogue, experiments, process_sums.totals),
            MonitorApi(store, self.monitors),
            HistoryApi(store, self.history, self.looks),
            EventApi(store),
            EngineApi(housekeeping.kept, quotas, self.traces),
            NodeApi(
                settings, store, cluster, applications, JoinTurns(lambda: self.reconciler.starting)
            ),
            ModelApi(store, models, load, memory.taken, applications),
            JobApi(store, jobs, settings.jobs, self._jobs.wake),
            SignInApi(self.access),
            LinkApi(settings),
            AccessApi(self.access),
            ArtefactApi(releases.blobs, settings.artefacts.max_size),
        )
        self.api = ControlApi(groups, self.refusals)
        requests = AsyncRequests(store.database)
        forwarder = Forwarder(ControllerLink("controller"), RequestLimits())
        sender = RouterSender(forwarder, lambda: settings.token_file.read_text().strip())
        deliveries = Deliveries(store, settings)
        worker = AsyncWorker(requests, sender, deliveries.wake)
        self.later = AsyncKeeper(settings, requests, worker)
        rollouts = RolloutDriver(
            store, self._writer, totals, settings, self.monitors, self.looks, clock=clock
        )
        self._writer.watch(rollouts.wake)
        self._writer.watch(deliveries.wake)
        self._writer.watch(self.watcher.wake)
        self._writer.watch(registry_tags.wake)
        self._writer.watch(load.wake)
        topics.watch(self.reconciler.look)
        self._work = {
            "the reconciler": self.reconciler.run,
            "the driver of rollouts": rollouts.run,
            "the jobs": self._jobs.run,
            "the delivery to webhooks": deliveries.run,
            "the watcher of models": self.watcher.run,
            "the verdicts on models": registry_tags.run,
            "the housekeeping": housekeeping.run,
            "the answers to asynchronous requests": worker.run,
            "the bound on their replies": self.later.forget,
            "the keys of issuers": self.access.signing.run,
            "the history of graphs": self.history.run,
            "the load of shared models": load.run,
            "the events of refused attempts": self.refusals.run,
            "the events of hung processes": HungProcesses(store, everywhere.ended).run,
        }
        if settings.is_cluster:
            self._work["the keeper of machines"] = keeper.run

    def _busy(self) -> Container[str] | None:
        """Ids of the machines that replicas of graphs are on; None until they are known."""
        known = self.reconciler.starting is not None
        return placed(self.reconciler.applications) if known else None

    async def acquire(self, timeout: float) -> bool:
        """Try to get the lease for some seconds."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._lease_thread, self._lease.acquire, timeout)

    async def publish(self) -> None:
        """Put the tables of all graphs in force, and begin to listen to their routers."""
        self.memory.begin()
        await asyncio.to_thread(self._keys.renew)
        await self._count_from_now()
        await self._writer.publish_all()

    async def _count_from_now(self) -> None:
        """Let what began in the future by our clock begin now."""
        now = self._writer.clock()
        for stored in await asyncio.to_thread(self._store.situations):
            if is_ahead(stored.situation, now):
                await self._writer.change(stored.situation.graph, timely)

    async def run(self) -> None:
        """Act until the lease is lost."""
        tasks = [asyncio.create_task(forever(name, work)) for name, work in self._work.items()]
        try:
            while True:
                if not await self._renewed():
                    return
                await asyncio.sleep(_RENEWAL_S)
        finally:
            for task in tasks:
                task.cancel()

    async def _renewed(self) -> bool:
        """Whether the lease is still ours. Where the store does not answer, nobody can take it,
        and nothing can be written either.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._lease_thread, self._lease.renew)
        except Unavailable as error:
            logger.warning("cannot renew the lease: %s", error)
            return True
