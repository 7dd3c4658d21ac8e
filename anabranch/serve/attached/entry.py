"""The first thing that a process of an engine does on a Ray that somebody else has started.

Ray calls ``enter`` before anything else (``worker_process_setup_hook``), by its name in the
process's environment. So no machine needs to be prepared, and one that comes later is as good as
the others.
"""

from __future__ import annotations

import os
from typing import Any

import ray
from ray import _raylet

from anabranch.errors import EngineError
from anabranch.serve.attached.place import EnginePlace
from anabranch.serve.edge.binary import haproxy_binary, haproxy_problem
from anabranch.serve.sockets import EDGE
from anabranch.serve.workers.environment import MARK

_SPACE = b"anabranch"
"""Namespace in the GCS's table of keys and values."""
_TIMEOUT_S = 30.0
_RAYLET: Any = _raylet


class Places:
    """The places of engines, by their ids, in the table of a GCS that a client of Ray's asks."""

    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def at(cls, gcs: str) -> Places:
        """Those of the GCS at an address (host:port)."""
        return cls(_RAYLET.GcsClient(address=gcs))

    def put(self, engine: str, place: EnginePlace) -> None:
        """Have all machines find a place from now on."""
        self._client.internal_kv_put(
            engine.encode(), place.to_json(), True, namespace=_SPACE, timeout=_TIMEOUT_S
        )

    def get(self, engine: str) -> EnginePlace:
        """Return the place of an engine; EngineError if there is none."""
        found = self._client.internal_kv_get(engine.encode(), namespace=_SPACE, timeout=_TIMEOUT_S)
        if found is None:
            raise EngineError(f"the engine {engine} is on this Ray no more")
        return EnginePlace.from_json(found)

    def all(self) -> dict[str, EnginePlace]:
        """Return the places of all engines."""
        names = self._client.internal_kv_keys(b"", namespace=_SPACE, timeout=_TIMEOUT_S)
        return {name.decode(): self.get(name.decode()) for name in names}

    def remove(self, engine: str) -> None:
        """Have no machine find it any more."""
        self._client.internal_kv_del(engine.encode(), False, namespace=_SPACE, timeout=_TIMEOUT_S)


def enter() -> None:
    """Make the engine's place on this machine, and this process one of the engine's."""
    worker: Any = ray._private.worker.global_worker
    enter_by(Places(worker.gcs_client))


def enter_by(places: Places) -> None:
    """Do the same in a process that is no worker of Ray yet."""
    place = places.get(os.environ[MARK])
    place.make()
    binary = haproxy_binary()
    os.environ.update(place.environment)
    os.environ[EDGE] = "" if binary is None or haproxy_problem(binary) else binary
