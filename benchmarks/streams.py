"""What a call between two replicas costs: ``python -m benchmarks.streams``.

One process calls another over a Unix socket, which sends back what it got: with our transport, and
with pickle over plain streams of asyncio; and with our transport as between machines, over TCP with
TLS. Below them is what a copy of the same bytes takes in this
process. All ways of calling have a turn in every round; figures are medians over rounds. The time
of a processor is that of the caller, of which the goal speaks, and of the replica.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import pickle
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from anabranch.components.contract import Context
from anabranch.control.access.authority import certificates_environment, make_certificates
from anabranch.router.between_nodes import server_tls
from anabranch.serve.sockets import tcp_listener, unix_address, unix_listener
from anabranch.serve.streams.connecting import connect
from anabranch.serve.streams.server import CallServer
from benchmarks.options import parse
from benchmarks.outcome import outcome

SECRET = b"of the benchmark"
PORT = ".port"
MIB = 2**20
SIZES = {"4 numbers": 16, "1 MiB": MIB, "16 MiB": 16 * MIB}
AT_ONCE = 20
WARM_UP = 20
LATENCY_US, PROCESSOR_US, MOST_AT_ONCE = 300, 100, 3
"""Goals for 4 numbers: p50 of one call, the caller's processor for it, and how many times the goal
of one call 20 at once may take: the calls themselves take next to no time here."""
START_S = 60.0
LENGTH = Struct("<Q")
HEADERS = {f"x-header-{number}": "a value of some length" for number in range(8)}

Call = Callable[..., Awaitable[Any]]
"""Calls the replica with values, and returns what it sends back; with None, its processor time."""


class Figures(NamedTuple):
    """Of one turn, in microseconds a call."""

    p50: float
    caller: float
    replica: float


@dataclass
class Way:
    """A way to call, and its figures by payload, one a round."""

    title: str
    serve: Callable[[str], Any]
    link: Callable[[str], Any]
    figures: dict[str, list[Figures]] = field(default_factory=dict)

    def median(self, payload: str) -> Figures:
        """The figures of a payload, each the median over rounds."""
        return Figures(*map(statistics.median, zip(*self.figures[payload], strict=True)))


async def give_back(values: Any, wants: Any, context: Any) -> Any:
    """The method of the replica."""
    return time.process_time() if values is None else values


async def serve_frames(path: str) -> None:
    """Run a replica of our transport."""
    server = CallServer({"evaluate": give_back}, {}, SECRET)
    await server.listen(unix_listener(Path(path)))
    await asyncio.Event().wait()


@asynccontextmanager
async def frames_link(path: str) -> AsyncIterator[Call]:
    """Call it."""
    link = await connect(unix_address(Path(path)), "replica", SECRET)
    try:
        yield partial(link.call, "evaluate")
    finally:
        link.close()


async def serve_far(path: str) -> None:
    """Run a replica of our transport for other machines; its port is in a file beside the path."""
    make_certificates(Path(path).parent)
    os.environ |= certificates_environment(Path(path).parent)
    server = CallServer({"evaluate": give_back}, {}, SECRET)
    listener = tcp_listener("127.0.0.1")
    Path(path).with_suffix(PORT).write_text(str(listener.getsockname()[1]))
    await server.listen(listener, server_tls())
    await server.listen(unix_listener(Path(path)))
    await asyncio.Event().wait()


@asynccontextmanager
async def far_link(path: str) -> AsyncIterator[Call]:
    """Call it."""
    os.environ |= certificates_environment(Path(path).parent)
    port = Path(path).with_suffix(PORT).read_text()
    link = await connect(f"127.0.0.1:{port}", "replica", SECRET)
    try:
        yield partial(link.call, "evaluate")
    finally:
        link.close()


async def serve_pickles(path: str) -> None:
    """Run a replica that reads and writes pickles."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                args = await read_pickle(reader)
                write_pickle(writer, await give_back(*args))
                await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        await asyncio.Event().wait()


@asynccontextmanager
async def pickles_link(path: str) -> AsyncIterator[Call]:
    """Call it, one call at a time."""
    reader, writer = await asyncio.open_unix_connection(path)
    turn = asyncio.Lock()

    async def call(*args: Any) -> Any:
        async with turn:
            write_pickle(writer, args)
            await writer.drain()
            return await read_pickle(reader)

    try:
        yield call
    finally:
        writer.close()


async def read_pickle(reader: asyncio.StreamReader) -> Any:
    """Read what ``write_pickle`` wrote."""
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return pickle.loads(await reader.readexactly(size))


