"""The pods of an export: an ordinary user, a root that takes no files, and the export's commands.

Machines stand in for pods, and folders in their ``/tmp`` for the pods' volumes.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anabranch.client.prepared import prepare_file
from anabranch.control.engine.ports import first_gcs_port
from anabranch.control.kubernetes.folders import GraphFolder
from anabranch.control.kubernetes.groups import WorkerGroup
from anabranch.control.kubernetes.pods import Installation, deploying_pod, head_pod, worker_pod
from tests.engines import done
from tests.machines import Machine, Network
from tests.waiting import until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
]
OF = Installation("shop", "image")
SPEC = Path.cwd() / "examples" / "quickstart" / "graph.yaml"
USER = "setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs --bounding-set=-all"
FOLDERS = {
    "/data": "/tmp/data",
    "/run/anabranch": "/tmp/secret",
    "cp -RL /graphs": "cp -RL /tmp/volume/graphs",
}
"""Where the folders of pods are here."""
TOKEN = "a-token-of-the-secret"


@dataclass
class Pod:
    """A machine on which one container of a pod's template runs at a time."""

    machine: Machine
    head: str
    """Address of the head."""

    def words(self, container: Any) -> list[str]:
        """The command of a container, with this machine's paths and the head's address."""
        return [self._here(word) for word in (*USER.split(), *container["command"])]

    def env(self, container: Any) -> dict[str, str]:
        given = {one["name"]: one.get("value", TOKEN) for one in container.get("env", ())}
        given |= {"USER": "anabranch"}  # the image has a user of this id
        given.pop("ANABRANCH_STORE", None)
        return {name: self._here(value) for name, value in given.items()}

    def run(self, container: Any, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a container, or other words as it, to the end."""
        command = [*USER.split(), *words] if words else self.words(container)
        return self.machine.run(*command, env=self.env(container), timeout=400)

    def start(self, container: Any, log: str) -> subprocess.Popen[bytes]:
        with self.machine.path(log).open("wb") as file:
            return self.machine.start(
                *self.words(container), env=self.env(container), log=file.fileno()
            )

    def _here(self, text: str) -> str:
        for there, here in FOLDERS.items():
            text = text.replace(there, here)
        return text.replace(OF.head, self.head)


def pod(network: Network, name: str, head: str = "") -> Pod:
    """Make a machine whose root cannot be written to, and whose interpreter any user may run."""
    machine = network.machine(name)
    hidden = next(
        (one for one in reversed(Path(sys.base_prefix).parents) if not one.stat().st_mode & 0o001),
        None,
    )
    script = [
        "mkdir /tmp/data /tmp/secret /tmp/kept && chown 1000:1000 /tmp/data && chmod 1777 /tmp",
        f"printf {TOKEN} > /tmp/secret/token && printf ray-{TOKEN} > /tmp/secret/auth_token",
    ]
    if hidden is not None:
        prefix = shlex.quote(sys.base_prefix)
        script += [
            f"mount --bind {prefix} /tmp/kept && mount -t tmpfs -o mode=755 tmpfs {hidden}",
            f"mkdir -p {prefix} && mount --bind /tmp/kept {prefix}",
        ]
    # By its default route Ray finds the address of a machine.
    script.append("ip route add default via 10.77.0.254 && mount -o remount,bind,ro /")
    done(machine.run("sh", "-ec", "\n".join(script)))
    return Pod(machine, head or machine.address)


def containers(template: Any) -> tuple[Any, Any]:
    """Return the first container of a pod, which ends, and the one that serves."""
    (first,) = template["spec"]["initContainers"]
    (serving,) = template["spec"]["containers"]
    return first, serving


@pytest.fixture(scope="module")
def head(network: Network) -> Iterator[Pod]:
    first, serving = containers(head_pod(OF, "claim"))
    one = pod(network, "head")
    done(one.run(first))
    started = one.start(serving, "/tmp/head.log")
    log = one.machine.path("/tmp/head.log")
    until(lambda: "the engine is up" in log.read_text() or started.poll() is not None, 120)
    assert started.poll() is None, log.read_text()
    yield one
    done(one.run(serving, "anabranch", "down"))
    assert started.wait(60) == 0


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as found:
        yield found


def test_the_user_writes_to_volumes_alone(head: Pod) -> None:
    _, serving = containers(head_pod(OF, "claim"))
    for folder in ("/usr", "/etc", "/var/tmp"):
        refused = head.machine.run("touch", f"{folder}/written")
        assert "Read-only file system" in refused.stderr
    assert head.run(serving, "id", "-u").stdout == "1000\n"
    assert head.machine.path("/tmp/data/home/token").stat().st_mode & 0o777 == 0o600
    assert head.machine.path("/tmp/data/home/ray-token").read_text() == f"ray-{TOKEN}"
    state = json.loads(head.machine.path("/tmp/data/home/engine.json").read_text())
    assert state["address"] == f"127.0.0.1:{first_gcs_port('/tmp/data/home')}"


def test_a_worker_joins_and_the_job_deploys(head: Pod, network: Network) -> None:
    group = WorkerGroup("cpu", cpu=1, memory=2**28)
    first, serving = containers(worker_pod(OF, group))
    worker = pod(network, "worker", head.machine.address)
    done(worker.run(first))
    with ExitStack() as stack:
        joined = worker.start(serving, "/tmp/worker.log")
        stack.callback(joined.wait, 60)
        stack.callback(worker.machine.switch_off)
        _joined_and_deployed(head, worker, joined)


def _joined_and_deployed(head: Pod, worker: Pod, joined: subprocess.Popen[bytes]) -> None:
    log = worker.machine.path("/tmp/worker.log")
    until(lambda: "this machine is a part" in log.read_text() or joined.poll() is not None, 120)
    assert joined.poll() is None, log.read_text()
    folder = GraphFolder.of(prepare_file(SPEC, Path("/nowhere")), SPEC.name)
    place = head.machine.path("/tmp/volume/graphs/quickstart")
    place.mkdir(parents=True)
    for name, content in folder.files.items():
        (place / name).write_bytes(content)
    template = deploying_pod(OF, ["quickstart/graph.yaml"], {"quickstart": {}})
    (job,) = template["spec"]["containers"]
    done(head.run(job))
    asked = ("anabranch", "infer", "quickstart", "-d", '{"fruit": [[0.9, 0.2]]}', "-o", "json")
    answer = json.loads(done(head.run(job, *asked)).stdout)
    assert answer["outputs"][0]["data"] == pytest.approx([0.0295385, 0.9704615], abs=1e-6)
    nodes = json.loads(done(head.run(job, "anabranch", "nodes", "-o", "json")).stdout)["nodes"]
    assert {one["name"]: one["state"] for one in nodes} == {"head": "alive", "worker": "alive"}
    (there,) = (one for one in nodes if one["name"] == "worker")
    assert there["resources"]["CPU"]["total"] == 1
