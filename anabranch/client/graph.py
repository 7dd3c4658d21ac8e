"""``Graph``: a graph built or loaded in Python, which runs in this process and on an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anabranch.client.clients import Client
from anabranch.client.connection.engine_state import resolve_home
from anabranch.client.operations import DeployedRevision
from anabranch.client.reply import InferenceReply
from anabranch.graph.builder import GraphBuilder


class Graph(GraphBuilder):
    """An inference graph under construction, to run here or on an engine.

    ``run`` and ``explain`` load nodes into this process; ``close``, or leaving a ``with`` block,
    unloads them. ``deploy`` and ``infer`` use the engine of this machine's home, unless they are
    given another client.
    """

    def deploy(self, client: Client | None = None, **options: Any) -> DeployedRevision:
        """Deploy the graph, with the files of its root, as a new revision of an engine.

        ``options`` are those of ``Client.deploy``, which gives the errors too.
        """
        with _given_or_own(client) as one:
            return one.deploy(self, **options)

    def build(
        self,
        target: str | os.PathLike[str] | None = None,
        *,
        version: str = "",
        unlocked: bool = False,
        sign: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write the portable bundle of the graph, with the files of its root and its models.

        Return the bundle's file: ``target``, or else a file in the working folder that is named
        after the graph and ``version``. ``requirements.txt`` becomes a lock unless ``unlocked``;
        ``sign`` is the file of an Ed25519 private key in PEM.

        Raise SpecError with all mistakes, InvalidRequest for a model that cannot be fetched,
        requirements that cannot be locked, or a file without such a key, TooLarge, or StorageError.
        """
        from anabranch.client.portable.building import build

        built = build(
            self,
            None if target is None else Path(target),
            resolve_home(None),
            version=version,
            unlocked=unlocked,
            sign=None if sign is None else Path(sign),
        )
        return built.bundle.path

    def infer(
        self,
        inputs: Any,
        outputs: Sequence[str] | None = None,
        client: Client | None = None,
        **options: Any,
    ) -> InferenceReply:
        """Send a request to the deployed graph, which must have been deployed before.

        ``inputs``, ``outputs`` and ``options`` are those of ``Client.infer``, which gives the
        errors too. For many requests, let them share a client.
        """
        with _given_or_own(client) as one:
            return one.infer(self.name, inputs, outputs, **options)


@contextmanager
def _given_or_own(client: Client | None) -> Iterator[Client]:
    if client is not None:
        yield client
        return
    with Client() as own:
        yield own
