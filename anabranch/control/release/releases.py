"""From a stored revision to what it takes to run it: plan, bundle and environment."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from anabranch.client.bundle.unpacking import manifest_spec, spec_name, unpack, write_files
from anabranch.components.artefacts.bundled import MANIFEST
from anabranch.components.artefacts.settings import PINS
from anabranch.control.release import references
from anabranch.control.release.bundles import REQUIREMENTS, BundleStore, pinned, refuse_secrets
from anabranch.control.release.environments import Environments, asks
from anabranch.control.release.release import Release
from anabranch.control.release.signatures import check_signature
from anabranch.control.release.worker_python import COMMAND, TIMEOUT
from anabranch.control.settings import cache_stores, destinations, log_sinks
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Revision
from anabranch.errors import InvalidRequest
from anabranch.files import require_room
from anabranch.graph.compile.draft import KnownModels
from anabranch.graph.compile.loading import Loaded, load_text
from anabranch.graph.plan.plan import Plan, Signature
from anabranch.serve.sockets import unix_folder
from anabranch.serve.workers.launcher import BUNDLE
from anabranch.specs.models import Rollout

SPARE = 16 * 2**20
"""Bytes that a deploy leaves free in each folder, for what the engine itself has to write."""
_KEPT = 256
"""Compiled specs kept in memory."""


@dataclass(frozen=True)
class Received:
    """A bundle that was checked, compiled and kept; ``spec`` is the text of its spec."""

    digest: str
    spec: str
    rollout: Rollout | None
    """The block of that name in the spec."""
    plan: Plan
    pins: Mapping[str, str]
    """The pin of what each movable reference to a model means now."""


class Releases:
    """Bundles, and the plans and environments that follow from them."""

    def __init__(self, settings: Settings) -> None:
        self._max_size = settings.max_bundle
        self._artefacts = settings.artefacts
        self._webhooks, self._prometheus = settings.webhooks, settings.prometheus
        self._request_logs = settings.request_logs
        self._cache_url = settings.cache_url
        self._home = settings.home
        self._keys = settings.bundle_keys
        self._is_cluster, self._install_timeout = settings.is_cluster, settings.install_timeout
        self._bundles = BundleStore(settings.bundles, settings.bundle_store)
        self.blobs = self._bundles.blobs
        self._environments = Environments(settings.environments, settings.install_timeout)
        self._compiled = lru_cache(_KEPT)(load_text)
        self._installing: set[tuple[str, int]] = set()
        self.models: KnownModels | None = None
        """The shared models that graphs in bundles may use."""

    def receive(self, graph: str, data: bytes) -> Received:
        """Check and keep a bundle for ``graph``.

        Raises TooLarge, SpecError, InvalidRequest, Forbidden without a signature that is asked for,
        and Unavailable where MLflow's tracking server is asked what a reference means and does not
        answer. A rollout may only call, and a
        request log only go to, what the settings allow. StorageError where a folder of the engine
        has no room for the bundle; nothing of it is left then.
        """
        files = unpack(data, self._max_size)
        check_signature(files, self._keys)
        refuse_secrets(files)
        name = spec_name(files)
        loaded = load_text(files[name], name, models=self.models)
        if loaded.graph.name != graph:
            raise InvalidRequest(
                f"the spec in the bundle is for graph {loaded.graph.name!r}, not {graph!r}"
            )
        brought = pinned(files)
        self._check_settings(loaded, brought)
        pins = references.pins(loaded.graph, self._artefacts, brought)
        self.blobs.require(brought)
        if loaded.plan.pool is not None:
            _check_pool(loaded.plan.pool, files, pins)
        self._require_room(len(data), sum(map(len, files.values())))
        digest = self._bundles.put(files)
        text = files[name].decode("utf-8")
        return Received(digest, text, loaded.graph.spec.rollout, loaded.plan, pins)

    def again(self, revision: Revision, pins: Mapping[str, str]) -> Received:
        """Return the bundle of a revision as if it had come with other pins.

        InvalidRequest where the settings do not allow any more what the spec asks for; SpecError
        if this version cannot compile it.
        """
        loaded = self.loaded(revision)
        self._check_settings(loaded)
        rollout = loaded.graph.spec.rollout
        return Received(revision.digest, revision.spec, rollout, loaded.plan, pins)

    def _check_settings(self, loaded: Loaded, brought: Container[str] = ()) -> None:
        """InvalidRequest for what the settings do not allow, but for URIs that were ``brought``."""
        self.check(loaded.graph.spec.rollout)
        log_sinks.check(loaded.plan.telemetry.requests, self._request_logs)
        cache_stores.check(loaded.plan, self._cache_url)
        references.check(loaded.graph, self._artefacts, brought)

    def _require_room(self, packed: int, unpacked: int) -> None:
        """Raise StorageError unless the home and the folder of the replicas' files have room."""
        require_room(self._home, packed + SPARE)
        for folder in {Path(tempfile.gettempdir()), unix_folder() or self._home}:
            require_room(folder, unpacked + SPARE)

    def check(self, rollout: Rollout | None, monitored: bool = True) -> None:
        """InvalidRequest for a rollout that would call what the settings do not allow, or that goes
        by drift where nothing is ``monitored``.
        """
        destinations.check(rollout, self._webhooks, self._prometheus)
        metrics = rollout.analysis.metrics if rollout and rollout.analysis else ()
        if not monitored and any(metric.metric == "drift" for metric in metrics):
            raise InvalidRequest(
                "rollout.analysis: `drift` is measured by `monitors`, and the graph has none"
            )

    def signature(self, plan: Plan) -> Signature:
        """Return the signature of a plan, without a request log that the settings do not allow."""
        telemetry = log_sinks.permitted(plan.telemetry, self._request_logs)
        return replace(plan.signature, telemetry=telemetry)

    def loaded(self, revision: Revision) -> Loaded:
        """The compiled spec of a revision; SpecError if this version cannot compile it."""
        return self._compiled(revision.spec)

    def files(self, revision: Revision) -> dict[str, str]:
        """The files of a revision, each with a mark of its content; NotFound if they are gone."""
        return self._bundles.marks(revision.digest)

    def member(self, revision: Revision, name: str) -> bytes | None:
        """One file of a revision's bundle, None if it has no such file; NotFound if it is gone."""
        return self._bundles.read(revision.digest, name)

    def plan(self, revision: Revision) -> Plan:
        """The compiled graph of a revision; SpecError if this version cannot compile it."""
        return self.loaded(revision).plan

    def release(self, revision: Revision) -> Release:
        """All that it takes to run ``revision``; installs its requirements if they are new.

        Raises DeployError if that fails, NotFound if the bundle is gone.
        """
        plan = self.plan(revision)
        spec = manifest_spec(self._bundles.read(revision.digest, MANIFEST))
        bundle = str(self._bundles.path(revision.digest))
        environment = self._environment(revision)
        return Release(revision.graph, revision.number, spec, plan, environment, bundle)

    def is_installing(self, graph: str, number: int) -> bool:
        """Return whether the requirements of a revision are being installed on this machine."""
        return (graph, number) in self._installing

    @contextmanager
    def _told(self, revision: Revision, requirements: bytes) -> Iterator[None]:
        """Tell of an install, where there is something to install."""
        one = (revision.graph, revision.number)
        if self._environments.lacks(requirements, revision.digest):
            self._installing.add(one)
        try:
            yield
        finally:
            self._installing.discard(one)

    def _environment(self, revision: Revision) -> dict[str, Any]:
        """The Ray runtime environment: the bundle as working folder, and its interpreter.

        On a cluster the replica itself fetches the bundle, for machines share no folder.
        """
        path = self._bundles.path(revision.digest)
        variables = {PINS: json.dumps(dict(revision.pins))} if revision.pins else {}
        environment: dict[str, Any] = {"env_vars": variables}
        if self._is_cluster:
            variables[BUNDLE] = revision.digest
        else:
            environment["working_dir"] = path.as_uri()
        requirements = self._bundles.read(revision.digest, REQUIREMENTS) or b""
        with self._told(revision, requirements):
            python = self._environments.python(
                requirements,
                revision.digest,
                lambda folder: write_files(unpack(path.read_bytes(), _UNLIMITED), folder),
            )
        if python is not None and self._is_cluster:
            environment["py_executable"] = COMMAND
            variables[TIMEOUT] = str(self._install_timeout)
        elif python is not None:
            environment["py_executable"] = str(python)
        return environment


def _check_pool(pool: str, files: Mapping[str, bytes], pins: Mapping[str, str]) -> None:
    """Raise InvalidRequest for a bundle that asks for a process of its own."""
    what = f"spec.serving.pool: the graph shares a process with others (pool {pool!r})"
    if asks(files.get(REQUIREMENTS, b"")):
        raise InvalidRequest(
            f"{what}, and so cannot have a {REQUIREMENTS} of its own; remove one of the two"
        )
    if pins:
        raise InvalidRequest(
            f"{what}, and so cannot have a model by a reference that moves: {next(iter(pins))}; "
            "name a fixed version, or remove the pool"
        )


_UNLIMITED = 2**62
"""For bundles that were checked when they came."""
