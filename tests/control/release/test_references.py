"""MLflow's aliases, as a deploy takes them down. A real server: ``tests/e2e/test_mlflow.py``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from anabranch.client.bundle.packing import pack, zipped
from anabranch.client.bundle.unpacking import write_files
from anabranch.components.artefacts.bundled import MANIFEST, BundledArtefact
from anabranch.control.release.releases import Releases
from anabranch.control.settings.settings import Settings
from anabranch.control.store.store import Store
from anabranch.errors import EngineError, InvalidRequest, Unavailable
from tests.control.web import Answer, Asked, Web, running

SKOPS = "models:/m@champion#model.skops"
PICKLE = "models:/m@champion#model.pkl"
SHA256 = "0" * 64


@pytest.fixture
def tracking() -> Iterator[Web]:
    def alias(asked: Asked) -> Answer:
        known = {"champion": "3", "next": "5"}
        version = known.get(asked.query.get("alias", ""))
        body = {"model_version": {"version": version}} if version else {"message": "no alias"}
        return Answer(200 if version else 404, json.dumps(body).encode())

    with running(alias) as web:
        yield web


def graph(*nodes: str) -> str:
    named = {f"n{number}": f"{{{text}, inputs: {{x: x}}}}" for number, text in enumerate(nodes)}
    return f"""
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {{name: digits}}
spec:
  inputs: {{x: {{datatype: FP32, shape: [-1]}}}}
  nodes: {{{", ".join(f"{name}: {text}" for name, text in named.items())}}}
  outputs: {{{", ".join(f"y{name}: {name}" for name in named)}}}
