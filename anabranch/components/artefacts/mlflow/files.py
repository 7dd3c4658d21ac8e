"""Files of models and runs in MLflow: ``models:/``, ``runs:/`` and ``mlflow-artifacts:/``.

Where the tracking server keeps the files itself they come through its proxy, the API below
``/api/2.0/mlflow-artifacts``; where it names an object store, from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from anabranch.components.artefacts import filesystems
from anabranch.components.artefacts.digests import MAX_FILES
from anabranch.components.artefacts.http import probe, reader
from anabranch.components.artefacts.mlflow.server import TrackingServer, understood
from anabranch.components.artefacts.mlflow.versions import VERSION, resolve
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import MODULES, ArtefactSource, RemoteFile
from anabranch.components.artefacts.uris import is_inner, redacted, scheme
from anabranch.errors import ArtefactError

_LOGGED = re.compile(r"models:/{1,3}(m-[0-9a-f]+)")
_RUN = re.compile(r"runs:/{1,3}([^/]+)/(.+?)/?")


def open_source(uri: str, settings: ArtefactSettings) -> ArtefactSource:
    """List the files of the model, or of the run's artefacts, that a reference means."""
    server, reference = TrackingServer(settings), resolve(uri, settings)
    with understood():
        place = _location(server, reference)
        if scheme(place) == "mlflow-artifacts":
            return _proxied(server, place)
    if MODULES.get(scheme(place)) == filesystems.__name__:
        return filesystems.open_source(place, settings)
    raise ArtefactError(
        f"the tracking server keeps it at {redacted(place)[:200]!r}, which is out of reach; "
        "it must serve artefacts itself, or keep them in an object store"
    )


def _location(server: TrackingServer, reference: str) -> str:
    if match := VERSION.fullmatch(reference):
        name, version = match.groups()
        query = {"name": name, "version": version}
        place: str = server.get("model-versions/get-download-uri", **query)["artifact_uri"]
        return (
            _logged(server, found[1])["artifact_uri"]
            if (found := _LOGGED.fullmatch(place))
            else place
        )
    if match := _LOGGED.fullmatch(reference):
        return _logged(server, match[1])["artifact_uri"]
    if match := _RUN.fullmatch(reference):
        return _of_run(server, match[1], match[2])
    return reference


def _logged(server: TrackingServer, model: str) -> dict[str, str]:
    info: dict[str, str] = server.get(f"logged-models/{quote(model, safe='')}")["model"]["info"]
    return info


def _of_run(server: TrackingServer, run: str, path: str) -> str:
    """Return the place of an artefact of a run.

    Since MLflow 3 a model that a run has logged is no artefact of the run but an output of it.
    """
    found = server.get("runs/get", run_id=run)["run"]
    for output in found.get("outputs", {}).get("model_outputs", ()):
        info = _logged(server, output["model_id"])
        if info.get("name") == path:
            return info["artifact_uri"]
    return f"{found['info']['artifact_uri'].rstrip('/')}/{path}"


def _proxied(server: TrackingServer, place: str) -> ArtefactSource:
    """List what the server serves at a place: a folder, or else a file."""
    top = urlsplit(place).path.strip("/")
    if not is_inner(top):
        raise ArtefactError("the tracking server names a path that leads out of the folder")
    urls = {path: server.file(f"{top}/{path}") for path in _walk(server, top)}
    is_folder = bool(urls)
    urls = urls or {top.rpartition("/")[2]: server.file(top)}
    files = [_marked(probe(url, path, server.headers)) for path, url in urls.items()]
    return ArtefactSource(files, reader(urls, server.headers), is_folder)


def _marked(file: RemoteFile) -> RemoteFile:
    """A server that proxies a store may give no mark; but the files of a version never change."""
    return file if file.mark is not None else file._replace(mark=f"{file.path}:{file.size}")


def _walk(server: TrackingServer, top: str) -> Iterator[str]:
    """Yield the paths of all files below a folder; none where it is a file."""
    folders, seen = [""], 0
    while folders:
        folder = folders.pop()
        for entry in server.listing(f"{top}/{folder}".rstrip("/")).get("files", ()):
            path = f"{folder}/{entry['path']}".lstrip("/")
            seen += 1
            if seen > MAX_FILES or not is_inner(path):
                raise ArtefactError(
                    f"the folder holds over {MAX_FILES} files, or a link that leads out of it"
                )
            if entry.get("is_dir"):
                folders.append(path)
            else:
                yield path
