"""MLflow's REST API as a server speaks it that is well, and as one does that is not.

A real tracking server is asked in ``tests/e2e/test_mlflow.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anabranch.components.artefacts.digests import path_digest
from anabranch.components.artefacts.fetching import fetched
from anabranch.components.artefacts.mlflow.versions import described, resolve, set_tag
from anabranch.components.artefacts.paths import model_path
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import TransferInterrupted
from anabranch.errors import ArtefactError
from tests.control.web import Answer, Asked, Web, running

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
LOGGED = "m-" + "0" * 32
TREE = {"art/MLmodel": b"flavors: {}", "art/data/model.pkl": b"\x80pickle", "one/notes.txt": b"hi"}
PLACE = "mlflow-artifacts:/art"


class Tracking:
    """What the server knows: answers by path, ``{}`` for a listing that has nothing."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.aliases = {"champion": "1"}
        self.stages = {"1": "Archived", "2": "Production", "10": "Production", "11": "None"}
        self.notes: dict[str, dict[str, Any]] = {}
        self.tags: list[Any] = []
        self.places = {"1": PLACE, "2": f"models:/{LOGGED}"}
        self.files = dict(TREE)
        self.run: dict[str, Any] = {"info": {"artifact_uri": "mlflow-artifacts:/one"}}
        self.broken: Answer | None = None
        web.answer = self.answer

    def answer(self, asked: Asked) -> Answer:
        if self.broken is not None:
            return self.broken
        if asked.path.startswith(f"{FILES}/"):
            data = self.files.get(asked.path.removeprefix(f"{FILES}/"))
            return Answer(404) if data is None else Answer(200, data)
        if asked.path == f"{API}/model-versions/set-tag":
            self.tags.append(asked.json)
            return Answer(200, b"{}")
        found = self.described(asked.path, asked.query)
        body = found if found is not None else {"message": f"no such thing, token={'s' * 999}"}
        return Answer(200 if found is not None else 404, json.dumps(body).encode())

    def described(self, path: str, query: dict[str, str]) -> dict[str, Any] | None:
        match path.removeprefix(API):
            case "/registered-models/alias":
                version = self.aliases.get(query["alias"])
                return version and {"model_version": {"version": version}}
            case "/registered-models/get-latest-versions":
                wanted = query.get("stages")
                found = [n for n, stage in self.stages.items() if wanted in (None, stage)]
                return {"model_versions": [{"version": one} for one in found]}
            case "/model-versions/get":
                return self.notes.get(query["version"])
            case "/model-versions/get-download-uri":
                place = self.places.get(query["version"])
                return place and {"artifact_uri": place}
            case "/runs/get":
                return {"run": self.run}
            case method if method == f"/logged-models/{LOGGED}":
                return {"model": {"info": {"name": "model", "artifact_uri": PLACE}}}
        return self.listed(query["path"].rstrip("/") + "/") if path == FILES else None

    def listed(self, top: str) -> dict[str, Any]:
        below = [name.removeprefix(top) for name in self.files if name.startswith(top)]
        folders = {name.partition("/")[0] for name in below if "/" in name}
        files = [{"path": name, "file_size": 1} for name in below if "/" not in name]
        return {"files": files + [{"path": name, "is_dir": True} for name in folders]}


@pytest.fixture
def tracking() -> Iterator[Tracking]:
    with running() as web:
        yield Tracking(web)


@pytest.fixture
def here(settings: ArtefactSettings, tracking: Tracking) -> ArtefactSettings:
    return replace(settings, tracking=tracking.web.url)


def files(path: Path) -> dict[str, bytes]:
    return {
        one.relative_to(path).as_posix(): one.read_bytes()
        for one in path.rglob("*")
        if one.is_file()
    }


MODEL = {"MLmodel": b"flavors: {}", "data/model.pkl": b"\x80pickle"}


@pytest.mark.parametrize(
    "reference",
    ["models:/m@champion", "models:/m/1", "models:/m/2", f"models:/{LOGGED}", PLACE],
)
def test_a_model(here: ArtefactSettings, reference: str) -> None:
    assert files(fetched(reference, None, here)) == MODEL


def test_an_artefact_of_a_run(here: ArtefactSettings, tracking: Tracking) -> None:
    assert fetched("runs:/abc/notes.txt", None, here).read_bytes() == b"hi"
    tracking.run["outputs"] = {"model_outputs": [{"model_id": LOGGED}]}
    assert files(fetched("runs:/abc/model", None, here)) == MODEL
    assert fetched("runs:/abc/notes.txt", None, here).read_bytes() == b"hi"


def test_the_digest_is_that_of_the_folder(here: ArtefactSettings) -> None:
    digest = path_digest(fetched("models:/m/1", None, here))
    assert files(fetched("models:/m/1", digest, here)) == MODEL
    with pytest.raises(ArtefactError, match=f"its sha256 is {digest}"):
        fetched("models:/m/1", "0" * 64, here)


def test_an_alias_becomes_a_version(here: ArtefactSettings) -> None:
    assert resolve("models:/m@champion", here) == "models:/m/1"
    assert resolve("models:/m/7", here) == "models:/m/7"


def test_a_pinned_alias_stays(here: ArtefactSettings, tracking: Tracking) -> None:
    pinned = replace(here, pins={"models:/m@champion": "models:/m/1"})
    tracking.aliases["champion"] = "9"
    assert files(fetched("models:/m@champion", None, pinned)) == MODEL


