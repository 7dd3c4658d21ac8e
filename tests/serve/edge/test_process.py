"""A process of the edge once it was given up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

from anabranch.serve.edge.process import EdgeProcess


async def give_up(process: EdgeProcess) -> None:
    await process.wait()
    process.close()


async def come_late(process: EdgeProcess) -> None:
    """Do all that a watcher does, or who ends the edge, a moment late or once more."""
    assert process.ended
    assert await process.ends_within(60)
    await process.end()
    process.kill()
    process.close()


def test_one_that_was_closed_leaves_its_number_to_whoever_has_it_now() -> None:
    with subprocess.Popen(["true"]) as child:
        number = os.pidfd_open(child.pid)
        process = EdgeProcess(child.pid, number, child)
        asyncio.run(give_up(process))
    with subprocess.Popen(["sleep", "60"]) as another:
        found = os.pidfd_open(another.pid)
        if found != number:
            os.dup2(found, number)
            os.close(found)
        asyncio.run(come_late(process))
        assert another.poll() is None
        signal.pidfd_send_signal(number, signal.SIGKILL)
        os.close(number)
    assert another.returncode == -signal.SIGKILL
