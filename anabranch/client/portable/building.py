"""Builds portable bundles: a graph, the files beside it and its models by URI, in one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version as version_of
from pathlib import Path
from tempfile import TemporaryDirectory

from anabranch.client.bundle.packed import pack_graph
from anabranch.client.bundle.packing import digest, max_bytes
from anabranch.client.bundle.unpacking import unpack, write_files
from anabranch.client.portable.bundle import BundleManifest, PortableBundle, file_name, open_bundle
from anabranch.client.portable.formats import PROVENANCE_TYPE, SBOM_TYPE
from anabranch.client.portable.locking import REQUIREMENTS, locked
from anabranch.client.portable.making import Artefacts, BundleDraft, assemble, with_manifest
from anabranch.client.portable.models import fetch_models, shared_models, unwatched
from anabranch.client.portable.provenance import build_here, statement
from anabranch.client.portable.sbom import bill
from anabranch.client.portable.signing import signed
from anabranch.client.registry.references import check_version
from anabranch.components.artefacts.bundled import MANIFEST
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.graph.builder import GraphBuilder
from anabranch.graph.compile.loading import Loaded


@dataclass(frozen=True)
class BuiltBundle:
    """A bundle that was built, with what is surprising in it."""

    bundle: PortableBundle
    warnings: tuple[str, ...]


def build(
    graph: GraphBuilder | Path,
    target: Path | None,
    home: Path,
    *,
    version: str = "",
    unlocked: bool = False,
    sign: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> BuiltBundle:
    """Check a graph and write its portable bundle to ``target``, in one step.

    The graph is one built in Python, or the file of a spec. Without a ``target`` the bundle has the
    name ``file_name`` in the working folder.

    Fetches all models by URI, and locks ``requirements.txt`` unless ``unlocked``. The same files,
    models and requirements give a bundle of the same digest. ``home`` is that of the engine in use,
    which no bundle holds; ``sign`` is a file with an Ed25519 private key in PEM.

    Raise SpecError with all mistakes, InvalidRequest for a version that cannot be a tag in a
    registry, a model that cannot be fetched, requirements that cannot be locked, or a key that is
    none, TooLarge, or StorageError.
    """
    check_version(version)
    packed = pack_graph(graph, home)
    loaded = packed.loaded
    files = unpack(packed.bundle.data, max_bytes())
    del files[MANIFEST]
    with TemporaryDirectory(prefix="anabranch-build-") as folder:
        models = fetch_models(loaded.graph, Path(folder), ArtefactSettings.from_env(), say)
        if REQUIREMENTS in files and not unlocked:
            say(f"locking {REQUIREMENTS}")
            files[REQUIREMENTS] = _lock(files, Path(folder) / "files")
        say("packing the bundle")
        draft, manifest = _drafted(packed.spec, loaded, files, models, version)
        provenance = statement(draft.bundle, manifest, build_here(loaded.root))
        draft = draft.with_referrer(PROVENANCE_TYPE, [(PROVENANCE_TYPE, provenance)])
        if sign is not None:
            draft = signed(draft, manifest.code, sign)
        target = target or Path(file_name(manifest))
        draft.write(target)
    ignored = unwatched(loaded.graph, models.by_uri)
    return BuiltBundle(open_bundle(target), (*packed.warnings, *ignored))


def _lock(files: Mapping[str, bytes], folder: Path) -> bytes:
    write_files(files, folder)
    return locked(folder, files[REQUIREMENTS].decode("utf-8", "replace")).encode()


def _drafted(
    spec: str, loaded: Loaded, files: Mapping[str, bytes], models: Artefacts, version: str
) -> tuple[BundleDraft, BundleManifest]:
    code = with_manifest(files, spec, models)
    manifest = BundleManifest(
        graph=loaded.graph.name,
        spec=spec,
        code=digest(code),
        artefacts=models.by_uri,
        anabranch=version_of("anabranch"),
        language=loaded.graph.apiVersion,
        version=version,
        shared=shared_models(loaded.graph),
    )
    digests = {path: sha256(content).hexdigest() for path, content in files.items()}
    lock = files.get(REQUIREMENTS, b"").decode("utf-8", "replace")
    sbom = bill(manifest, digests, lock)
    return assemble(code, manifest, models, {SBOM_TYPE: sbom}), manifest