"""


def predictor(model: str, more: str = "") -> str:
    return f"type: predictor, runtime: sklearn, model: '{model}'{more}"


class Reception:
    def __init__(self, folder: Path, **env: str) -> None:
        self._folder = folder
        self.settings = Settings.from_env({"ANABRANCH_HOME": str(folder / "home"), **env})
        self.releases = Releases(self.settings)

    def receive(self, *nodes: str) -> Any:
        source = self._folder / "source"
        write_files({"graph.yaml": graph(*nodes).encode()}, source)
        return self.releases.receive("digits", pack(source / "graph.yaml", 2**20).data)

    def receive_bundled(self, pinned: Mapping[str, bytes], *nodes: str) -> Any:
        """Receive a bundle that has brought these models along, by URI."""
        artefacts = {}
        for uri, content in pinned.items():
            digest, size = sha256(content).hexdigest(), len(content)
            self.releases.blobs.receive(digest, size, 0, content, size)
            artefacts[uri] = BundledArtefact("model.pkl", digest, size).to_json()
        manifest = json.dumps({"spec": "graph.yaml", "artefacts": artefacts}).encode()
        files = {"graph.yaml": graph(*nodes).encode(), MANIFEST: manifest}
        return self.releases.receive("digits", zipped(files))


def test_what_moves_is_pinned_once(tmp_path: Path, tracking: Web) -> None:
    reception = Reception(tmp_path, MLFLOW_TRACKING_URI=tracking.url)
    received = reception.receive(
        predictor(SKOPS), predictor(SKOPS), predictor("models:/m@next#model.skops"),
        predictor("models:/m/7#model.skops"), predictor("models/m.skops"),
    )  # fmt: skip
    assert received.pins == {"models:/m@champion": "models:/m/3", "models:/m@next": "models:/m/5"}
    assert len(tracking.asked) == 2


def test_nothing_is_asked_where_nothing_moves(tmp_path: Path, tracking: Web) -> None:
    reception = Reception(tmp_path, MLFLOW_TRACKING_URI=tracking.url)
    assert reception.receive(predictor("models:/m/7#m.skops")).pins == {}
    assert tracking.asked == []


def test_an_alias_that_is_not_there_names_the_node(tmp_path: Path, tracking: Web) -> None:
    reception = Reception(tmp_path, MLFLOW_TRACKING_URI=tracking.url)
    with pytest.raises(InvalidRequest, match=r"node 'n0': model 'models:/m@none': .*no alias"):
        reception.receive(predictor("models:/m@none#m.skops"))


def test_no_server_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="MLFLOW_TRACKING_URI is not set"):
        Reception(tmp_path).receive(predictor(SKOPS))
    with pytest.raises(Unavailable, match=r"node 'n0': .* the tracking server does not answer"):
        Reception(tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:1").receive(predictor(SKOPS))


@pytest.mark.parametrize("trusted", ["", "https://other", "URL/below"])
def test_what_can_run_code_needs_trust(tmp_path: Path, tracking: Web, trusted: str) -> None:
    env = {
        "MLFLOW_TRACKING_URI": tracking.url,
        "ANABRANCH_MLFLOW_TRUSTED": trusted.replace("URL", tracking.url),
    }
    with pytest.raises(InvalidRequest, match=r"node 'n0': .* is not in ANABRANCH_MLFLOW_TRUSTED"):
        Reception(tmp_path, **env).receive(predictor(PICKLE))


def test_trust_in_the_server_is_enough_and_so_is_a_digest(tmp_path: Path, tracking: Web) -> None:
    env = {"MLFLOW_TRACKING_URI": f"{tracking.url}/"}
    digest = f", sha256: '{SHA256}'"
    assert Reception(tmp_path, **env).receive(predictor(PICKLE, digest)).pins
    env["ANABRANCH_MLFLOW_TRUSTED"] = f"https://other, {tracking.url}"
    assert Reception(tmp_path, **env).receive(predictor(PICKLE)).pins


def test_a_revision_keeps_its_pins_and_its_replicas_get_them(
    tmp_path: Path, tracking: Web, url: str
) -> None:
    reception, store = Reception(tmp_path, MLFLOW_TRACKING_URI=tracking.url), Store.open(url)
    received = reception.receive(predictor(SKOPS))
    pins = {"models:/m@champion": "models:/m/3"}
    store.ensure_revision("digits", received.spec, received.digest, pins=received.pins)
    revision = store.revision("digits", 1)
    assert revision.pins == pins and store.revisions("digits")[0].pins == pins
    release = reception.releases.release(revision)
    assert json.loads(release.runtime_env["env_vars"]["ANABRANCH_PINS"]) == pins
    variables = release.environment(release.plan.head)["env_vars"]
    assert variables["ANABRANCH_PINS"] == json.dumps(pins)
    assert variables["ANABRANCH_GRAPH"] == "digits"
    store.close()


def test_a_file_is_pinned_where_it_is_watched(tmp_path: Path) -> None:
    place = tmp_path / "m.skops"
    place.write_bytes(b"one")
    uri, digest = place.as_uri(), hashlib.sha256(b"one").hexdigest()
    reception = Reception(tmp_path)
    received = reception.receive(predictor(uri), predictor(f"{uri}#a.skops", ", watch: true"))
    assert received.pins == {uri: f"sha256:{digest}"}
    assert reception.receive(predictor(uri)).pins == {}
    place.unlink()
    with pytest.raises(InvalidRequest, match=r"node 'n0': .*there is no such file"):
        reception.receive(predictor(uri, ", watch: true"))


def test_a_secret_in_a_query_is_not_shown(tmp_path: Path) -> None:
    with running(lambda _: Answer(503)) as web:
        model = f"{web.url}/m.skops?token=secret"
        with pytest.raises(Unavailable) as caught:
            Reception(tmp_path).receive(predictor(model, ", watch: true"))
    assert "secret" not in str(caught.value)


def test_a_bundle_again_with_other_pins(tmp_path: Path, tracking: Web, url: str) -> None:
    reception, store = Reception(tmp_path, MLFLOW_TRACKING_URI=tracking.url), Store.open(url)
    received = reception.receive(predictor(SKOPS))
    store.ensure_revision("digits", received.spec, received.digest, pins=received.pins)
    pins = {"models:/m@champion": "models:/m/9"}
    again = reception.releases.again(store.revision("digits", 1), pins)
    assert (again.digest, again.spec, again.pins) == (received.digest, received.spec, pins)
    refuses = Reception(tmp_path, ANABRANCH_UNTRUSTED_ARTEFACTS="refuse")
    trusts = {"ANABRANCH_MLFLOW_TRUSTED": tracking.url, "MLFLOW_TRACKING_URI": tracking.url}
    received = Reception(tmp_path, **trusts).receive(predictor(PICKLE))
    store.ensure_revision("digits", received.spec, received.digest, pins=received.pins)
    with pytest.raises(InvalidRequest, match="can run code"):
        refuses.releases.again(store.revision("digits", 2), pins)
    store.close()


def test_engines_may_refuse_whatever_can_run_code(tmp_path: Path) -> None:
    refuses = Reception(tmp_path, ANABRANCH_UNTRUSTED_ARTEFACTS="refuse")
    for model in ("models/m.joblib", "s3://bucket/m.pkl", PICKLE):
        with pytest.raises(InvalidRequest) as caught:
            refuses.receive(predictor(model, f", sha256: {SHA256}"))
        assert f"node 'n0': model {model!r} can run code" in str(caught.value)
    refuses.receive(predictor("models/m.skops"))
    with pytest.raises(EngineError, match="is not `sha256` or `refuse`"):
        Reception(tmp_path, ANABRANCH_UNTRUSTED_ARTEFACTS="never")


def test_what_a_bundle_has_brought_along_neither_moves_nor_needs_trust(
    tmp_path: Path, tracking: Web
) -> None:
    reception = Reception(tmp_path, MLFLOW_TRACKING_URI=tracking.url)
    brought = {"models:/m@champion": b"a model"}
    received = reception.receive_bundled(
        brought, predictor(PICKLE), predictor("models:/m@next#model.skops")
    )
    assert received.pins == {"models:/m@next": "models:/m/5"}
    strict = Reception(tmp_path / "strict", ANABRANCH_UNTRUSTED_ARTEFACTS="refuse")
    with pytest.raises(InvalidRequest, match="ANABRANCH_UNTRUSTED_ARTEFACTS=refuse"):
        strict.receive_bundled(brought, predictor(PICKLE))
