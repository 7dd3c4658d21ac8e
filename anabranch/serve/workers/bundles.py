"""The bundle of a replica on a cluster, whose machines share no folder.

Each machine fetches a bundle once, in pieces from the controller through Ray, or as a file from the
store that ``ANABRANCH_BUNDLE_STORE`` names, checks it by its digest, and keeps it unpacked in the
cache in which models by URI are, too.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray

from anabranch.components.artefacts.bundled import BundledArtefact
from anabranch.components.artefacts.fetching import fetched_bundle
from anabranch.components.artefacts.kept import bundle_store
from anabranch.components.artefacts.kept.blobs import reach_blobs
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import (
    ArtefactSource,
    RemoteFile,
    Stream,
    TransferInterrupted,
    renamed,
)
from anabranch.components.artefacts.uris import redacted
from anabranch.errors import AnabranchError, ArtefactError, NotFound
from anabranch.serve.calls.controller import NAMESPACE, ControllerActor
from anabranch.serve.workers.launcher import BUNDLE, JOB, PROBLEM, RAYLET

STORE = "ANABRANCH_BUNDLE_STORE"
"""Variable that holds the URL of the store of bundles, where there is one."""
PIECE = 4 * 2**20
"""Most bytes that the controller sends at a time."""
_PIECE_S = 30.0
"""Longest time for one of them, in seconds."""


def enter_bundle() -> Path:
    """Return the folder of the bundle that this process serves, its working folder from now on.

    Blocks while the bundle is fetched; ArtefactError where that fails.
    """
    digest = os.environ.get(BUNDLE)
    if digest is None:
        return Path.cwd()  # Ray has unpacked it there
    if problem := os.environ.get(PROBLEM):
        raise ArtefactError(problem)
    reach_blobs(_artefact)
    folder = obtain_bundle(digest)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), inherited)))
    return folder


def obtain_bundle(digest: str) -> Path:
    """Return the folder with the bundle of that digest on this machine; fetches what is missing.

    ArtefactError names whoever should have it, and why it does not come.
    """
    url = os.environ.get(STORE, "").rstrip("/")
    origin = f"the bundle store {redacted(url)}" if url else "the engine"
    opened = partial(_opened, url, digest, bundle_store.BUNDLE)
    try:
        return fetched_bundle(digest, opened, ArtefactSettings.from_env())
    except ArtefactError as error:
        raise ArtefactError(f"the bundle {digest[:12]}… from {origin}: {error}") from None


def place_of(text: str) -> str:
    """Return the reason why a replica cannot start, with its machine where there are several."""
    return f"{text} (on machine {socket.gethostname()})" if BUNDLE in os.environ else text


def _artefact(artefact: BundledArtefact) -> ArtefactSource:
    """A model that a bundle has brought along, on another machine than the engine's."""
    url = os.environ.get(STORE, "").rstrip("/")
    return renamed(_opened(url, artefact.sha256, bundle_store.BLOB), artefact.blob)


def _opened(url: str, digest: str, suffix: str) -> ArtefactSource:
    name = f"{digest}{suffix}"
    return bundle_store.source(url, name) if url else _sent(name, digest)


def _sent(name: str, digest: str) -> ArtefactSource:
    """A file as the controller sends it; its digest is the mark by which a transfer goes on."""
    controller = ControllerActor()

    @contextmanager
    def read(file: RemoteFile, start: int) -> Iterator[Stream]:
        yield Stream(start, _pieces(controller, name, start, file.size or 0))

    size, _ = _asked(controller, name, 0, 0)
    return ArtefactSource([RemoteFile(name, size, digest)], read)


def _pieces(controller: ControllerActor, name: str, start: int, size: int) -> Iterator[bytes]:
    while start < size:
        _, piece = _asked(controller, name, start, PIECE)
        yield piece
        start += len(piece)


def _asked(controller: ControllerActor, name: str, start: int, most: int) -> tuple[int, bytes]:
    try:
        found: Any = controller.ask("bundle", name, start, most, timeout=_PIECE_S)
    except NotFound as error:
        raise ArtefactError(_told(error)) from None
    except (ray.exceptions.RayError, ValueError) as error:
        raise TransferInterrupted(f"the controller does not answer: {_told(error)}") from None
    return found  # type: ignore[no-any-return]


def _told(error: Exception) -> str:
    """Return what an error says in one line, without the traceback that Ray adds to it."""
    return str(getattr(error, "cause", None) or error).strip().rpartition("\n")[2]


def fetch_beside(digest: str, worker: Sequence[str]) -> None:
    """Have another process fetch a bundle, since this one is to become a worker of Ray.

    ``worker`` are the arguments with which Ray starts it. ArtefactError as ``obtain_bundle``.
    """
    own = {name: value for name, value in os.environ.items() if name not in (JOB, RAYLET)}
    command = [sys.executable, "-P", "-m", __name__, digest, *worker]
    done = subprocess.run(command, env=own, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise ArtefactError(done.stderr.strip().rpartition("\n")[2] or "the fetch was killed")


def main(arguments: Sequence[str]) -> None:
    """Fetch the bundle of a digest, the first argument, on behalf of a worker with the others."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("digest")
    parser.add_argument("--gcs-address")
    parser.add_argument("--node-ip-address")
    options, _ = parser.parse_known_args(arguments)
    try:
        if not os.environ.get(STORE):
            ray.init(
                options.gcs_address, namespace=NAMESPACE, log_to_driver=False,
                logging_level=logging.ERROR, _node_ip_address=options.node_ip_address,
            )  # fmt: skip
        obtain_bundle(options.digest)
    except (AnabranchError, ConnectionError, RuntimeError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
