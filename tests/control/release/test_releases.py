from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anabranch.client.bundle.packing import pack
from anabranch.client.bundle.unpacking import write_files
from anabranch.components.artefacts.locks import locked
from anabranch.control.release.environments import key
from anabranch.control.release.releases import SPARE, Received, Releases
from anabranch.control.release.worker_python import COMMAND, TIMEOUT
from anabranch.control.settings.settings import Settings
from anabranch.control.store.records import Revision
from anabranch.errors import InvalidRequest, StorageError
from anabranch.graph.compile.loading import load_text
from anabranch.serve.workers.launcher import BUNDLE
from tests.control.control_api import ROLLOUT, SPEC
from tests.control.release.test_environments import WHEEL, wheel
from tests.control.stores import new_store
from tests.disks import small_disk
from tests.waiting import until


def bundle(folder: Path, spec: str) -> bytes:
    write_files({"graph.yaml": spec.replace("NAME", "digits").encode(), "parts.py": b""}, folder)
    return pack(folder / "graph.yaml", 2**20).data


def releases(folder: Path, **env: str) -> Releases:
    return Releases(Settings.from_env({"ANABRANCH_HOME": str(folder / "home"), **env}))


def stored(folder: Path, received: Received) -> Revision:
    store = new_store(f"sqlite:///{folder / 'store.db'}")
    revision, _ = store.ensure_revision("digits", received.spec, received.digest)
    store.close()
    return revision


def test_a_bundle_is_for_its_own_graph(tmp_path: Path) -> None:
    data = bundle(tmp_path / "source", SPEC)
    with pytest.raises(InvalidRequest, match="is for graph 'digits', not 'iris'"):
        releases(tmp_path).receive("iris", data)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gate: http://hooks/gate", "rollout.gate: 'http://hooks/gate' is not below"),
        ("webhooks: [http://hooks/x, http://other/x]", "rollout.webhooks: 'http://hooks/x' .*"),
    ],
)
def test_a_rollout_may_only_call_what_the_settings_allow(
    tmp_path: Path, line: str, message: str
) -> None:
    data = bundle(tmp_path / "source", f"{SPEC}{ROLLOUT}    {line}\n")
    with pytest.raises(InvalidRequest, match=message):
        releases(tmp_path).receive("digits", data)
    allowing = releases(tmp_path, ANABRANCH_WEBHOOKS="http://hooks,http://other")
    assert "rollout:" in allowing.receive("digits", data).spec


def test_promql_needs_a_server(tmp_path: Path) -> None:
    metric = "metrics: [{metric: promql, max: 1, query: up}]"
    spec = SPEC + ROLLOUT.replace("metrics: [{metric: error_rate, max: 0.01}]", metric)
    data = bundle(tmp_path / "source", spec)
    with pytest.raises(InvalidRequest, match="set ANABRANCH_PROMETHEUS"):
        releases(tmp_path).receive("digits", data)
    allowing = releases(tmp_path, ANABRANCH_PROMETHEUS="http://prometheus:9090")
    assert "promql" in allowing.receive("digits", data).spec


def test_a_request_log_may_only_go_where_the_settings_allow(tmp_path: Path) -> None:
    telemetry = "  telemetry: {requests: {to: http://sink/x}}\n"
    data = bundle(tmp_path / "source", f"{SPEC}{telemetry}")
    with pytest.raises(InvalidRequest, match=r"telemetry.requests.to: 'http://sink/x' is not"):
        releases(tmp_path).receive("digits", data)
    allowing = releases(tmp_path, ANABRANCH_REQUEST_LOGS="http://sink")
    plan = load_text(allowing.receive("digits", data).spec).plan
    assert allowing.signature(plan).telemetry.requests is not None
    # Settings of a later start do not allow it any more.
    assert releases(tmp_path).signature(plan).telemetry.requests is None


