"""References to MLflow's tracking server: ``models:/``, ``runs:/`` and ``mlflow-artifacts:/``.

By its REST API (https://mlflow.org/docs/latest/api_reference/rest-api.html) over httpx: importing
the ``mlflow`` package takes seconds. Where the server keeps the files itself they come through its
proxy, the API below ``/api/2.0/mlflow-artifacts``; where it names an object store, from there.
Credentials are ``MLFLOW_TRACKING_TOKEN``, or ``MLFLOW_TRACKING_USERNAME`` and
``MLFLOW_TRACKING_PASSWORD``, as for MLflow's own client.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import httpx

from anabranch.components.artefacts import filesystems
from anabranch.components.artefacts.digests import MAX_FILES
from anabranch.components.artefacts.http import probe, reader, tls
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import (
    MODULES,
    ArtefactSource,
    RemoteFile,
    TransferInterrupted,
)
from anabranch.components.artefacts.uris import is_inner, redacted, scheme
from anabranch.errors import ArtefactError

_TIMEOUT = 10.0
_ALIAS = re.compile(r"models:/{1,3}([^/@]+)@([^/@]+)")
_VERSION = re.compile(r"models:/{1,3}([^/@]+)/([0-9]+)")
_LOGGED = re.compile(r"models:/{1,3}(m-[0-9a-f]+)")
_RUN = re.compile(r"runs:/{1,3}([^/]+)/(.+?)/?")

Json: TypeAlias = Mapping[str, Any]


def resolve(reference: str, settings: ArtefactSettings) -> str:
    """Return the version that a movable reference means now, such as ``models:/m/3``.

    ArtefactError where the server says no, Interrupted where it does not answer.
    """
    match = _ALIAS.fullmatch(reference)
    if match is None:
        return reference
    name, alias = match.groups()
    with _understood():
        found = _Server(settings).get("registered-models/alias", name=name, alias=alias)
        return f"models:/{name}/{int(found['model_version']['version'])}"


def open_source(uri: str, settings: ArtefactSettings) -> ArtefactSource:
    """List the files of the model, or of the run's artefacts, that a reference means."""
    server, reference = _Server(settings), resolve(uri, settings)
    with _understood():
        place = _location(server, reference)
        if scheme(place) == "mlflow-artifacts":
            return _proxied(server, place)
    if MODULES.get(scheme(place)) == filesystems.__name__:
        return filesystems.open_source(place, settings)
    raise ArtefactError(
        f"the tracking server keeps it at {redacted(place)[:200]!r}, which is out of reach; "
        "it must serve artefacts itself, or keep them in an object store"
    )


@contextmanager
def _understood() -> Iterator[None]:
    """Name a server whose answers are not MLflow's."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ArtefactError("the tracking server does not answer as MLflow does") from None


class _Server:
    """The tracking server of the engine."""

    def __init__(self, settings: ArtefactSettings) -> None:
        self.url = settings.tracking
        if not self.url:
            raise ArtefactError("MLFLOW_TRACKING_URI is not set where the engine was started")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ArtefactError("MLFLOW_TRACKING_URI must be an http or https URL of a server")
        self.headers = _credentials(os.environ)

    def get(self, method: str, **query: str) -> Json:
        """Call a method of ``mlflow``'s API; ArtefactError in the words of the server."""
        return self._get(f"/api/2.0/mlflow/{method}", query)

    def listing(self, path: str) -> Json:
        """Return one folder of the files that the server serves."""
        return self._get("/api/2.0/mlflow-artifacts/artifacts", {"path": path})

    def file(self, path: str) -> str:
        """Return the URL of one of the files that the server serves."""
        return f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"

    def _get(self, path: str, query: Mapping[str, str]) -> Json:
        try:
            reply = httpx.get(
                f"{self.url}{path}",
                params=query,
                headers=self.headers,
                timeout=_TIMEOUT,
                verify=tls(),
            )
        except httpx.InvalidURL:
            raise ArtefactError("MLFLOW_TRACKING_URI is not a URL") from None
        except httpx.HTTPError as error:
            raise TransferInterrupted(
                f"the tracking server does not answer ({type(error).__name__})"
            ) from None
        return _answer(reply)


def _answer(reply: httpx.Response) -> Json:
    try:
        body = reply.json()
    except ValueError:
        body = None
    if reply.status_code >= 500:
        raise TransferInterrupted(f"the tracking server answers {reply.status_code}")
    if not isinstance(body, dict) or reply.status_code != 200:
        said = body.get("message", "") if isinstance(body, dict) else ""
        text = f": {redacted(str(said))[:300]}" if said else ""
        raise ArtefactError(f"the tracking server answers {reply.status_code}{text}")
    return body


def _credentials(env: Mapping[str, str]) -> dict[str, str]:
    token, user = env.get("MLFLOW_TRACKING_TOKEN"), env.get("MLFLOW_TRACKING_USERNAME")
    if user:
        pair = f"{user}:{env.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {"authorization": f"Bearer {token}"} if token else {}


def _location(server: _Server, reference: str) -> str:
    """Return where the files of a fixed reference are."""
    if match := _VERSION.fullmatch(reference):
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


def _logged(server: _Server, model: str) -> dict[str, str]:
    info: dict[str, str] = server.get(f"logged-models/{quote(model, safe='')}")["model"]["info"]
    return info


def _of_run(server: _Server, run: str, path: str) -> str:
    """Return the place of an artefact of a run.

    Since MLflow 3 a model that a run has logged is no artefact of the run but an output of it.
    """
    found = server.get("runs/get", run_id=run)["run"]
    for output in found.get("outputs", {}).get("model_outputs", ()):
        info = _logged(server, output["model_id"])
        if info.get("name") == path:
            return info["artifact_uri"]
    return f"{found['info']['artifact_uri'].rstrip('/')}/{path}"


def _proxied(server: _Server, place: str) -> ArtefactSource:
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


def _walk(server: _Server, top: str) -> Iterator[str]:
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
