"""What the engine's ``/metrics`` says, in numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]
PATIENCE_S = 30.0


def samples(engine: str) -> list[tuple[str, Labels, float]]:
    """Every sample: name, labels, value. ``engine`` is the engine's URL."""
    reply = httpx.get(f"{engine}/metrics", headers={"accept": "text/plain"}, timeout=30)
    reply.raise_for_status()
    return [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    ]


def total(engine: str, name: str, **labels: str) -> float:
    """The sum of all samples of a name that have these labels."""
    return sum(
        value
        for found, has, value in samples(engine)
        if found == name and labels.items() <= has.items()
    )


def outlet(engine: str, graph: str, name: str) -> dict[str, float]:
    """What an outlet says of itself: selected, sent, dropped, waiting."""
    found = dict.fromkeys(("selected", "sent", "dropped", "waiting"), 0.0)
    for sample, labels, value in samples(engine):
        word = sample.removeprefix("anabranch_outlet_").removesuffix("_total")
        if word in found and labels["graph"] == graph and labels["outlet"] == name:
            found[word] += value
    return found


def is_empty(now: Mapping[str, float]) -> bool:
    """Whether an outlet has sent or dropped all that was selected."""
    return not now["waiting"] and now["selected"] == now["sent"] + now["dropped"]


def until(engine: str, graph: str, name: str, happened: Callable[[dict[str, float]], bool]) -> bool:
    """Wait until an outlet's numbers are as they should be; whether they are."""
    ends = time.monotonic() + PATIENCE_S
    while not happened(outlet(engine, graph, name)):
        if time.monotonic() > ends:
            return False
        time.sleep(0.25)
    return True
