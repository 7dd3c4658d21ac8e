"""Seldon Core's own client, unmodified, in an environment of its own, before a real engine.

``seldon-core`` wants Protocol Buffers older than 4, and with them it cannot be installed beside the
engine.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Given, node, spec
from tests.engines import HTTP, Engine
from tests.environments import environment

# By day `test_protocols` speaks the protocol.
pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

CODE = """
class Double:
    def transform(self, x):
        return x * 2


class Same:
    def transform(self, text):
        return text
"""


def paid() -> dict[str, Any]:
    found = spec("paid", poor=node("Double"), good=node("Double"))
    found["spec"]["inputs"]["x"]["datatype"] = "FP64"
    pick = {"type": "router", "strategy": "thompson", "routes": ["poor", "good"]}
    found["spec"]["nodes"]["pick"] = pick
    found["spec"] |= {"outputs": {"y": "pick"}, "protocols": ["seldon"]}
    return found


def words() -> dict[str, Any]:
    found = spec("team/words", same=node("Same") | {"inputs": {"text": "text"}})
    text = {"datatype": "BYTES", "shape": [], "content": "raw"}
    found["spec"] |= {"inputs": {"text": text}, "protocols": ["seldon"]}
    found["spec"]["nodes"]["same"]["outputs"] = {"output": {"datatype": "BYTES", "shape": []}}
    return found


def test_seldons_client_predicts_and_teaches(
    engine: Engine, given_once: Given, tmp_path: Path
) -> None:
    given_once.deployed(paid(), CODE)
    given_once.deployed(words(), CODE)
    url = f"http://127.0.0.1:{engine.ports.http}/seldon/default/paid"
    sent = {"strData": "not a number"}
    refused = HTTP.post(f"{url}/api/v1.0/predictions", json=sent)
    assert refused.json()["status"]["reason"] == "MICROSERVICE_BAD_DATA"
    assert HTTP.get(f"{url}/ready").status_code == 200
    python = environment(tmp_path / "environment", "seldon-core>=1.17,<2")
    script = Path(__file__).parent / "clients" / "seldon_client.py"
    addresses = (f"127.0.0.1:{getattr(engine.ports, kind)}" for kind in ("http", "grpc"))
    command = [str(python), str(script), *addresses]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "all is well", done.stderr[-3000:]
