"""What is counted shows at ``/metrics`` and at Ray's agent, and equals what clients did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Engine, Given, ask_each, node, spec, until

pytestmark = pytest.mark.e2e

CODE = """
class Double:
    def transform(self, x):
        return x * 2
"""


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def total(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    return sum(
        value
        for found, has, value in samples(text)
        if found == name and labels.items() <= has.items()
    )


def own(engine: Engine) -> str:
    """What the gateway shows."""
    reply = httpx.get(f"{engine.url}/metrics", timeout=30)
    assert reply.status_code == 200, reply.text
    return reply.text


def rays(engine: Engine) -> str:
    """What Ray's agents show, found by Ray's discovery file."""
    state = json.loads((engine.home / "engine.json").read_text())
    discovery = Path(state["runtime"]) / "ray" / "prom_metrics_service_discovery.json"
    targets = [target for group in json.loads(discovery.read_text()) for target in group["targets"]]
    return "\n".join(httpx.get(f"http://{target}/metrics", timeout=30).text for target in targets)


def test_arms(engine: Engine, given: Given) -> None:
    name = given.deployed(spec("counted", double=node("Double")), CODE)
    ask_each(f"{engine.graph_url(name)}/infer", [{}] * 50)
    labels = {"graph": name, "revision": "1"}
    until(lambda: total(own(engine), "anabranch_arm_requests_total", **labels) == 50)
    until(lambda: total(rays(engine), "ray_anabranch_arm_requests_total", **labels) == 50)
