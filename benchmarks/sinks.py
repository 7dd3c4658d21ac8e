"""Sinks that hang, are slow, or refuse: ``python -m benchmarks.sinks --seconds 60``.

Predictions leave 200 times a second while spans, logged requests and rows for monitors find a sink
that is not well; each outlet with each mood in turn. What is compared with is the same graph just
before, all sinks well. Memory is that of the router's process.

The sinks of spans and requests are servers of this process. The monitors' is their own process: it
is stopped (hung), slowed down to a sliver of its time (slow), or killed again and again (refusing).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.client import percentile
from benchmarks.counts import is_empty, outlet, until
from benchmarks.engine import Engine, engine
from benchmarks.moody import Mood, Moody, moody
from benchmarks.open_loop import OpenLoop
from benchmarks.options import parse
from benchmarks.outcome import outcome

RATE = 200
"""Predictions a second."""
WARM_UP_S = 1.0
NAME = "sinks"
SLOWER_MS, SLOWER = 5.0, 0.1
"""How much later the 99th percentile may come: the larger of milliseconds and a share."""
MOST_GROWTH = 20 * 2**20
"""How much the router's memory may grow, in bytes."""
OUTLETS = ("traces", "requests", "monitors")
MOODS: tuple[Mood, ...] = ("hung", "slow", "refusing")
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
).encode()


@dataclass(frozen=True)
class Bench:
    """The engine and its sinks."""

    one: Engine
    url: str
    sinks: dict[str, Moody]

    def monitors(self) -> list[psutil.Process]:
        """The process of the graph's monitors."""
        return self.one.replicas(f"{NAME}.r1:monitors")

    @asynccontextmanager
    async def spoilt(self, name: str, mood: Mood) -> AsyncIterator[None]:
        """Have an outlet's sink in a mood."""
        if name in self.sinks:
            self.sinks[name].mood = mood
            try:
                yield
            finally:
                self.sinks[name].mood = "well"
            return
        spoiling = asyncio.create_task(self._spoil(mood))
        try:
            yield
        finally:
            spoiling.cancel()
            await asyncio.gather(spoiling, return_exceptions=True)

    async def _spoil(self, mood: Mood) -> None:
        """Be hard on the monitors' process until cancelled."""
        try:
            while True:
                for process in self.monitors():
                    with suppress(psutil.Error):
                        process.send_signal(_SIGNALS[mood])
                await asyncio.sleep(0.5)
                if mood == "slow":
                    self._resume()
                    await asyncio.sleep(0.05)
        finally:
            self._resume()

    def _resume(self) -> None:
        for process in self.monitors():
            with suppress(psutil.Error):
                process.resume()


_SIGNALS: dict[Mood, signal.Signals] = {
    "hung": signal.SIGSTOP, "slow": signal.SIGSTOP, "refusing": signal.SIGKILL,
}  # fmt: skip


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    goals: list[tuple[str, bool]] = []
    with _bench() as bench:
        for name in OUTLETS:
            for mood in MOODS:
                goals += asyncio.run(_phase(bench, name, mood, options.seconds))
    return outcome(goals)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sinks")
    parser.add_argument("--seconds", type=float, default=10, help="of each mood (default: 10)")
    return parse(parser, seconds=1)


@contextmanager
def _bench() -> Iterator[Bench]:
    with (
        moody() as traces,
        moody() as requests,
        tempfile.TemporaryDirectory(prefix="ab-") as name,
        engine(environment(traces, requests)) as one,
    ):
        url = one.deploy_five(Path(name), NAME, telling(requests))
        yield Bench(one, url, {"traces": traces, "requests": requests})


def environment(traces: Moody, requests: Moody) -> dict[str, str]:
    """What an engine is told of its sinks."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "ANABRANCH_REQUEST_LOGS": requests.url,
    }


def telling(requests: Moody) -> dict[str, Any]:
    """The parts of a spec by which a graph tells all that it can."""
    return {
        "telemetry": {"trace": "100%", "requests": {"to": f"{requests.url}/log"}},
        "monitors": {"shift": {"method": "ks", "reference": {"first": 200}}},
    }


async def _load(bench: Bench, seconds: float) -> tuple[float, int]:
    """Ask at a pace; the 99th percentile in milliseconds, and how many predictions failed."""
    loop = OpenLoop(bench.url, BODY, RATE)
    await loop.run(seconds + WARM_UP_S)
    start = min(answer.at for answer in loop.answers) + WARM_UP_S
    times = sorted(answer.seconds for answer in loop.answers if answer.at >= start)
    failed = loop.broken + sum(answer.status != 200 for answer in loop.answers)
    return percentile(times, 0.99) * 1e3, failed


async def _phase(bench: Bench, name: str, mood: Mood, seconds: float) -> list[tuple[str, bool]]:
    engine, (router,) = bench.one.url, bench.one.replicas(f"{NAME}:router")
    well, _ = await _load(bench, min(seconds, 10.0))
    await asyncio.to_thread(until, engine, NAME, name, is_empty)
    before, memory = outlet(engine, NAME, name), router.memory_info().rss
    async with bench.spoilt(name, mood):
        p99, failed = await _load(bench, seconds)
        growth = router.memory_info().rss - memory
    emptied = await asyncio.to_thread(until, engine, NAME, name, is_empty)
    now = outlet(engine, NAME, name)
    came = {word: now[word] - before[word] for word in ("selected", "sent", "dropped")}
    limit = well + max(SLOWER_MS, SLOWER * well)
    title = f"{name}, {mood}"
    print(f"{title}: p99 {well:.2f} → {p99:.2f} ms, {growth / 2**20:+.1f} MiB, {came}", flush=True)
    return [
        (f"{title}: p99 {p99:.2f} ms (goal: {limit:.2f})", p99 <= limit),
        (f"{title}: {failed} predictions failed (goal: 0)", failed == 0),
        (f"{title}: {growth / 2**20:+.1f} MiB (goal: 20)", growth <= MOST_GROWTH),
        (f"{title}: sent + dropped = selected", emptied and came["selected"] > 0),
    ]


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"after {time.monotonic() - began:.0f} s")
    sys.exit(code)
