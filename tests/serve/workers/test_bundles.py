"""Bundles on a machine that shares no folder with the engine: how a replica gets its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import ray

from anabranch.client.bundle.packing import digest
from anabranch.components.artefacts import fetching
from anabranch.components.artefacts.bundled import BundledArtefact
from anabranch.components.artefacts.kept import blobs
from anabranch.components.artefacts.paths import model_path
from anabranch.control.release.bundles import BundleStore
from anabranch.errors import ArtefactError, NotFound
from anabranch.serve.calls import controller
from anabranch.serve.workers import bundles
from anabranch.serve.workers.bundles import STORE, enter_bundle, obtain_bundle, place_of
from anabranch.serve.workers.launcher import BUNDLE, PROBLEM
from anabranch.specs.models import Predictor

FILES = {"anabranch.json": b"{}", "graph.yaml": b"x", "noise": os.urandom(100_000)}
NAME = digest(FILES)


class BundleActor:
    """What the controller's actor is to whoever calls it; ``faults`` are raised first, by turns."""

    def __init__(self, store: BundleStore) -> None:
        self.store = store
        self.asked: list[tuple[int, int]] = []
        self.faults: list[Exception | None] = []

    def __getattr__(self, method: str) -> Any:
        assert method == "bundle"
        return self

    def remote(self, name: str, start: int, most: int) -> Callable[[], tuple[int, bytes]]:
        def answer() -> tuple[int, bytes]:
            self.asked.append((start, most))
            if self.faults and (fault := self.faults.pop(0)) is not None:
                raise fault
            digest, _, kind = name.partition(".")
            store = self.store.blobs if kind == "blob" else self.store
            return store.part(digest, start, most)

        return answer

    @property
    def starts(self) -> list[int]:
        return [start for start, most in self.asked if most]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BundleActor:
    store = BundleStore(tmp_path / "bundles")
    assert store.put(FILES) == NAME
    found = BundleActor(store)

    class Ray:
        get_actor = staticmethod(lambda *_: found)
        get = staticmethod(lambda answer, timeout: answer())

    monkeypatch.setattr(controller, "ray", Ray)
    monkeypatch.setattr(bundles, "PIECE", 30_000)
    monkeypatch.setattr(fetching, "_PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("ANABRANCH_CACHE", str(tmp_path / "cache"))
    return found


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_machine_fetches_a_bundle_once_in_pieces(engine: BundleActor) -> None:
    with ThreadPoolExecutor(4) as pool:
        (folder,) = set(pool.map(obtain_bundle, [NAME] * 4))
    assert read(folder) == FILES
    assert engine.starts == [0, 30_000, 60_000, 90_000]


def test_a_transfer_goes_on_where_it_broke_off(engine: BundleActor) -> None:
    engine.faults = [None, None, ray.exceptions.RayActorError(), None, None, None]
    assert read(obtain_bundle(NAME)) == FILES
    assert engine.starts == [0, 30_000, 30_000, 60_000, 90_000]


def test_an_engine_that_does_not_answer(engine: BundleActor) -> None:
    engine.faults = [ray.exceptions.GetTimeoutError("late")] * 9
    with pytest.raises(
        ArtefactError,
        match=rf"the bundle {NAME[:12]}… from the engine: cannot be fetched: the controller does",
    ):
        obtain_bundle(NAME)


def test_a_bundle_that_the_engine_does_not_have(engine: BundleActor) -> None:
    missing = NotFound("the bundle '0000' is not in /home")
    raised = ray.exceptions.RayTaskError("bundle", "Traceback:\n  somewhere", missing)
    engine.faults = [raised.as_instanceof_cause()]
    with pytest.raises(ArtefactError, match=r"^the bundle 0+… from the engine: the bundle '0000'"):
        obtain_bundle("0" * 64)
    with pytest.raises(ArtefactError, match=r"from the engine: the bundle '0000.*' is not in "):
        obtain_bundle("0" * 64)


def test_another_content_than_the_digest_says(engine: BundleActor, tmp_path: Path) -> None:
    other = engine.store.put({**FILES, "graph.yaml": b"y"})
    engine.store.path(other).replace(tmp_path / "bundles" / f"{NAME}.zip")
    with pytest.raises(ArtefactError, match=f"what came has the digest {other}, and was thrown"):
        obtain_bundle(NAME)
    assert not list((tmp_path / "cache" / "entries").glob("*"))
    engine.store.path(NAME).unlink()
    engine.store.put(FILES)
    assert read(obtain_bundle(NAME)) == FILES


def test_a_store_of_the_users_stands_in_for_the_engine(
    engine: BundleActor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = (tmp_path / "store").as_uri()
    BundleStore(tmp_path / "bundles", url).put(FILES)
    monkeypatch.setenv(STORE, url)
    assert read(obtain_bundle(NAME)) == FILES
    assert engine.asked == []
    with pytest.raises(ArtefactError, match=f"from the bundle store {url}: there is no such file"):
        obtain_bundle("0" * 64)


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put back what a process changes of itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "/before")


@pytest.mark.usefixtures("process")
def test_a_replica_works_in_its_bundle(
    engine: BundleActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BUNDLE, NAME)
    folder = enter_bundle()
    assert read(Path.cwd()) == FILES
    assert sys.path[0] == str(folder) == str(Path.cwd())
    assert os.environ["PYTHONPATH"] == f"{folder}:/before"


@pytest.mark.usefixtures("process")
def test_on_the_engines_own_machine_it_is_there_already(tmp_path: Path) -> None:
    assert enter_bundle() == tmp_path
    assert place_of("node 'a': no") == "node 'a': no"


@pytest.mark.usefixtures("process")
def test_what_went_wrong_before_is_said_with_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUNDLE, NAME)
    monkeypatch.setenv(PROBLEM, "requirements.txt: no such package")
    monkeypatch.setattr(bundles.socket, "gethostname", lambda: "gpu-7")
    with pytest.raises(ArtefactError, match=r"requirements\.txt: no such package"):
        enter_bundle()
    assert place_of("no such package") == "no such package (on machine gpu-7)"


@pytest.mark.usefixtures("process")
def test_models_that_a_bundle_has_brought_along_come_in_pieces_too(
    engine: BundleActor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANABRANCH_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(blobs, "_reached", [])
    model, uri = os.urandom(70_000), "http://127.0.0.1:9/m.onnx"
    digest = sha256(model).hexdigest()
    engine.store.blobs.receive(digest, len(model), 0, model, len(model))
    pins = {uri: BundledArtefact("m.onnx", digest, len(model)).to_json()}
    manifest = json.dumps({"spec": "graph.yaml", "artefacts": pins}).encode()
    monkeypatch.setenv(BUNDLE, engine.store.put({"anabranch.json": manifest, "graph.yaml": b"x"}))
    folder = enter_bundle()
    engine.asked.clear()
    predictor = Predictor(type="predictor", runtime="onnx", model=uri, inputs={"x": "x"})
    found = model_path(predictor, folder)
    assert (found.name, found.read_bytes()) == ("m.onnx", model)
    assert engine.starts == [0, 30_000, 60_000]
    assert model_path(predictor, folder) == found
    assert len(engine.starts) == 3
