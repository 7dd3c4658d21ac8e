"""Ray's head node, which starts again the processes that can be started again by themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from subprocess import Popen

import psutil
from ray._private.node import Node
from ray._private.ray_constants import PROCESS_TYPE_DASHBOARD, PROCESS_TYPE_GCS_SERVER

from anabranch.control.engine.processes import is_alive
from anabranch.control.engine.supervision import supervisor
from anabranch.control.engine.supervision.heartbeats import Heartbeats
from anabranch.control.engine.supervision.snapshot import Lookout
from anabranch.control.engine.supervision.stopped import StoppedProcesses
from anabranch.serve.sockets import FOLDER


class MendingNode(Node):
    """The node of ``ray start --head --block``, which asks once a second what has ended.

    GCS finds its tables again and the dashboard has none; both are started again. With any other
    process Ray ends, however that one ended: its supervisor starts Ray anew.
    """

    _supervisor = psutil.Process(os.getppid())
    """The present one: the parent of this process, or one that has adopted it."""
    _hung = (
        Heartbeats(Path(os.environ[FOLDER]).parent),
        Lookout(StoppedProcesses(lambda pid: pid == MendingNode._supervisor.pid)),
    )
    """Find a supervisor that is stopped, or hangs: nobody else looks after it."""

    def dead_processes(self) -> list[tuple[str, Popen[bytes]]]:
        """Mend what can be mended; ends this process where that is not enough."""
        for kind, process in super().dead_processes():  # type: ignore[no-untyped-call]
            print(f"{kind} ended with {process.returncode}", flush=True)
            if kind == PROCESS_TYPE_GCS_SERVER:
                self._start_gcs_again()
            elif kind == PROCESS_TYPE_DASHBOARD:
                self._start_dashboard_again()
            else:
                self.kill_all_processes(check_alive=False, allow_graceful=False)
                os._exit(1)
        for one in self._hung:
            one.kill()
        if not is_alive(self._supervisor):
            self._start_supervisor_again()
        return []

    def _start_gcs_again(self) -> None:
        del self.all_processes[PROCESS_TYPE_GCS_SERVER]
        self._gcs_address = self._gcs_client = None
        self.start_gcs_server()  # type: ignore[no-untyped-call]

    def _start_dashboard_again(self) -> None:
        del self.all_processes[PROCESS_TYPE_DASHBOARD]
        self.start_api_server(include_dashboard=True, raise_on_failure=False)

    def _start_supervisor_again(self) -> None:
        """Start a supervisor that adopts this process."""
        environment = {**os.environ, supervisor.ADOPT: str(os.getpid())}
        started = supervisor.start(sys.argv[1:], environment, "ab")
        type(self)._supervisor = psutil.Process(started.pid)
