"""An image of a graph from this machine's Python: unpacked, started in a chroot, and asked."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anabranch.client.image.building import BuiltImage, containerize
from anabranch.errors import DeployError, EngineError, InvalidRequest
from tests.client.image.unpacked import unpack
from tests.ports import free_ports
from tests.router.standalone.graphs import ask, spec, tensor, written

TRIP = tensor([1, 2])
ROOT = os.geteuid() == 0 and shutil.which("chroot") and shutil.which("unshare")


def build(file: Path, target: Path, **options: Any) -> BuiltImage:
    return containerize(str(file), target, file.parent / "home", **options)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that an unprivileged user may enter, as pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def built(folder: Path) -> tuple[BuiltImage, Path]:
    graph = spec(serving={"port": free_ports(1)[0]})
    file = written(folder / "graph", graph)
    (folder / "graph/secret.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    return build(file, folder / "image", anonymous="invoker"), folder / "image"


@pytest.fixture(scope="module")
def root(built: tuple[BuiltImage, Path], folder: Path) -> tuple[Path, dict[str, Any]]:
    return folder / "root", unpack(built[1], folder / "root")


@contextmanager
def container(root: Path, running: dict[str, Any], *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run what an image says as its user, with a mount namespace and a root of its own."""
    env = dict(one.split("=", 1) for one in running["Env"])
    process = subprocess.Popen(
        ["/usr/bin/env", "unshare", "--mount", "--propagation", "private", "chroot",
         f"--userspec={running['User']}", str(root), *running["Entrypoint"], *words],
        env={**env, "PATH": os.environ["PATH"]}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    watchdog = threading.Timer(180, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.skipif(not ROOT, reason="takes root, chroot and unshare")
def test_an_image_answers_in_a_chroot_as_an_unprivileged_user(
    root: tuple[Path, dict[str, Any]],
) -> None:
    place, running = root
    (port,) = (int(one.partition("/")[0]) for one in running["ExposedPorts"])
    with container(place, running) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("demo answers"), process.communicate()
        (uids,) = re.findall(r"Uid:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        assert int(uids) == 10001
        url = f"http://127.0.0.1:{port}"
        assert ask(f"{url}/v2/models/demo/infer", TRIP).json()["outputs"][0]["data"] == [2.0, 4.0]
        assert ask(f"{url}/metrics").status == 401
        health = running["Healthcheck"]["Test"][1:]
        subprocess.run(["chroot", str(place), *health], check=True, timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["chroot", str(place), *health], check=True, timeout=60, capture_output=True)


@pytest.mark.slow
@pytest.mark.nightly
def test_an_image_holds_the_graph_the_packages_and_a_bill(
    built: tuple[BuiltImage, Path], root: tuple[Path, dict[str, Any]]
) -> None:
    found, place = built[0], root[0]
    assert (place / "graph/parts.py").is_file()
    assert not (place / "graph/secret.pem").exists()
    names = {one.partition("==")[0] for one in found.packages}
    assert {"anabranch", "numpy", "uvloop"} <= names
    assert not {"ray", "torch", "pandas", "scikit-learn", "pytest"} & names
    bill = json.loads((place / "opt/anabranch/sbom.json").read_text())
    purls = {one.get("purl", "").partition("@")[0] for one in bill["components"]}
    assert {"pkg:pypi/numpy", "pkg:pypi/anabranch"} <= purls
    assert any("libc.so" in one["name"] for one in bill["components"])


@pytest.mark.slow
@pytest.mark.nightly
def test_the_same_graph_gives_the_same_image_on_a_base_of_ones_own_too(
    built: tuple[BuiltImage, Path], folder: Path
) -> None:
    file = folder / "graph/graph.yaml"
    again = build(file, folder / "again", anonymous="invoker")
    assert again == built[0]
    # The image itself is a base: it has the interpreter where bases have it.
    on_base = build(file, folder / "other.tar", base=folder / "again", anonymous="invoker")
    assert on_base.digest != again.digest
    assert on_base.packages == again.packages


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.skipif(not (shutil.which("skopeo") and shutil.which("umoci")), reason="takes tools")
def test_other_tools_read_the_image(built: tuple[BuiltImage, Path], folder: Path) -> None:
    found, image = built
    told = subprocess.run(
        ["skopeo", "inspect", f"oci:{image}:{found.tag}"], capture_output=True, check=True
    )
    assert json.loads(told.stdout)["Digest"] == found.digest
    bundle = folder / "runtime"
    subprocess.run(["umoci", "unpack", "--image", f"{image}:{found.tag}", str(bundle)], check=True)
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["user"]["uid"] == 10001
    assert config["process"]["args"][:2] == ["/opt/anabranch/bin/anabranch", "serve"]


def test_a_graph_that_does_not_load_gives_no_image(tmp_path: Path) -> None:
    raising = "class Scale:\n    def __init__(self):\n        1 / 0\n"
    file = written(tmp_path / "g", spec(), f"{raising}\n    def transform(self, x):\n        ...\n")
    with pytest.raises(DeployError, match="does not load: node 'n'"):
        build(file, tmp_path / "image")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g"]


def test_what_an_image_cannot_have_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "g", spec())
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidRequest, match="is there already"):
        build(file, tmp_path / "there")
    with pytest.raises(InvalidRequest, match="no name of an image"):
        build(file, tmp_path / "image", tag="No Name")
    with pytest.raises(InvalidRequest, match="'no-such-thing' is not installed"):
        build(file, tmp_path / "image", packages=["no-such-thing>=1"])
    with pytest.raises(EngineError, match="out of"):
        build(file, tmp_path / "image", anonymous="king")
    assert not (tmp_path / "image").exists()
