"""Answers of the runtime API, good and bad."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from anabranch.errors import EngineError
from anabranch.serve.edge import runtime_api
from anabranch.serve.edge.routes import EdgeState
from anabranch.serve.edge.runtime_api import RuntimeApi
from tests.serve.edge.servers import edge, needs_haproxy, short_folder, shut


def against(
    use: Callable[[RuntimeApi], Awaitable[Any]], *answers: bytes, hold: bool = False
) -> Any:
    """Use the API against a server that gives these answers, then hangs up, or holds still."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readline()
            writer.write(answer)
        if hold:
            await reader.read()
        await shut(writer)
        served.set()

    served = asyncio.Event()

    async def main() -> Any:
        with short_folder() as folder:
            async with await asyncio.start_unix_server(serve, folder / "admin.sock"):
                try:
                    return await use(RuntimeApi(folder / "admin.sock"))
                finally:
                    await served.wait()

    return asyncio.run(main())


def test_answers_are_taken_apart() -> None:
    answers = (b"\n> ", b"one\ntwo\n\n> ", b"\n> ")
    assert against(lambda api: api.ask("a", "b"), *answers) == ["one\ntwo", ""]


@pytest.mark.parametrize("answer", [b"No such server.\n\n> ", b"Unknown command\n> "])
def test_a_refusal_is_an_error_with_the_command_and_the_reason(answer: bytes) -> None:
    with pytest.raises(EngineError, match=r"refused 'set x': (No such|Unknown)"):
        against(lambda api: api.run(["set x"]), b"\n> ", answer)


@pytest.mark.parametrize("answers", [(), (b"\n> ",), (b"\n> ", b"half of an ans")])
def test_an_end_in_the_middle_is_an_error(answers: tuple[bytes, ...]) -> None:
    with pytest.raises(EngineError, match="does not answer"):
        against(lambda api: api.run(["set x"]), *answers)


def test_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_api, "TIMEOUT_S", 0.1)
    with pytest.raises(EngineError, match="does not answer"):
        against(lambda api: api.run(["set x"]), b"\n> ", hold=True)


def test_no_socket_is_an_error() -> None:
    with short_folder() as folder, pytest.raises(EngineError, match="does not answer"):
        asyncio.run(RuntimeApi(folder / "admin.sock").pid())


@needs_haproxy
def test_the_state_of_a_real_haproxy() -> None:
    async def main() -> None:
        async with edge() as site:
            api = RuntimeApi(site.folder / "admin.sock")
            assert await api.state("routes.map") == EdgeState({}, {})
            await api.run(["add server g0/s1 127.0.0.1:1", "add server g1/s1 unix@/x"])
            await api.run(["set server g1/s1 state ready", "add map routes.map a g1:retry"])
            assert await api.state("routes.map") == EdgeState(
                {"a": "g1:retry"}, {("g0", "s1"): False, ("g1", "s1"): True}
            )
            await api.remove([("g0", "s1"), ("g7", "nobody")])
            assert set((await api.state("routes.map")).servers) == {("g1", "s1")}

    asyncio.run(main())
