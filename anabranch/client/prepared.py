"""Checks a graph, and packs it with the files beside it, ready to be sent."""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from anabranch.client.bundle.checks import open_complete
from anabranch.client.bundle.packed import PackedGraph, pack_graph
from anabranch.client.bundle.packing import Bundle
from anabranch.client.bundle.signing import signed, with_signatures
from anabranch.client.bundle.unpacking import write_files
from anabranch.client.portable.bundle import PortableBundle, is_bundle, open_bundle
from anabranch.client.portable.models import unwatched
from anabranch.client.portable.pushing import pull
from anabranch.client.portable.signing import code_signatures
from anabranch.client.registry.references import ImageReference, is_reference
from anabranch.client.registry.registry import RegistryClient
from anabranch.graph.builder import GraphBuilder


@dataclass(frozen=True)
class PreparedBundle:
    """A bundle of a graph that has no mistakes; ``folder`` is where its files were."""

    graph: str
    bundle: Bundle
    warnings: Sequence[str]
    folder: Path
    portable: PortableBundle | None = None
    """The portable bundle that it comes from, with the models that the engine needs first."""

    def signed(self, key: str | os.PathLike[str] | None) -> PreparedBundle:
        """Return the bundle signed by the private key in a file, or as it is without one.

        Raise InvalidRequest where there is no such key.
        """
        return self if key is None else replace(self, bundle=signed(self.bundle, Path(key)))


def prepare(graph: GraphBuilder | str | os.PathLike[str], home: Path) -> PreparedBundle:
    """Check and pack a graph: one built in Python with its root, or a spec's file with its folder.

    A portable bundle, by its file or as ``oci://host/name:tag`` in a registry, is verified.

    ``home`` is that of the engine, which no bundle holds. Raise SpecError with all mistakes,
    TooLarge, or InvalidRequest where the folder is the home of an engine.
    """
    if isinstance(graph, GraphBuilder):
        return _prepared(pack_graph(graph, home))
    if is_reference(str(graph)):
        return _pulled(ImageReference.parse(str(graph)))
    path = Path(graph)
    return prepare_portable(open_bundle(path)) if is_bundle(path) else prepare_file(path, home)


def prepare_file(file: Path, home: Path) -> PreparedBundle:
    """Check and pack the spec in a file, with its folder; raise as ``prepare`` does."""
    return _prepared(pack_graph(file, home))


def prepare_portable(bundle: PortableBundle) -> PreparedBundle:
    """Check a portable bundle, which brings its models and signatures; raise SpecError."""
    with TemporaryDirectory(prefix="anabranch-bundle-") as folder:
        write_files(bundle.files, Path(folder))
        loaded = open_complete(Path(folder) / bundle.manifest.spec)
    packed = with_signatures(bundle.code, code_signatures(bundle))
    warnings = tuple(unwatched(loaded.graph, bundle.manifest.artefacts))
    return PreparedBundle(loaded.graph.name, packed, warnings, bundle.path.parent, bundle)


def _pulled(reference: ImageReference) -> PreparedBundle:
    """Pull a bundle into a file that is there as long as it is in use."""
    folder = Path(mkdtemp(prefix="anabranch-bundle-"))
    try:
        with RegistryClient(reference) as registry:
            bundle = pull(reference, registry, folder / "pulled.bundle", lambda text: None)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(bundle, shutil.rmtree, folder, ignore_errors=True)
    return prepare_portable(bundle)


def _prepared(packed: PackedGraph) -> PreparedBundle:
    loaded = packed.loaded
    return PreparedBundle(loaded.graph.name, packed.bundle, packed.warnings, loaded.root)
