"""Starts a Ray worker: as a fork of the engine's zygote, or else as Ray itself would.

Ray's daemon runs this file in place of its own ``setup_worker.py``, with the same arguments. Forked
are workers without a runtime environment, such as those of Serve's own actors, and those that ask
for it (``FORK`` in their environment), where nothing speaks against it; whatever is in the way, the
worker starts as it always did. This file is run for every worker, so it imports little and nothing
of ours.
"""

import json
import os
import shlex
import signal
import socket
import struct
import sys
import time

ZYGOTE = "ANABRANCH_ZYGOTE"
"""Variable that holds the path of the zygote's socket."""
MODULES = "ANABRANCH_ZYGOTE_MODULES"
"""Variable that holds more modules for the zygote to import, with commas between."""
ORDINARY = "ANABRANCH_SETUP_WORKER"
"""Variable that holds the path of Ray's own script."""
HOOK = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"
"""Ray's variable that holds the name of a function that each worker calls first."""
FORK = "ANABRANCH_FORK"
"""Variable that a worker which may be a fork has in its runtime environment."""
BUNDLE = "ANABRANCH_BUNDLE"
"""Variable that holds the digest of the bundle that a worker on a cluster serves."""
PROBLEM = "ANABRANCH_START_PROBLEM"
"""Variable that says why a worker cannot serve what it was started for; else unset."""
PYTHON = "ANABRANCH_PYTHON"
"""Variable that holds the interpreter of the engine on this machine."""
JOB = "RAY_JOB_ID"
"""Ray's variable that holds the job of a worker; Ray reads it when it is imported."""
RAYLET = "RAY_RAYLET_PID"
"""Ray's variable that holds the id of the process without which a worker ends, likewise."""
FIRST_JOB = "01000000"
"""Job of all that ``anabranch up`` starts on a new Ray."""
PATIENCE_S = 1.5
"""How long a worker waits for the zygote, in seconds: it may be importing libraries."""
_DEATH_S = 0.4
"""How long a zygote that was killed has to end, in seconds."""
_NO_JOB = "ffffffff"
"""Ray's name for the job of workers that wait for one."""
_CONTEXT = "--serialized-runtime-env-context="
_LANGUAGE = "--language="


def main(arguments: list[str]) -> None:
    """Become a worker, or stand in for one until it ends."""
    order = _order(arguments)
    line = None if order is None else _forked(order)
    if line is not None:
        # A shell takes a tenth of the memory in which Python would wait.
        os.dup2(line.fileno(), 0)
        os.execv("/bin/sh", ["sh", "-c", "read _; exit 0"])
    if order is not None:
        start_zygote(os.environ[RAYLET], os.environ[JOB])
    script = os.environ[ORDINARY]
    os.environ[PYTHON] = sys.executable
    os.execv(sys.executable, [sys.executable, script, *arguments])


def _order(arguments: list[str]) -> "dict[str, object] | None":
    """Return the order for the zygote; None for a worker that is no fork."""
    context = json.loads(_value(arguments, _CONTEXT) or "{}")
    variables = context.get("env_vars", {})
    folder = _folder(context.get("command_prefix", []))
    if (
        folder is None
        or _value(arguments, _LANGUAGE) != "PYTHON"
        or (variables and FORK not in variables)
        or ZYGOTE not in os.environ
        or os.environ.get(JOB, _NO_JOB) == _NO_JOB
        or context.get("py_executable", sys.executable) != sys.executable
        or context.get("override_worker_entrypoint")
    ):
        return None
    return {
        "argv": [one for one in arguments if not one.startswith((_CONTEXT, _LANGUAGE))],
        "environment": {**os.environ, **variables},
        "folder": folder,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }


def _value(arguments: list[str], option: str) -> "str | None":
    return next((one[len(option) :] for one in arguments if one.startswith(option)), None)


def _folder(prefix: list[str]) -> "str | None":
    """The folder to work in; None if more is to be done than to go there."""
    words = shlex.split(" ".join(prefix))
    if not words:
        return os.getcwd()  # noqa: PTH109  # pathlib takes longer to import than all the rest
    return words[1] if len(words) == 3 and (words[0], words[2]) == ("cd", "&&") else None


def _forked(order: "dict[str, object]") -> "socket.socket | None":
    """Have the worker forked; return the line that ends with it, or None if there is no worker.

    The worker holds the other end. It waits for a word before it begins, so a fork that comes when
    this process has given it up ends itself, and no worker is started twice.
    """
    message = json.dumps(order).encode()
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    line.settimeout(PATIENCE_S)
    zygote, work = 0, 0
    try:
        line.connect(os.environ[ZYGOTE])
        zygote = _peer(line)
        work = _work_of(zygote)
        socket.send_fds(line, [len(message).to_bytes(4, "big")], [0, 1, 2])
        line.sendall(message)
        if line.recv(1):
            line.sendall(b"!")
            line.settimeout(None)
            return line
    except TimeoutError:
        _end_if_idle(zygote, work)
    except OSError:
        pass
    line.close()
    return None


def _peer(line: socket.socket) -> int:
    """Return the id of the process that listens at the other end."""
    credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


def _status(process: int) -> list[str]:
    """Return what Linux says of a process, from its state on; nothing where there is none."""
    try:
        with open(f"/proc/{process}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _work_of(process: int) -> int:
    """Return the time of a processor that a process has used, in ticks of the system's clock."""
    return sum(map(int, _status(process)[11:13]))


def _end_if_idle(zygote: int, work: int) -> None:
    """End a zygote that has not answered and has done nothing since it had used so much time.

    One that imports libraries is left alone.
    """
    if not zygote or _work_of(zygote) != work:
        return
    try:
        os.kill(zygote, signal.SIGKILL)
    except OSError:
        return
    until = time.monotonic() + _DEATH_S
    while _status(zygote)[:1] not in ([], ["Z"]) and time.monotonic() < until:
        time.sleep(0.005)


def start_zygote(daemon: str, job: str) -> None:
    """Start a zygote for a job's workers; it ends at once if there is one.

    It lives as long as the process of the id ``daemon``, and so do its forks.
    It must be no child of this process, for Ray ends the children of a worker together with it.
    Its libraries get the one thread that Ray gives to replicas that ask for no processor.
    """
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(nothing, number)
            command = [sys.executable, "-P", "-m", "anabranch.serve.workers.zygote"]
            own = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
            os.execve(sys.executable, command, {**own, **os.environ, RAYLET: daemon, JOB: job})
        os._exit(0)
    os.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