def write_pickle(writer: asyncio.StreamWriter, value: Any) -> None:
    """Write a value behind its length."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    writer.write(LENGTH.pack(len(data)))
    writer.write(data)


WAYS = (
    ("streams", serve_frames, frames_link),
    ("TCP, TLS", serve_far, far_link),
    ("pickle", serve_pickles, pickles_link),
)


def main() -> int:
    """Measure and print; return the code of ``outcome``."""
    options = _options()
    ways = [Way(*way) for way in WAYS]
    for number in range(1, options.rounds + 1):
        for way in ways:
            print(f"round {number} of {options.rounds}: {way.title}", flush=True)
            with _replica(way) as path:
                uvloop.run(_turn(way, path, options.calls))
    copies = {title: _copy_us(size) for title, size in SIZES.items()}
    Console(width=120).print(_table(ways, copies))
    return outcome(_goals(ways[0]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams")
    parser.add_argument("--calls", type=int, default=3000, help="of 4 numbers (default: 3000)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    return parse(parser, calls=200, rounds=1)


@contextmanager
def _replica(way: Way) -> Iterator[str]:
    """Run the other process until it is there to be called."""
    with tempfile.TemporaryDirectory(prefix="ab-") as folder:
        path = Path(folder) / "replica.sock"
        process = multiprocessing.get_context("spawn").Process(
            target=_run_replica, args=(way.serve, str(path)), daemon=True
        )
        process.start()
        try:
            deadline = time.monotonic() + START_S
            while not _listens(path):
                assert time.monotonic() < deadline and process.is_alive(), "no replica"
                time.sleep(0.01)
            yield str(path)
        finally:
            process.kill()
            process.join()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(str(path)) == 0


def _run_replica(serve: Callable[[str], Any], path: str) -> None:
    uvloop.run(serve(path))


async def _turn(way: Way, path: str, calls: int) -> None:
    async with way.link(path) as call:
        for title, size in SIZES.items():
            values = {"x": np.ones((1, size // 4), np.float32)}
            few = max(20, min(calls, calls * 4 * 2**10 // size))
            found = await _measure(partial(_one, call, values), call, few)
            way.figures.setdefault(title, []).append(found)
        values = {"x": np.ones((1, 4), np.float32)}
        at_once = await _measure(partial(_many, call, values), call, max(20, calls // AT_ONCE))
        way.figures.setdefault(_AT_ONCE, []).append(at_once)


_AT_ONCE = f"4 numbers, {AT_ONCE} at once"


async def _one(call: Call, values: Any) -> None:
    context = Context("request", HEADERS, deadline=time.monotonic() + 5)
    found = await call(values, ("y",), context)
    assert found["x"].shape == values["x"].shape


async def _many(call: Call, values: Any) -> None:
    await asyncio.gather(*[_one(call, values) for _ in range(AT_ONCE)])


async def _measure(work: Callable[[], Awaitable[None]], call: Call, calls: int) -> Figures:
    for _ in range(min(WARM_UP, calls)):
        await work()
    times = []
    there, here = await call(None, None, None), time.process_time()
    for _ in range(calls):
        start = time.perf_counter()
        await work()
        times.append(time.perf_counter() - start)
    caller = time.process_time() - here
    replica = await call(None, None, None) - there
    return Figures(statistics.median(times) * 1e6, caller / calls * 1e6, replica / calls * 1e6)


def _copy_us(size: int) -> float:
    """What a copy of so many bytes takes, into memory that is there."""
    source, goal = np.ones(size, np.uint8), np.ones(size, np.uint8)
    times = []
    for _ in range(50):
        start = time.perf_counter()
        np.copyto(goal, source)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def _table(ways: Sequence[Way], copies: dict[str, float]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("", "payload", "p50, µs", "caller, µs", "replica, µs", "p50 / copy"):
        table.add_column(heading, justify="right" if "µs" in heading else "left")
    for payload in (*SIZES, _AT_ONCE):
        for way in ways:
            found = way.median(payload)
            copy = copies.get(payload)
            ratio = "" if copy is None else f"{found.p50 / copy:,.1f} ×"
            table.add_row(way.title, payload, *[f"{one:,.0f}" for one in found], ratio)
        if payload in copies:
            table.add_row("a copy", payload, f"{copies[payload]:,.1f}", "", "", "")
    return table


def _goals(ours: Way) -> list[tuple[str, bool]]:
    one, many = ours.median("4 numbers"), ours.median(_AT_ONCE)
    most = MOST_AT_ONCE * LATENCY_US
    return [
        (f"4 numbers: {one.p50:.0f} µs (goal: {LATENCY_US})", one.p50 <= LATENCY_US),
        (
            f"4 numbers: {one.caller:.0f} µs of the caller's processor (goal: {PROCESSOR_US})",
            one.caller <= PROCESSOR_US,
        ),
        (
            f"{AT_ONCE} at once: {many.p50:.0f} µs, {many.p50 / one.p50:.1f} × that of one "
            f"(goal: {MOST_AT_ONCE} × {LATENCY_US})",
            many.p50 <= most,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
