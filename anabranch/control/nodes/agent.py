"""The agent of a machine other than the head's: reads the machine's files for the controller."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from anabranch.control.nodes.cluster import log_folder
from anabranch.control.nodes.files import MachineFiles, Question
from anabranch.control.observe.log_bounds import keep_within
from anabranch.serve.attachment import is_attached
from anabranch.serve.bound_actors import start_on
from anabranch.serve.export.logs import write_logs
from anabranch.serve.heartbeat import end_heartbeat, start_heartbeat
from anabranch.serve.sockets import unix_folder
from anabranch.telemetry.log_settings import LogBounds

logger = logging.getLogger("anabranch.control")

PERIOD_S = 60.0
"""Time between two looks at the size of the machine's logs, in seconds."""


class MachineAgent:
    """The actor's class."""

    async def __init__(self, bounds: LogBounds) -> None:  # type: ignore[misc]  # Ray awaits it
        write_logs()
        start_heartbeat()
        self._files = MachineFiles(log_folder, unix_folder())
        self._running = asyncio.create_task(_bound(bounds))

    async def ask(self, question: Question, *arguments: Any) -> Any:
        """Return what the files here answer, see ``MachineFiles.answer``."""
        return await asyncio.to_thread(self._files.answer, question, *arguments)

    async def close(self) -> None:
        """Make ready to end."""
        self._running.cancel()
        end_heartbeat()


async def _bound(bounds: LogBounds) -> None:
    """Keep the logs of a machine that is the engine's alone within their bounds, for ever."""
    while not is_attached():  # where Ray's logs are somebody else's, too
        try:
            await asyncio.to_thread(lambda: keep_within(log_folder(), bounds))
        except OSError as error:
            logger.warning("the logs cannot be kept within their bounds: %s", error)
        await asyncio.sleep(PERIOD_S)


def start_agent(machine: str, name: str, bounds: LogBounds) -> None:
    """Start the agent of the machine of an id, if it does not run."""
    start_on(machine, MachineAgent, name, bounds)
