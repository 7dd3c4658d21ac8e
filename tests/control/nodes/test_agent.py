"""An agent reads its machine's files, keeps its logs within bounds, and ends when it is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from anabranch.control.nodes import agent
from anabranch.control.nodes.agent import MachineAgent
from anabranch.control.observe.logs import LoggedReplica, Wanted
from anabranch.errors import InvalidRequest
from anabranch.serve.heartbeat import FOLDER, HUNG
from anabranch.telemetry.log_settings import LogBounds
from tests.control.observe.test_ended import left
from tests.waiting import eventually

REPLICA = LoggedReplica("shop/router#a", "router", "2", "", "w1", "n2", "10.0.0.2")


def test_an_agent_tells_what_its_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, sockets = tmp_path / "logs", tmp_path / "sockets"
    (sockets / FOLDER).mkdir(parents=True)
    logs.mkdir()
    monkeypatch.setattr(agent, "log_folder", lambda: logs)
    monkeypatch.setattr(agent, "unix_folder", lambda: sockets)
    for name in ("write_logs", "start_heartbeat", "end_heartbeat"):  # they change their process
        monkeypatch.setattr(agent, name, lambda: None)
    (logs / "worker-w1-01-9.err").write_text("hello\n")
    (logs / "worker-w2-01-9.err").write_bytes(b"x" * 10_000)
    left(sockets / FOLDER, f"1-1{HUNG}", "shop", "slow")

    async def main() -> None:
        one = MachineAgent.__new__(MachineAgent)
        await one.__init__(LogBounds(size=4096))  # type: ignore[misc]
        found = await one.ask("lines", [REPLICA], "shop", Wanted(), 10, None)
        assert [line["message"] for line in found.lines] == ["hello"]
        (process,) = await one.ask("ended", ())
        assert (process.graph, process.node) == ("shop", "slow")
        assert await one.ask("ended", {process.pulse}) == []
        for name in ("_logs", "__init__", "answer"):
            with pytest.raises(InvalidRequest, match=f"not asked for '{name}': lines or ended"):
                await one.ask(name)  # type: ignore[arg-type]

        await eventually(lambda: (logs / "worker-w2-01-9.err").stat().st_size < 4096)
        await one.close()
        await asyncio.gather(one._running, return_exceptions=True)
        assert one._running.cancelled()

    asyncio.run(main())
