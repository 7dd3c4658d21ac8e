"""What a cache saves and costs: ``python -m benchmarks.cache``.

First the stores in this process: an answer of each size is written, read, and looked for in vain.
Then an engine with a graph whose node computes for some milliseconds, without a cache and with one
on the machine and in Redis, where that is installed. Clients draw their questions from many by
Zipf's law, as products and pages are asked for; the cache begins empty. Every answer is compared
with what the node would give.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from anabranch.serve.cache.counts import CacheCounts
from anabranch.serve.cache.machine import MachineStore
from anabranch.serve.cache.redis_store import RedisStore
from anabranch.serve.cache.store import AnswerStore
from anabranch.serve.cache.wire import decoded, digest, encoded
from anabranch.telemetry.registry import Registry
from benchmarks.engine import Engine, engine
from benchmarks.options import parse
from benchmarks.outcome import outcome
from benchmarks.private_redis import private_redis

SIZES = {"4 KiB": 2**12, "64 KiB": 2**16, "1 MiB": 2**20}
TIMES, CLIENTS, QUESTIONS, REQUESTS = 200, 8, 2000, 8000
EXPONENT = 1.1
"""Of Zipf's law: question k is asked in proportion to k ** -EXPONENT."""
WORK_MS = 10
ALONE = 100
"""Questions that one client asks, each for the first time, to see what a miss costs."""
GOAL_SMALL_US, GOAL_SPEED, GOAL_MISS_MS = 100.0, 2.0, 1.0
WIDTH = 120
CODE = f"""
import time

class Work:
    def predict(self, x):
        time.sleep({WORK_MS / 1000})
        return x * 2 + 1
"""
SPEC: dict[str, Any] = {
    "inputs": {"x": {"datatype": "FP64", "shape": [-1, 4]}},
    "nodes": {
        "work": {
            "type": "predictor",
            "component": "components.py:Work",
            "inputs": {"x": "x"},
            "deterministic": True,
        }
    },
    "outputs": {"y": "work"},
}


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    with tempfile.TemporaryDirectory(prefix="ab-") as name, private_redis(Path(name)) as url:
        small = asyncio.run(_stores(console, Path(name), url, options.times))
        found = _served(Path(name), url, options)
    title = f"{options.questions:,} questions, a node of {WORK_MS} ms"
    rows = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    latencies = ("p50 ms", "p99 ms", "p50 of hits", "p50 of misses", "a miss alone")
    for column in ("cache", "requests/s", "hits", *latencies):
        rows.add_column(column, justify="left" if column == "cache" else "right")
    for title, one in found.items():
        rows.add_row(title, f"{one.rate:.0f}", f"{one.hits:.1%}", *map(_number, one.times))
    console.print(rows)
    plain, kept = found["none"], found["machine"]
    cost = kept.times[4] - plain.times[4]
    return outcome(
        [
            (f"a look takes {small:.0f} <= {GOAL_SMALL_US:g} µs for 4 KiB", small <= GOAL_SMALL_US),
            (
                f"{kept.rate / plain.rate:.1f} >= {GOAL_SPEED:g} times as many requests a second",
                kept.rate >= GOAL_SPEED * plain.rate,
            ),
            (f"a miss costs {cost:.2f} <= {GOAL_MISS_MS:g} ms more", cost <= GOAL_MISS_MS),
            ("all answers are right", all(one.wrong == 0 for one in found.values())),
        ]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache", description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES, help=f"of a store (default: {TIMES})")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help=f"default: {QUESTIONS}")
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"default: {REQUESTS}")
    return parse(parser, times=20, questions=50, requests=200)


