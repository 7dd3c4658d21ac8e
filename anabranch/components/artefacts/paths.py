"""From a node to its model on this machine's disk.

A path belongs to the bundle and is as trusted as its code. A URI does not: a format that can run
code needs its digest in the spec, or for MLflow's references a tracking server that whoever runs
the engine trusts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anabranch.components.artefacts import uris
from anabranch.components.artefacts.bundled import BundledArtefact, beside, bundled
from anabranch.components.artefacts.digests import path_digest
from anabranch.components.artefacts.local import local_path
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.contract import CannotLoad
from anabranch.components.source.classes import explain, inside
from anabranch.errors import ArtefactError
from anabranch.specs.excerpts import listing
from anabranch.specs.models import Explainer, Predictor


def model_path(node: Predictor | Explainer, root: Path) -> Path:
    """Return the local path of the node's model, a file or a folder, its digest verified.

    An archive gives the folder of what was in it. Downloads what is not in the cache yet.

    Raises:
        ArtefactError: no model is named, there is none, it leads out of the bundle, its digest
            differs, it is over a limit, or it cannot be fetched.
    """
    if node.model is None:
        raise ArtefactError("the field 'model' is missing")
    return _located("model", node.model, node.sha256, root)


def model_file(node: Predictor | Explainer, root: Path) -> Path:
    """Return the local path of a model that is one file; ArtefactError also where it is a folder.

    Raises what ``model_path`` does.
    """
    path = model_path(node, root)
    if path.is_dir():
        model = node.model or ""
        there = listing(sorted(entry.name for entry in path.iterdir())) or "nothing"
        how = "in it by #path" if uris.is_uri(model) else "in it"
        raise ArtefactError(
            f"model {uris.redacted(model)!r} is a folder, which holds {there}; name a file {how}"
        )
    return path


def data_path(node: Explainer, root: Path) -> Path:
    """Return the local path of an explainer's sample; raises what ``model_path`` does."""
    if node.data is None:
        raise ArtefactError("the field 'data' is missing")
    return _located("data", node.data, None, root)


def check_in_bundle(field: str, model: str, sha256: str | None, root: Path) -> None:
    """Raise ArtefactError where a model of the bundle is not there, or has another digest.

    What is given by URI is not looked at: it is where the engine can reach it.
    """
    if uris.is_uri(model):
        return
    try:
        path = inside(model, root, folders=True)
        _check_digest(path, sha256)
    except (ArtefactError, CannotLoad) as error:
        raise ArtefactError(f"{field} {model!r}: {error}") from None


def check_code(model: str, settings: ArtefactSettings | None = None) -> None:
    """Refuse a model that can run code where the engine takes none, not even out of a bundle.

    See ``ANABRANCH_UNTRUSTED_ARTEFACTS``.
    """
    settings = settings or ArtefactSettings.from_env()
    if settings.refuses_code:
        raise ArtefactError(
            f"model {uris.redacted(model)!r} can run code when it is loaded, which this engine "
            "refuses (ANABRANCH_UNTRUSTED_ARTEFACTS=refuse); formats that cannot are .skops, "
            ".onnx, .safetensors, and those of XGBoost, LightGBM and CatBoost"
        )


def check_trust(model: str, settings: ArtefactSettings | None = None) -> None:
    """Refuse a model of MLflow that can run code, from a tracking server that nobody trusts.

    Its digest cannot stand in the spec where an alias moves, so the operator decides; see
    ``ANABRANCH_MLFLOW_TRUSTED``.
    """
    settings = settings or ArtefactSettings.from_env()
    if not settings.trusts_tracking:
        server = uris.redacted(settings.tracking) or "none, MLFLOW_TRACKING_URI is not set"
        raise ArtefactError(
            f"model {model!r} can run code when it is loaded, and its tracking server ({server}) "
            "is not in ANABRANCH_MLFLOW_TRUSTED; list it there, or give the model's sha256"
        )


def _located(field: str, model: str, sha256: str | None, root: Path) -> Path:
    try:
        if not uris.is_uri(model):
            return _on_disk(inside(model, root, folders=True), sha256)
        wrong = uris.problem(model)
        if wrong is not None:
            raise ArtefactError(wrong)
        return _from_uri(model, sha256, root)
    except (ArtefactError, CannotLoad) as error:
        raise ArtefactError(f"{field} {uris.redacted(model)!r}: {error}") from None


def _from_uri(model: str, sha256: str | None, root: Path) -> Path:
    place, inner = uris.split(model)
    settings = ArtefactSettings.from_env()
    if place not in settings.pins and (brought := bundled(model, root)) is not None:
        found = _brought(brought, sha256, root, settings)
    elif uris.scheme(model) == "file" and place not in settings.pins:
        found = _on_disk(local_path(place), sha256)
    else:
        # Here, for it takes an HTTP client that most graphs never need.
        from anabranch.components.artefacts.fetching import fetched

        found = fetched(place, sha256, settings)
    return _inner(found, inner) if inner else found


def _brought(
    artefact: BundledArtefact, sha256: str | None, root: Path, settings: ArtefactSettings
) -> Path:
    """Return the path of what the bundle has brought along, wherever it is."""
    if sha256 not in (None, artefact.sha256) and not artefact.folder:
        raise ArtefactError(
            f"the bundle has one of sha256 {artefact.sha256}, the spec says {sha256}"
        )
    if (found := beside(artefact, root)) is not None:
        return found
    from anabranch.components.artefacts.fetching import fetched_artefact
    from anabranch.components.artefacts.kept.blobs import open_blob

    return fetched_artefact(artefact, open_blob, settings)


def _on_disk(path: Path, sha256: str | None) -> Path:
    """Return the path itself, or the folder of what is in it where it is an archive."""
    _check_digest(path, sha256)
    if path.is_dir() or not uris.is_archive(path.name):
        return path
    from anabranch.components.artefacts.fetching import unpacked

    return unpacked(path, ArtefactSettings.from_env())


def _check_digest(path: Path, sha256: str | None) -> None:
    if sha256 is not None and (found := path_digest(path)) != sha256:
        raise ArtefactError(f"its sha256 is {found}, the spec says {sha256}")


def _inner(folder: Path, inner: str) -> Path:
    if not folder.is_dir():
        raise ArtefactError(f"it is one file, so there is no {inner!r} in it")
    found = (folder / inner).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise ArtefactError(f"{inner!r} leads out of it")
    if not found.exists():
        there = listing(sorted(str(one.relative_to(folder)) for one in folder.rglob("*")))
        raise ArtefactError(f"there is no {inner!r} in it, which holds {there}")
    return found


@contextmanager
def reading(node: Predictor | Explainer, root: Path) -> Iterator[None]:
    """Turn whatever a library raises on a model file into a CannotLoad that names the file."""
    try:
        yield
    except (CannotLoad, ArtefactError):
        raise
    except Exception as error:
        model = uris.redacted(node.model or "")
        raise CannotLoad(f"cannot load {model}: {explain(error, root)}") from None
