"""Opens the caches that a plan asks for, in the process that looks into them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from anabranch.components.artefacts.digests import file_digest, files_of, folder_digest
from anabranch.components.artefacts.settings import PINS
from anabranch.graph.calls.cache_status import GRAPH
from anabranch.graph.compile.loading import Loaded
from anabranch.serve.cache.answers import AnswerCache
from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.machine import MachineStore
from anabranch.serve.cache.redis_store import RedisStore
from anabranch.serve.cache.store import AnswerStore
from anabranch.serve.identity import here
from anabranch.serve.sockets import unix_folder
from anabranch.specs.models import Caching

URL = "ANABRANCH_CACHE_URL"
"""Variable that holds the URL of Redis, for caches that are there."""
LARGEST_SHARE = 8
"""An answer is kept if it takes at most an eighth of the size of its cache."""
_FOLDER = "answers"


async def open_caches(loaded: Loaded, nodes: Collection[str]) -> dict[str, AnswerCache]:
    """Open the caches of nodes that run here, and with ``GRAPH`` among them that of the graph.

    They must be closed. Raises ArtefactError, OSError or sqlite3.Error where that fails.
    """
    plan = loaded.plan
    found = {name: plan.cache if name == GRAPH else plan.nodes[name].spec.cache for name in nodes}
    wanted = {name: cache for name, cache in found.items() if cache is not None}
    return await asyncio.to_thread(_opened, loaded.root, wanted) if wanted else {}


async def close_caches(caches: Mapping[str, AnswerCache]) -> None:
    """Close caches, all at once; it takes two seconds at most."""
    await asyncio.gather(*(one.close() for one in caches.values()))


def _opened(root: Path, wanted: Mapping[str, Caching]) -> dict[str, AnswerCache]:
    contents = _contents(root)
    return {node: _open(node, contents, cache) for node, cache in wanted.items()}


def _contents(root: Path) -> str:
    """Return the digest of a bundle: specs, code and models; other models are held by digests."""
    files = {name: root / name for name in files_of(root) if "__pycache__" not in name}
    return folder_digest({name: file_digest(path) for name, path in files.items()})


def _open(node: str, contents: str, cache: Caching) -> AnswerCache:
    graph, revision = here()
    pins = os.environ.get(PINS, "")
    namespace = json.dumps([graph, revision, node, contents, pins])
    counts = CacheCounts(graph, revision, node)
    store = _store(cache, hashlib.sha256(namespace.encode()).hexdigest()[:40], counts)
    return AnswerCache(node, namespace, store, cache.size // LARGEST_SHARE, counts)


def _store(cache: Caching, name: str, counts: CacheCounts) -> AnswerStore:
    if cache.store == "redis":
        return RedisStore(os.environ[URL], cache.size, cache.ttl.seconds, counts)
    return MachineStore(_folder(), name, cache.size, cache.ttl.seconds, counts)


def _folder() -> Path:
    """Return the folder of the machine's answers, below that of the engine's processes."""
    sockets = unix_folder()
    if sockets is None:
        return Path(tempfile.gettempdir()) / f"anabranch-{_FOLDER}-{os.getuid()}"
    return sockets.parent / _FOLDER