async def _stores(console: Console, folder: Path, url: str, times: int) -> float:
    """Print the times of the stores; return that of a look for 4 KiB on the machine, in µs."""
    rows = Table(title="µs in this process", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("answer", "store", "digest", "found", "not found", "written"):
        rows.add_column(column, justify="left" if column in ("answer", "store") else "right")
    small = 0.0
    counts = CacheCounts("g", "1", "", Registry())
    for title, size in SIZES.items():
        stores: dict[str, AnswerStore] = {
            "machine": MachineStore(folder / title.replace(" ", ""), "a", 2**29, 600.0, counts)
        }
        if url:
            stores["redis"] = RedisStore(url, 2**29, 600.0, counts)
        for name, store in stores.items():
            measured = await _store(store, size, times)
            await store.close()
            rows.add_row(title, name, *(f"{one:.0f}" for one in measured))
            if (title, name) == ("4 KiB", "machine"):
                small = measured[1]
    console.print(rows)
    return small


async def _store(store: AnswerStore, size: int, times: int) -> tuple[float, float, float, float]:
    """Mean microseconds of a digest, of a look that finds, of one that does not, of a write."""
    arrays = [np.full(size // 8, float(n)) for n in range(times)]
    started = time.perf_counter()
    keys = [digest("r1", [{"x": array}]) for array in arrays]
    digested = time.perf_counter() - started
    started = time.perf_counter()
    for key, array in zip(keys, arrays, strict=True):
        while not store.put(key, encoded({"y": array}, 2**30)):
            await asyncio.to_thread(time.sleep, 0.001)
    await asyncio.to_thread(_written, store)
    written = time.perf_counter() - started
    started = time.perf_counter()
    for key in keys:
        kept = await store.get(key)
        assert kept is not None
        decoded(kept.data)
    found = time.perf_counter() - started
    started = time.perf_counter()
    for key in keys:
        assert await store.get(key[::-1]) is None
    missed = time.perf_counter() - started
    return tuple(one / times * 1e6 for one in (digested, found, missed, written))  # type: ignore[return-value]


def _written(store: AnswerStore) -> None:
    while store._unwritten:
        time.sleep(0.001)


class Asked:
    """Latencies of requests in milliseconds, by how the cache has handled them."""

    def __init__(
        self, latencies: Mapping[str, list[float]], seconds: float, wrong: int, alone: float
    ) -> None:
        everything = [one for each in latencies.values() for one in each]
        self.rate = len(everything) / seconds
        self.hits = len(latencies.get("hit", ())) / len(everything)
        self.wrong = wrong
        self.times = (
            *np.quantile(everything, (0.5, 0.99)),
            _median(latencies.get("hit")),
            _median([*latencies.get("miss", ()), *latencies.get("none", ())]),
            alone,
        )


def _served(folder: Path, url: str, options: argparse.Namespace) -> dict[str, Asked]:
    """Ask graphs with and without caches the same questions in the same order."""
    ranks = np.arange(1, options.questions + 1) ** -EXPONENT
    drawn = np.random.default_rng(7).choice(
        options.questions, options.requests, p=ranks / ranks.sum()
    )
    (folder / "components.py").write_text(CODE)
    caches: dict[str, Any] = {"none": {}, "machine": {"cache": {"ttl": "10m"}}}
    if url:
        caches["redis"] = {"cache": {"ttl": "10m", "store": "redis"}}
    with engine({"ANABRANCH_CACHE_URL": url} if url else {}) as one:
        return {title: _asked(one, folder, title, more, drawn) for title, more in caches.items()}


def _asked(one: Engine, folder: Path, title: str, more: Any, drawn: Any) -> Asked:
    place = one.deploy(folder, f"cache-{title}", {**SPEC, **more})
    latencies: dict[str, list[float]] = {}
    wrong: Counter[bool] = Counter()

    def ask(questions: Any) -> None:
        with httpx.Client(timeout=60) as client:
            for question in questions.tolist():
                row = [float(question), 1.0, 2.0, 3.0]
                tensor = {"name": "x", "datatype": "FP64", "shape": [1, 4], "data": row}
                body = json.dumps({"inputs": [tensor]})
                started = time.perf_counter()
                reply = client.post(place, content=body)
                took = (time.perf_counter() - started) * 1e3
                status = _status(reply.headers.get("cache-status", ""))
                latencies.setdefault(status, []).append(took)
                answer = reply.json()["outputs"][0]["data"]
                wrong[answer != [value * 2 + 1 for value in row]] += 1

    ask(np.arange(ALONE) + 10**6)  # warm up
    latencies.clear()
    ask(np.arange(ALONE) + 2 * 10**6)
    alone = _median([one for each in latencies.values() for one in each])
    latencies.clear()
    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, np.array_split(drawn, CLIENTS)))
    return Asked(latencies, time.perf_counter() - started, wrong[True], alone)


def _status(text: str) -> str:
    if not text:
        return "none"
    return "hit" if "hit" in text else "wait" if "collapsed" in text else "miss"


def _median(values: list[float] | None) -> float:
    return float(np.median(values)) if values else float("nan")


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
