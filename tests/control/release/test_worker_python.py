"""A worker of a cluster as Ray starts it, on a machine that has nothing but a store of bundles."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from anabranch.control.release.bundles import BundleStore
from anabranch.control.release.worker_python import COMMAND, TIMEOUT
from anabranch.serve.workers.bundles import STORE
from anabranch.serve.workers.launcher import BUNDLE, PROBLEM, PYTHON
from tests.control.release.test_environments import bundle

START = f"""
import sys
from ray._private.runtime_env.context import RuntimeEnvContext
from ray.core.generated.common_pb2 import Language
context = RuntimeEnvContext(env_vars={{{BUNDLE!r}: sys.argv[1]}}, py_executable={COMMAND!r})
context.exec_worker(sys.argv[2:], Language.PYTHON)
"""
WORKER = f"""
import os, sys
print(sys.argv[1:], os.environ.get({PROBLEM!r}))
try:
    import tinydep
except ImportError:
    print("none")
else:
    print(tinydep.VERSION)
"""


@dataclass
class Machine:
    home: Path
    store: BundleStore
    env: Mapping[str, str]

    def started(self, digest: str) -> list[str]:
        """The lines that a worker prints."""
        done = subprocess.run(
            [sys.executable, "-c", START, digest, "worker.py", "--gcs-address=none", "a b"],
            env=self.env, cwd=self.home, capture_output=True, text=True, check=True, timeout=600,
        )  # fmt: skip
        return done.stdout.splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home, url = tmp_path / "home", (tmp_path / "store").as_uri()
    home.mkdir()
    (home / "worker.py").write_text(WORKER)
    env = {
        "ANABRANCH_HOME": str(home),
        STORE: url,
        TIMEOUT: "60",
        PYTHON: sys.executable,
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path.cwd()),
    }
    return Machine(home, BundleStore(tmp_path / "bundles", url), env)


def test_a_worker_has_what_its_bundle_requires(machine: Machine) -> None:
    digest = machine.store.put(bundle("1.0"))
    expected = ["['--gcs-address=none', 'a b'] None", "1.0"]
    assert machine.started(digest) == expected
    (made,) = (machine.home / "environments").iterdir()
    made_at = (made / "pyvenv.cfg").stat().st_mtime_ns
    # Both are there now, so nobody is asked.
    machine.store.path(digest).unlink()
    assert machine.started(digest) == expected
    assert (made / "pyvenv.cfg").stat().st_mtime_ns == made_at


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("digest", "problem"),
    [
        ("", r"requirements.txt: .*none-1.0"),
        ("0" * 64, "the bundle 000000000000… from the bundle store file:.*: there is no such file"),
    ],
)
def test_a_worker_without_it_starts_and_knows_why(
    machine: Machine, digest: str, problem: str
) -> None:
    files = {"requirements.txt": b"./wheels/none-1.0-py3-none-any.whl\n"}
    told, version = machine.started(digest or machine.store.put(files))
    assert told.startswith("['--gcs-address=none', 'a b']")
    assert re.search(problem, told)
    assert version == "none"
