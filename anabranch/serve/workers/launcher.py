"""Starts a Ray worker: as a fork of the engine's zygote, or else as Ray itself would.

Ray's daemon runs this file in place of its own ``setup_worker.py``, with the same arguments. Only
workers that ask for it (``FORK`` in their environment) are forked, and only where nothing speaks
against it; whatever is in the way, the worker starts as it always did. This file is run for every
worker, so it imports little and nothing of ours.
"""

import json
import os
import shlex
import socket
import sys

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
FORKED = {"env_vars": {FORK: "1"}}
"""The runtime environment of such a worker that needs nothing else."""
_NO_JOB = "ffffffff"
"""Ray's name for the job of workers that wait for one."""
_CONTEXT = "--serialized-runtime-env-context="
_LANGUAGE = "--language="


def main(arguments: list[str]) -> None:
    """Become a worker, or stand in for one until it ends."""
    order = _order(arguments)
    if order is None or not _forked(order):
        if order is not None or _is_first():
            _start_zygote()
        script = os.environ[ORDINARY]
        os.execv(sys.executable, [sys.executable, script, *arguments])


def _is_first() -> bool:
    """Return whether a zygote would serve the job of this worker, and none was started yet."""
    known = os.environ.get("RAY_JOB_ID", _NO_JOB) != _NO_JOB
    return known and ZYGOTE in os.environ and not os.access(os.environ[ZYGOTE], os.F_OK)


def _order(arguments: list[str]) -> "dict[str, object] | None":
    """Return the order for the zygote; None for a worker that is no fork."""
    context = json.loads(_value(arguments, _CONTEXT) or "{}")
    variables = context.get("env_vars", {})
    folder = _folder(context.get("command_prefix", []))
    if (
        folder is None
        or _value(arguments, _LANGUAGE) != "PYTHON"
        or FORK not in variables
        or ZYGOTE not in os.environ
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


def _forked(order: "dict[str, object]") -> bool:
    """Have the worker forked and wait until it ends; False if there is none."""
    message = json.dumps(order).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.connect(os.environ[ZYGOTE])
            socket.send_fds(line, [len(message).to_bytes(4, "big")], [0, 1, 2])
            line.sendall(message)
            if not line.recv(1):
                return False
            # The worker holds the other end, and never sends anything more.
            line.recv(1)
    except OSError:
        return False
    return True


def _start_zygote() -> None:
    """Start one for the next worker; it stops at once where there is one.

    It must be no child of this process, for Ray ends the children of a worker together with it.
    What it imports gets the one thread that Ray gives to replicas that ask for no processor.
    """
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(nothing, number)
            command = [sys.executable, "-P", "-m", "anabranch.serve.workers.zygote"]
            os.execve(sys.executable, command, {"OMP_NUM_THREADS": "1", **os.environ})
        os._exit(0)
    os.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
