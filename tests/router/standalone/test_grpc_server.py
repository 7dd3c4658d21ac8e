"""A graph over gRPC in a process of its own: the graph's methods, and those of the server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.router.grpc.conftest import Stub, connected, infer_request
from tests.router.standalone.graphs import served, spec, written


def asked(file: Path, ask: Any) -> None:
    async def main(port: int) -> None:
        async with connected(f"127.0.0.1:{port}") as stub:
            await ask(stub)

    with served(file, grpc_port=0) as found:
        assert found.server.grpc_port is not None
        asyncio.run(main(found.server.grpc_port))


def test_methods_of_the_graph_and_the_server_answer(tmp_path: Path) -> None:
    async def ask(stub: Stub) -> None:
        assert (await stub("ServerLive")).live
        assert (await stub("ServerReady")).ready
        assert (await stub("ServerMetadata")).name == "anabranch"
        (model,) = (await stub("RepositoryIndex")).models
        assert (model.name, model.version, model.state) == ("demo", "1", "READY")
        assert (await stub("ModelReady", name="demo")).ready
        assert [one.name for one in (await stub("ModelMetadata", name="demo")).inputs] == ["x"]
        reply = await stub("ModelInfer", infer_request())
        found = np.frombuffer(reply.raw_output_contents[0], np.float32)
        np.testing.assert_array_equal(found, [2, 4, 6, 8])

    asked(written(tmp_path, spec()), ask)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    async def ask(stub: Stub) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub("ModelInfer", infer_request("other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub("RepositoryModelUnload", model_name="demo")
        assert "without an engine" in str(caught.value.details())

    asked(written(tmp_path, spec()), ask)
