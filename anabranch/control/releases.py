"""From a stored revision to what it takes to run it: plan, bundle and environment."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from anabranch.control.bundles import BundleStore, spec_name, unpack, write_files
from anabranch.control.environments import Environments
from anabranch.control.serving import Release
from anabranch.control.settings import Settings
from anabranch.control.store import Revision
from anabranch.errors import InvalidRequest, Problem, SpecError
from anabranch.graph.loading import Loaded, open_graph
from anabranch.specs.unsupported import unsupported

_KEPT = 256
"""Plans kept in memory."""
_UNLIMITED = 2**62


@dataclass(frozen=True)
class Received:
    """A bundle that was checked, compiled and kept."""

    digest: str
    spec: str
    """The text of the spec."""


class Releases:
    """Bundles, and the plans and environments that follow from them."""

    def __init__(self, settings: Settings) -> None:
        self._max_size = settings.max_bundle
        self._bundles = BundleStore(settings.bundles)
        self._environments = Environments(settings.environments, settings.install_timeout)
        self.plan = lru_cache(_KEPT)(self._plan)

    def receive(self, graph: str, data: bytes) -> Received:
        """Check and keep a bundle for ``graph``.

        Raises TooLarge, SpecError, or InvalidRequest, also for what the language says but this
        version does not act on.
        """
        files = unpack(data, self._max_size)
        name = spec_name(files)
        loaded = _compile(files)
        if loaded.graph.name != graph:
            raise InvalidRequest(
                f"the spec in the bundle is for graph {loaded.graph.name!r}, not {graph!r}"
            )
        problems = unsupported(loaded.graph)
        if problems:
            raise InvalidRequest("\n".join(str(_renamed(problem, name)) for problem in problems))
        return Received(self._bundles.put(files), files[name].decode("utf-8"))

    def release(self, revision: Revision) -> Release:
        """All that it takes to run ``revision``; installs its requirements if they are new.

        Raises DeployError if that fails, NotFound if the bundle is gone.
        """
        path = self._bundles.path(revision.digest)
        files = unpack(path.read_bytes(), _UNLIMITED)
        environment: dict[str, Any] = {"working_dir": path.as_uri()}
        python = self._environments.python(files)
        if python is not None:
            environment["py_executable"] = str(python)
        plan = self.plan(revision.digest)
        return Release(revision.graph, revision.number, spec_name(files), plan.plan, environment)

    def _plan(self, digest: str) -> Loaded:
        return _compile(unpack(self._bundles.path(digest).read_bytes(), _UNLIMITED))


def _compile(files: Mapping[str, bytes]) -> Loaded:
    """Compile the bundle's spec as it lies among its files; problems name it as the bundle does."""
    with tempfile.TemporaryDirectory() as folder:
        write_files(files, Path(folder))
        name = spec_name(files)
        try:
            return open_graph(Path(folder) / name)
        except SpecError as error:
            raise SpecError(_renamed(problem, name) for problem in error.problems) from None


def _renamed(problem: Problem, name: str) -> Problem:
    return Problem(problem.path, problem.message, problem.position, name)
