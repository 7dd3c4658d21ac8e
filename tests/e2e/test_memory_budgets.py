"""Devices that Ray does not know by itself, as MIG devices of a GPU: each replica sees its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Given, node, spec, value
from tests.engines import Engine

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

DEVICES = ["MIG-41b3e4c6-0c1d-5f5e-9a7c-000000000001", "MIG-5a04c1d2-0c1d-5f5e-9a7c-000000000002"]
PROFILE = "mig-3g.40gb"
CODE = f"""
import os

DEVICES = {DEVICES}


class Seen:
    def transform(self, x):
        seen = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
        return 0 * x + sum(10**at * (1 + DEVICES.index(one)) for at, one in enumerate(seen))
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine that was told two devices of one profile."""
    env = {"CUDA_VISIBLE_DEVICES": ",".join(DEVICES)}
    with tempfile.TemporaryDirectory(prefix="anabranch-", ignore_cleanup_errors=True) as folder:
        options = ("--resources", f"GPU=2,{PROFILE}=2")
        one = Engine(Path(folder) / "home", env, options=options)
        try:
            one.up()
            yield one
        finally:
            one.down()


def test_each_replica_sees_one_device(engine: Engine, given: Given) -> None:
    resources = {"gpu": 1, "custom": {PROFILE: 1}, "gpu_memory": "1GiB"}
    found = [
        value(
            engine.infer(given.deployed(spec(name, seen=node("Seen", resources=resources)), CODE))
        )
        for name in ("first", "second")
    ]
    assert sorted(found) == [[1, 1], [2, 2]]
    half = {"gpu": 0.5, "custom": {"mig-1g.10gb": 1}}
    refused = given.deploy(spec("third", seen=node("Seen", resources=half)), CODE)
    assert refused.returncode != 0 and "mig-1g.10gb" in refused.stderr