def test_a_path_inside(
    here: ArtefactSettings, node: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here.tracking)
    monkeypatch.setenv("ANABRANCH_CACHE", str(here.cache))

    def found(inner: str) -> Path:
        model = f"models:/m@champion#{inner}"
        return model_path(node(type="predictor", runtime="sklearn", model=model), tmp_path)

    assert found("data/model.pkl").read_bytes() == b"\x80pickle"
    assert found("data").is_dir()
    with pytest.raises(ArtefactError, match="no 'none' in it, which holds MLmodel, data, data/mod"):
        found("none")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"MLFLOW_TRACKING_TOKEN": "t"}, "Bearer t"),
        ({"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"}, "Basic dTpw"),
        ({}, None),
    ],
)
def test_credentials(
    here: ArtefactSettings,
    tracking: Tracking,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    expected: str | None,
) -> None:
    for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    fetched("models:/m/1", None, here)
    assert {one.headers.get("authorization") for one in tracking.web.asked} == {expected}


@pytest.mark.parametrize(
    ("tracking_uri", "message"),
    [("", "MLFLOW_TRACKING_URI is not set"), ("sqlite:///x.db", "must be an http or https URL")],
)
def test_no_server(settings: ArtefactSettings, tracking_uri: str, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        fetched("models:/m/1", None, replace(settings, tracking=tracking_uri))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models:/m@none", "the tracking server answers 404: no such thing"),
        ("models:/m/9", "the tracking server answers 404"),
        ("runs:/abc/none", "the server answers 404"),
    ],
)
def test_what_is_not_there(here: ArtefactSettings, reference: str, message: str) -> None:
    with pytest.raises(ArtefactError, match=message) as caught:
        fetched(reference, None, here)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"<html>"), "the tracking server answers 200"),
        (Answer(401, b"[]"), "the tracking server answers 401"),
        (Answer(200, b"{}"), "the tracking server does not answer as MLflow does"),
        (Answer(200, b'{"artifact_uri": 1}'), "the tracking server does not answer as MLflow does"),
    ],
)
def test_a_server_that_is_none_of_mlflow(
    here: ArtefactSettings, tracking: Tracking, answer: Answer, message: str
) -> None:
    tracking.broken = answer
    for reference in ("models:/m/1", "models:/m@champion", "runs:/abc/model"):
        with pytest.raises(ArtefactError, match=message):
            fetched(reference, None, here)


def test_a_server_that_is_down(here: ArtefactSettings, tracking: Tracking) -> None:
    tracking.broken = Answer(503)
    with pytest.raises(ArtefactError, match="cannot be fetched: the tracking server answers 503"):
        fetched("models:/m/1", None, here)
    with pytest.raises(TransferInterrupted, match="the tracking server does not answer"):
        resolve("models:/m@champion", replace(here, tracking="http://127.0.0.1:1"))


@pytest.mark.parametrize(
    "place", ["file:///etc", "/etc", "dbfs:/m", "http://127.0.0.1:1/m", "models:/m/1"]
)
def test_places_out_of_reach(here: ArtefactSettings, tracking: Tracking, place: str) -> None:
    tracking.places["1"] = place
    with pytest.raises(ArtefactError, match="out of reach"):
        fetched("models:/m/1", None, here)


@pytest.mark.parametrize("name", ["../x", "a//x", "a/../../x", ".."])
def test_a_listing_that_leads_out(
    here: ArtefactSettings, tracking: Tracking, tmp_path: Path, name: str
) -> None:
    tracking.listed = lambda top: {"files": [{"path": name, "file_size": 1}]}  # type: ignore[method-assign]
    with pytest.raises(ArtefactError, match="leads out"):
        fetched("models:/m/1", None, here)


def test_a_listing_without_end(
    here: ArtefactSettings, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anabranch.components.artefacts.mlflow.files.MAX_FILES", 20)
    tracking.listed = lambda top: {"files": [{"path": "a", "is_dir": True}]}  # type: ignore[method-assign]
    with pytest.raises(ArtefactError, match="holds over 20 files"):
        fetched("models:/m/1", None, here)


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("models:/m/Production", "models:/m/10"),
        ("models:/m/Archived", "models:/m/1"),
        ("models:/m/latest", "models:/m/11"),
        ("models:/m/7", "models:/m/7"),
    ],
)
def test_stages(tracking: Tracking, here: ArtefactSettings, reference: str, version: str) -> None:
    assert resolve(reference, here) == version


def test_a_stage_without_a_version(tracking: Tracking, here: ArtefactSettings) -> None:
    with pytest.raises(ArtefactError, match="'m' has no version in the stage Staging"):
        resolve("models:/m/Staging", here)
    tracking.stages = {}
    with pytest.raises(ArtefactError, match=r"'m' has no version$"):
        resolve("models:/m/latest", here)


def test_notes_on_a_version(tracking: Tracking, here: ArtefactSettings) -> None:
    tags = [{"key": "f1", "value": "0.9"}, {"key": "empty"}]
    tracking.notes["3"] = {"model_version": {"description": "sharper", "tags": tags}}
    tracking.notes["4"] = {"model_version": {}}
    found = described("models:/m/3", here)
    assert found is not None
    assert (found.name, found.number, found.description) == ("m", 3, "sharper")
    assert found.tags == {"f1": "0.9", "empty": ""}
    bare = described("models:/m/4", here)
    assert bare is not None and (bare.description, bare.tags) == ("", {})
    assert described("models:/m@champion", here) is None
    with pytest.raises(ArtefactError, match="404"):
        described("models:/m/5", here)


def test_a_tag(tracking: Tracking, here: ArtefactSettings) -> None:
    set_tag("models:/m/3", "state", "live", here)
    assert tracking.tags == [{"name": "m", "version": "3", "key": "state", "value": "live"}]
    with pytest.raises(ArtefactError, match="no version such as models:/name/3"):
        set_tag("models:/m@champion", "state", "live", here)
    tracking.broken = Answer(503)
    with pytest.raises(TransferInterrupted):
        set_tag("models:/m/3", "state", "live", here)
