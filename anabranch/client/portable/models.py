"""The models of a graph by URI, fetched for its portable bundle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from anabranch.client.portable.making import Artefacts, artefact_of
from anabranch.components.artefacts import uris
from anabranch.components.artefacts.bundled import BundledArtefact
from anabranch.components.artefacts.digests import path_digest
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.models.multiplex import PLACE
from anabranch.errors import ArtefactError, InvalidRequest
from anabranch.specs.models import InferenceGraph
from anabranch.specs.shared.reference import shared_reference

_FIELDS = ("model", "data")


def fetch_models(
    graph: InferenceGraph, folder: Path, settings: ArtefactSettings, say: Callable[[str], None]
) -> Artefacts:
    """Fetch all that a graph names by URI; ``folder`` keeps the files.

    InvalidRequest names the node and the URI that cannot be fetched, or means another model with
    each request.
    """
    by_uri: dict[str, BundledArtefact] = {}
    files: dict[str, Path] = {}
    for node, uri, sha256 in references(graph):
        if uri in by_uri:
            continue
        say(f"fetching {uris.redacted(uri)}")
        place = folder / str(len(by_uri))
        try:
            path = _fetched(uri, sha256, settings, place)
            one, file = artefact_of(path, Path(f"{place}.tar"), uris.filename(uri))
        except ArtefactError as error:
            raise InvalidRequest(f"node {node!r}: {uris.redacted(uri)!r}: {error}") from None
        by_uri[uri], files[one.sha256] = one, file
    return Artefacts(by_uri, files)


def references(graph: InferenceGraph) -> Iterator[tuple[str, str, str | None]]:
    """Yield each node with a URI that it names, without the path inside, and its digest.

    InvalidRequest for a URI in which a request fills in a part.
    """
    for name, node in graph.spec.nodes.items():
        for field in _FIELDS:
            uri = uris.split(getattr(node, field, None) or "")[0]
            if not uris.is_uri(uri) or uris.scheme(uri) not in uris.SCHEMES:
                continue
            if getattr(node, "multiplex", None) is not None and PLACE in uri:
                raise InvalidRequest(
                    f"node {name!r}: {uri!r} means another model with each request, so no bundle "
                    f"can bring it along: put the models beside the spec, as models/{PLACE}.onnx"
                )
            yield name, uri, getattr(node, "sha256", None) if field == "model" else None


def shared_models(graph: InferenceGraph) -> tuple[str, ...]:
    """Return the shared models that a graph uses, such as ``shared://name``, in order."""
    found = {str(shared_reference(node) or "") for node in graph.spec.nodes.values()}
    return tuple(sorted(found - {""}))


def unwatched(graph: InferenceGraph, brought: Collection[str]) -> Iterator[str]:
    """Yield a warning for each node that would watch a model of those that are ``brought`` along.

    They are in the bundle, and stay what they are.
    """
    for name, node in graph.spec.nodes.items():
        uri = uris.split(getattr(node, "model", None) or "")[0]
        if getattr(node, "watch", False) and uri in brought:
            yield (
                f"node {name!r}: `watch` has no effect, for the bundle brings "
                f"{uris.redacted(uri)!r} along; deploy the spec itself to follow the model"
            )


def _fetched(uri: str, sha256: str | None, settings: ArtefactSettings, place: Path) -> Path:
    if uris.scheme(uri) != "file":
        # Here, for it takes an HTTP client that most graphs never need.
        from anabranch.components.artefacts.fetching import downloaded

        return downloaded(uri, sha256, settings, place)
    path = Path(unquote(urlsplit(uri).path))
    if not path.exists():
        raise ArtefactError("there is no such file")
    if sha256 is not None and (found := path_digest(path)) != sha256:
        raise ArtefactError(f"its sha256 is {found}, the spec says {sha256}")
    return path
