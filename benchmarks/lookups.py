"""What features cost a request: ``python -m benchmarks.lookups``.

A graph whose only node is a ``lookup`` of ten features, in this process, before a Redis of its own,
where one is installed, and a table of SQLite. Each request is for entities that were not asked for
before, or for the same ones again, which are in memory. Beside it, what the client of the store
takes for the same entities without a graph.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from anabranch import Graph
from anabranch.components.contract import Context
from anabranch.graph.execute.executor import HeadExecutor
from anabranch.graph.execute.nodes import load_nodes, unload_nodes
from benchmarks.options import parse
from benchmarks.outcome import Goal, outcome
from benchmarks.private_redis import private_redis

ROWS = (1, 100)
REQUESTS = 500
FEATURES = [f"f{number}" for number in range(10)]
GOALS_MS: Mapping[tuple[str, int], tuple[float, float]] = {
    ("redis", 1): (1.0, 0.1),
    ("redis", 100): (10.0, 1.0),
}
"""Most that the median may be, from the store and from memory, by store and rows."""
WIDTH = 100
Ask = Callable[[list[int]], Awaitable[Any]]


class Times(NamedTuple):
    """Milliseconds of requests: median and 99th percentile."""

    p50: float
    p99: float


class Measured(NamedTuple):
    """A store and a number of rows."""

    fetched: Times
    remembered: Times
    client: Times


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lookups", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"default: {REQUESTS}")
    options = parse(parser, requests=20)
    with tempfile.TemporaryDirectory(prefix="ab-") as name, private_redis(Path(name)) as url:
        found = uvloop.run(_stores(Path(name), url, options.requests))
    _print(found)
    problems = [] if url else ["redis: redis-server is not installed"]
    return outcome(_goals(found), problems)


async def _stores(folder: Path, url: str, requests: int) -> dict[tuple[str, int], Measured]:
    """Measure every store with every number of rows."""
    entities = requests * max(ROWS)
    stores = {"sqlite": _sqlite(folder / "features.db", entities)}
    if url:
        stores["redis"] = await _redis(url, entities)
    return {
        (store, rows): await _measured(*asked, rows, requests)
        for store, asked in stores.items()
        for rows in ROWS
    }


async def _redis(url: str, entities: int) -> tuple[dict[str, Any], Ask]:
    """Fill a Redis; return the arguments of the lookup, and the call of its client."""
    # Here, for the package may be missing, where the server is.
    from redis.asyncio import Redis

    client = Redis.from_url(url)
    for start in range(0, entities, 1000):
        async with client.pipeline(transaction=False) as pipe:
            for entity in range(start, min(start + 1000, entities)):
                pipe.hset(f"user:{entity}", mapping=dict.fromkeys(FEATURES, entity / 2))
            await pipe.execute()

    async def ask(ids: list[int]) -> Any:
        async with client.pipeline(transaction=False) as pipe:
            for entity in ids:
                pipe.hmget(f"user:{entity}", FEATURES)
            return await pipe.execute()

    return {"store": url, "key": "user:{user_id}"}, ask


def _sqlite(file: Path, entities: int) -> tuple[dict[str, Any], Ask]:
    """Fill a table; return likewise."""
    columns = ", ".join(f"{one} REAL" for one in FEATURES)
    rows = ((entity, *[entity / 2] * len(FEATURES)) for entity in range(entities))
    with sqlite3.connect(file) as database:
        database.execute(f"CREATE TABLE users (user_id INTEGER PRIMARY KEY, {columns})")
        places = ", ".join("?" * (len(FEATURES) + 1))
        database.executemany(f"INSERT INTO users VALUES ({places})", rows)

    def read(ids: list[int]) -> Any:
        with sqlite3.connect(file) as database:
            places = ", ".join("?" * len(ids))
            return database.execute(
                f"SELECT * FROM users WHERE user_id IN ({places})", ids
            ).fetchall()

    async def ask(ids: list[int]) -> Any:
        return await asyncio.to_thread(read, ids)

    return {"store": f"sqlite:///{file}", "table": "users"}, ask


async def _measured(args: Mapping[str, Any], client: Ask, rows: int, requests: int) -> Measured:
    graph = Graph("lookups").input("user_id", "INT64", [-1])
    features = {one: one for one in FEATURES}
    types = {one: {"datatype": "FP64", "shape": [-1]} for one in FEATURES}
    graph.transformer(
        "profile", method="lookup", inputs={"user_id": "user_id"}, outputs=types,
        args={**args, "features": features, "max_age": "10m"}, timeout="60s",
    )  # fmt: skip
    for one in FEATURES:
        graph.output(one, f"profile.{one}")
    bound = await load_nodes(graph.plan, graph.plan.nodes, Path.cwd())
    executor = HeadExecutor(graph.plan, bound)

    async def ask(ids: list[int]) -> None:
        found = await executor.run({"user_id": np.array(ids)}, Context())
        assert found["f9"].tolist() == [one / 2 for one in ids]

    asked = [[one * rows + row for row in range(rows)] for one in range(requests)]
    try:
        fetched, remembered = await _timed(ask, asked), await _timed(ask, asked)
        return Measured(fetched, remembered, await _timed(client, asked))
    finally:
        executor.close()
        await unload_nodes(bound, Path.cwd())


async def _timed(ask: Ask, asked: list[list[int]]) -> Times:
    took = []
    for ids in asked:
        started = time.perf_counter()
        await ask(ids)
        took.append((time.perf_counter() - started) * 1e3)
    return Times(*np.quantile(took, (0.5, 0.99)))


def _print(found: Mapping[tuple[str, int], Measured]) -> None:
    table = Table(title="p50 / p99 in ms", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("store", "rows", "from the store", "from memory", "the client alone"):
        table.add_column(column, justify="left" if column == "store" else "right")
    for (store, rows), measured in found.items():
        table.add_row(store, str(rows), *(f"{one.p50:.2f} / {one.p99:.2f}" for one in measured))
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    console.print(table)


def _goals(found: Mapping[tuple[str, int], Measured]) -> list[Goal]:
    return [
        (f"{store}, {rows} rows {origin}: {times.p50:.2f} <= {most:g} ms", times.p50 <= most)
        for (store, rows), bounds in GOALS_MS.items()
        if (store, rows) in found
        for origin, times, most in zip(
            ("from the store", "from memory"), found[store, rows], bounds, strict=False
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
