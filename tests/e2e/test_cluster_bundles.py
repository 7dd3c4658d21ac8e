"""Bundles on machines that share no folder: each comes once, whole or not at all, and goes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from anabranch.client.bundle.packing import pack, zipped
from anabranch.client.bundle.unpacking import write_files
from anabranch.client.portable.building import build
from tests.clusters import Cluster
from tests.control.release.test_environments import WHEEL, wheel
from tests.e2e.conftest import node, spec
from tests.e2e.test_portable import linear
from tests.engines import done
from tests.machines import HOME, Network
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

NOISE = 200 * 2**20
"""Bytes of a file that cannot be packed any smaller."""
SETTINGS = {
    "ANABRANCH_GRACE": "0",
    "ANABRANCH_MAX_REVISIONS": "0",
    "ANABRANCH_BUNDLE_AGE": "0",
    "ANABRANCH_ENVIRONMENT_AGE": "0",
}
"""What nothing needs goes with the next round of the engine's housekeeping."""
CODE = """
import socket
from pathlib import Path
import numpy as np

try:
    from tinydep import VERSION
except ImportError:
    VERSION = 0

class Where:
    def transform(self, x):
        size, machine = Path("noise").stat().st_size, socket.gethostname()[-1]
        return np.float32([[size, machine, VERSION]])
"""
ON = {1: {"gpu": 1}, 2: {"cpu": 4}}
"""Resources that one of the workers has and no other machine, by its number. The second has enough
for two revisions, one of which takes the other's place.
"""
PATIENTLY = ("--timeout", "300s")


@dataclass
class Sending(Cluster):
    """An engine of three machines; ``folder`` is for what is deployed."""

    folder: Path = field(kw_only=True)

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "-o", "json"))

    def refused(self, *words: str) -> str:
        done = self.head.run("anabranch", *words, timeout=500)
        assert done.returncode != 0, done.stdout
        return " ".join(done.stderr.split())

    def source(self, name: str, noise: bytes, **nodes: Any) -> Path:
        """The folder of a graph with these nodes; gives the path of its spec."""
        graph = spec(name, **nodes)
        graph["spec"]["outputs"] = {one: one for one in nodes}
        files = {"graph.yaml": json.dumps(graph).encode(), "components.py": CODE.encode()}
        write_files({**files, "noise": noise}, self.folder / name)
        return self.folder / name / "graph.yaml"

    def having(self, digest: str) -> list[str]:
        """The machines that have a bundle in their cache."""
        place = f"{HOME}/.anabranch/artefacts/entries/bundle-{digest}"
        return [one.name for one in self.machines if one.path(place).exists()]

    def sent(self) -> int:
        """Bytes of bundles that the controller has sent since it began."""
        answer = self.ask("GET", "/metrics")
        assert answer.status_code == 200, answer.text
        found = re.search(r"^anabranch_bundle_bytes_sent_total (\S+)", answer.text, re.MULTILINE)
        return int(float(found[1])) if found else 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Sending]:
    with Network() as network, TemporaryDirectory(dir="/var/tmp") as folder:
        machines = [network.machine(name) for name in ("head", "w1", "w2")]
        one = Sending(machines, SETTINGS, folder=Path(folder))
        one.up("--resources", "CPU=1,GPU=0")
        for worker, resources in zip(machines[1:], ("CPU=1,GPU=2", "CPU=16,GPU=0"), strict=True):
            done(one.join(worker, "--resources", resources))
        yield one


def test_each_machine_gets_a_large_bundle_once_and_drops_it_when_it_has_gone(
    cluster: Sending,
) -> None:
    nodes = {
        f"on{number}": node("Where", resources=resources, scaling={"replicas": 2})
        for number, resources in ON.items()
    }
    source = cluster.source("large", os.urandom(NOISE), **nodes)
    (source.parent / WHEEL.format(version="1.0")).write_bytes(wheel("1.0"))
    (source.parent / "requirements.txt").write_text(f"./{WHEEL.format(version='1.0')}\n")
    bundle = pack(source, 2**30)
    cluster.json("deploy", str(source), *PATIENTLY)
    answer = cluster.json("infer", "large", "-d", '{"x": [[1, 2]]}')
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    assert found == {"on1": [NOISE, 1.0, 1.0], "on2": [NOISE, 2.0, 1.0]}
    having = cluster.having(bundle.digest)
    assert {"w1", "w2"} <= set(having)
    until(lambda: cluster.sent() == len(having) * len(bundle.data))
    # The first revision goes from the record once two others were stable after it.
    for noise in (b"1", b"2"):
        cluster.source("large", noise, on2=node("Where", resources=ON[2]))
        cluster.json("deploy", str(source), *PATIENTLY)
    until(lambda: not cluster.having(bundle.digest), 240)
    answer = cluster.json("infer", "large", "-d", '{"x": [[1, 2]]}')
    assert answer["outputs"][0]["data"] == [1.0, 2.0, 0.0]


def test_a_bundle_that_is_not_what_its_digest_says_is_refused(cluster: Sending) -> None:
    source = cluster.source("changed", b"as it was", on2=node("Where", resources=ON[2]))
    digest = pack(source, 2**30).digest
    files = {path.name: path.read_bytes() for path in source.parent.iterdir()}
    files |= {"noise": b"changed", "anabranch.json": b'{"spec": "graph.yaml"}'}
    there = cluster.machines[0].path(f"{HOME}/.anabranch/bundles/{digest}.zip")
    there.write_bytes(zipped(files))
    said = cluster.refused("deploy", str(source), *PATIENTLY)
    assert re.search(r"from the engine: what came has the digest [0-9a-f]{64}, and was", said)
    assert not cluster.having(digest)


def test_a_machine_that_cannot_reach_the_store_of_a_model_says_so(cluster: Sending) -> None:
    model = "http://10.77.0.1:9/model.onnx"
    far = {"type": "predictor", "runtime": "onnx", "model": model, "inputs": {"x": "x"}}
    source = cluster.source("away", b"", far={**far, "resources": ON[2]})
    said = cluster.refused("deploy", str(source), *PATIENTLY)
    assert re.search(rf"model '{model}': .*\(on machine w2\)", said)


def test_a_machine_gets_the_models_of_a_portable_bundle_from_the_engine(cluster: Sending) -> None:
    model = cluster.folder / "m.onnx"
    linear(model, [[1, 2], [3, 4]])
    far = {"type": "predictor", "runtime": "onnx", "model": model.as_uri(), "inputs": {"x": "x"}}
    source = cluster.source("portable", b"", far={**far, "resources": ON[2]})
    build(source, cluster.folder / "portable.bundle", cluster.folder / "home")
    model.unlink()
    cluster.json("deploy", str(cluster.folder / "portable.bundle"), *PATIENTLY)
    answer = cluster.json("infer", "portable", "-d", '{"x": [[1, 2]]}')
    assert answer["outputs"][0]["data"] == [7.0, 10.0]
    entries = f"{HOME}/.anabranch/artefacts/entries"
    having = [one.name for one in cluster.machines if [*one.path(entries).glob("*/content/m.onnx")]]
    assert having == ["w2"]
