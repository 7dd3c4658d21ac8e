"""Starts a worker of a cluster with the interpreter of its bundle, made where it is missing.

Stands in the place of Python in the command of a worker whose bundle has requirements. A worker
for which there is no such interpreter starts all the same: only a replica can say why it fails.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from anabranch.components.artefacts.fetching import fetched_bundle
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import ArtefactSource
from anabranch.control.release.bundles import REQUIREMENTS
from anabranch.control.release.environments import Environments
from anabranch.environment import Environment
from anabranch.errors import AnabranchError
from anabranch.serve.attachment import is_attached
from anabranch.serve.workers.launcher import BUNDLE, PROBLEM, PYTHON

TIMEOUT = "ANABRANCH_INSTALL_TIMEOUT"
"""Variable that holds the longest time for an install, in seconds."""
COMMAND = f"${{{PYTHON}:-python3}} -P -m {__name__}"
"""What Ray starts a worker with in place of Python, as a shell reads it."""


def main(arguments: Sequence[str]) -> None:
    """Become the worker whose script and arguments are ``arguments``."""
    python = sys.executable
    try:
        if is_attached():
            _enter(arguments)
        python = str(worker_python(os.environ[BUNDLE], arguments) or python)
    except AnabranchError as error:
        os.environ[PROBLEM] = str(error)
    os.execv(python, [python, *arguments])


def _enter(worker: Sequence[str]) -> None:
    """Find the engine's variables on a Ray that somebody else has started."""
    from anabranch.serve.attached.entry import Places, enter_by  # it takes Ray

    option = "--gcs-address="
    enter_by(Places.at(next(one.removeprefix(option) for one in worker if option in one)))


def worker_python(digest: str, worker: Sequence[str]) -> Path | None:
    """Return the interpreter for a bundle; None where that of the engine will do.

    ``worker`` are the arguments with which Ray starts the worker. Raises ArtefactError and
    DeployError.
    """
    folder = _bundle(digest, worker)
    requirements = folder / REQUIREMENTS
    folder_here = Environment(os.environ).home / "environments"
    return Environments(folder_here, float(os.environ[TIMEOUT])).python(
        requirements.read_bytes() if requirements.is_file() else b"",
        digest,
        lambda target: shutil.copytree(folder, target, dirs_exist_ok=True),
    )


def _bundle(digest: str, worker: Sequence[str]) -> Path:
    settings = ArtefactSettings.from_env()
    try:
        return fetched_bundle(digest, _absent, settings)
    except _AbsentError:
        # Here, for it takes Ray, and most workers find the bundle of an earlier one.
        from anabranch.serve.workers.bundles import fetch_beside

        fetch_beside(digest, worker)
        return fetched_bundle(digest, _absent, settings)


class _AbsentError(AnabranchError):
    """The cache of this machine has no such bundle."""


def _absent() -> ArtefactSource:
    raise _AbsentError("the cache of this machine has no such bundle")


if __name__ == "__main__":
    main(sys.argv[1:])
