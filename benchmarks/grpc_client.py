"""Our load generator for gRPC, called as the one for HTTP is, with ``host:port`` for a URL.

Keeps one ModelInfer in flight on every connection. The message goes out as the bytes in the file,
and of the answer only the status counts. Prints one line of JSON, as ``load.Load`` has it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import grpc

from benchmarks.client import Tally, described

METHOD = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else all channels share one connection
    ("grpc.enable_http_proxy", 0),
]


async def keep_asking(target: str, message: bytes, tally: Tally, patience: float) -> None:
    """Ask over one connection until the time is over."""
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        infer = channel.unary_unary(METHOD)
        while not tally.is_over():
            sent = time.perf_counter()
            try:
                await infer(message, timeout=tally.end - sent + patience, wait_for_ready=True)
            except grpc.aio.AioRpcError:
                tally.failed += 1
            else:
                tally.latencies.append(time.perf_counter() - sent)


async def ask(
    target: str, connections: int, seconds: float, patience: float, message: bytes
) -> str:
    """Load ``target`` and describe the result."""
    start = time.perf_counter()
    tally = Tally(seconds)
    asking = (keep_asking(target, message, tally, patience) for _ in range(connections))
    await asyncio.gather(*asking)
    return described(tally, time.perf_counter() - start)


if __name__ == "__main__":
    target, connections, seconds, patience, path = sys.argv[1:]
    message = Path(path).read_bytes()
    print(asyncio.run(ask(target, int(connections), float(seconds), float(patience), message)))
