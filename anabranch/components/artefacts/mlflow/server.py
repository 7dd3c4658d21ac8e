"""Calls to MLflow's tracking server, whose errors become ours.

By its REST API (https://mlflow.org/docs/latest/api_reference/rest-api.html). Credentials are
``MLFLOW_TRACKING_TOKEN``, or ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``, as for
MLflow's own client.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit

import httpx

from anabranch.components.artefacts.http import tls
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import TransferInterrupted
from anabranch.components.artefacts.uris import redacted
from anabranch.errors import ArtefactError

_TIMEOUT = 10.0

Json: TypeAlias = Mapping[str, Any]


@contextmanager
def understood() -> Iterator[None]:
    """Raise ArtefactError that names a server whose answers are not MLflow's."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ArtefactError("the tracking server does not answer as MLflow does") from None


class TrackingServer:
    """The tracking server of the engine. ArtefactError where none is configured.

    Calls raise ArtefactError in the words of a server that says no, and TransferInterrupted where
    it does not answer.
    """

    def __init__(self, settings: ArtefactSettings) -> None:
        self.url = settings.tracking
        if not self.url:
            raise ArtefactError("MLFLOW_TRACKING_URI is not set where the engine was started")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ArtefactError("MLFLOW_TRACKING_URI must be an http or https URL of a server")
        self.headers = _credentials(os.environ)

    def get(self, method: str, **query: str | list[str]) -> Json:
        """Call a method of ``mlflow``'s API that reads."""
        return self._call("GET", f"/api/2.0/mlflow/{method}", params=query)

    def post(self, method: str, **body: str) -> Json:
        """Call a method of ``mlflow``'s API that writes, with a body of JSON."""
        return self._call("POST", f"/api/2.0/mlflow/{method}", json=body)

    def listing(self, path: str) -> Json:
        """Return one folder of the files that the server serves."""
        return self._call("GET", "/api/2.0/mlflow-artifacts/artifacts", params={"path": path})

    def file(self, path: str) -> str:
        """Return the URL of one of the files that the server serves."""
        return f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"

    def _call(self, verb: str, path: str, **request: Any) -> Json:
        try:
            reply = httpx.request(
                verb,
                f"{self.url}{path}",
                headers=self.headers,
                timeout=_TIMEOUT,
                verify=tls(),
                **request,
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