def test_a_graph_in_a_pool_has_no_requirements_of_its_own(tmp_path: Path) -> None:
    light = SPEC.replace("NAME", "digits").replace(", placement: {isolate: true}", "")
    spec = f"{light}  serving: {{pool: small}}\n"
    files = {"graph.yaml": spec.encode(), "parts.py": b"", "requirements.txt": b"# none\n"}
    write_files(files, tmp_path / "good")
    data = pack(tmp_path / "good" / "graph.yaml", 2**20).data
    assert load_text(releases(tmp_path).receive("digits", data).spec).plan.pool == "small"
    write_files({**files, "requirements.txt": b"six==1.16\n"}, tmp_path / "bad")
    data = pack(tmp_path / "bad" / "graph.yaml", 2**20).data
    with pytest.raises(InvalidRequest, match=r"spec.serving.pool: .*pool 'small'.*requirements"):
        releases(tmp_path).receive("digits", data)


@pytest.mark.parametrize("full", ["home", "temporary"])
def test_a_deploy_without_room_names_the_folder_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    data = bundle(tmp_path / "source", SPEC)
    with small_disk(tmp_path / "disk", SPARE + 64 * 1024) as disk:
        folders = {"home": tmp_path / "h", "temporary": tmp_path / "t"} | {full: disk}
        monkeypatch.setattr(tempfile, "tempdir", str(folders["temporary"]))
        having = Releases(Settings.from_env({"ANABRANCH_HOME": str(folders["home"])}))
        (disk / "ballast").write_bytes(bytes(128 * 1024))
        with pytest.raises(StorageError, match=rf"^{disk} is too full: .* are needed, .* are free"):
            having.receive("digits", data)
        assert not (folders["home"] / "bundles").exists()
        (disk / "ballast").unlink()
        assert having.receive("digits", data).spec


def test_an_install_is_told_while_it_lasts(tmp_path: Path) -> None:
    wheels = {f"wheels/{WHEEL.format(version='1.0')}": wheel("1.0")}
    asked = b"./wheels/tinydep-1.0-py3-none-any.whl\n"
    spec = SPEC.replace("NAME", "digits").encode()
    files = {"graph.yaml": spec, "parts.py": b"", "requirements.txt": asked, **wheels}
    write_files(files, tmp_path / "source")
    here = releases(tmp_path)
    received = here.receive("digits", pack(tmp_path / "source" / "graph.yaml", 2**20).data)
    revision = stored(tmp_path, received)
    lock = tmp_path / "home" / "environments-locks" / key(asked, received.digest)
    with ThreadPoolExecutor() as threads:
        with locked(lock, time.monotonic()):
            released = threads.submit(here.release, revision)
            until(lambda: here.is_installing("digits", revision.number))
        assert "py_executable" in released.result(timeout=120).runtime_env
    assert not here.is_installing("digits", revision.number)


@pytest.mark.parametrize("requirements", [b"", b"./wheels/tinydep-1.0-py3-none-any.whl\n"])
def test_a_replica_gets_its_files_by_path_here_and_by_digest_on_a_cluster(
    tmp_path: Path, requirements: bytes
) -> None:
    spec = SPEC.replace("NAME", "digits").encode()
    wheels = {f"wheels/{WHEEL.format(version='1.0')}": wheel("1.0")}
    files = {"graph.yaml": spec, "parts.py": b"", "requirements.txt": requirements, **wheels}
    write_files(files, tmp_path / "source")
    data = pack(tmp_path / "source" / "graph.yaml", 2**20).data
    here, cluster = releases(tmp_path), releases(tmp_path, ANABRANCH_LOOPBACK="0")
    revision = stored(tmp_path, received := here.receive("digits", data))
    alone, among = here.release(revision).runtime_env, cluster.release(revision).runtime_env
    assert alone["working_dir"].endswith(f"/{received.digest}.zip")
    assert BUNDLE not in alone["env_vars"]
    assert "working_dir" not in among
    assert among["env_vars"][BUNDLE] == received.digest
    assert ("py_executable" in alone, "py_executable" in among) == (bool(requirements),) * 2
    if requirements:
        assert Path(alone["py_executable"]).exists()
        assert among["py_executable"] == COMMAND
        assert among["env_vars"][TIMEOUT] == "600.0"
