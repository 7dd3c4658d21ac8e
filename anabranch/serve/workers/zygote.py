"""The zygote: a process that has imported what replicas need, and forks itself into them.

A new Python process takes the better part of a second of a processor to import Ray Serve and this
package, and one or two more for PyTorch; a fork has all of that at once, and shares the memory. The
zygote runs no user code, opens no connection to Ray and has one thread, which makes forking safe.
It learns from replicas which large libraries they use, and imports these while it has nothing to
do, so that the next replica finds them.

The engine's head process starts the zygote before it imports Ray, so that both import at the same
time, and workers that come early wait for it, up to ``PATIENCE_S``. Where it has died, the next
worker starts as Ray starts it, and the launcher starts a new zygote beside it; one that is stopped
or hangs is ended first. Ray reads the job of a worker, and the process with which the worker ends,
from the environment when it is imported. So the zygote has both from its start: the engine's first
job, and the head's process or Ray's daemon, with which it ends.

Ray draws its ids, those of calls too, from generators in C++ that are seeded from one pool in the
process, and forks after the first draw share the pool: two replicas then give two calls the same
id, and the actor that gets both crashes. So nothing is drawn here, and a zygote that finds that
something was ends itself: replicas then start as Ray starts them.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from anabranch.graph.calls.timer_slack import PUNCTUAL_NS, set_timer_slack
from anabranch.serve.workers.launcher import HOOK, JOB, MODULES, RAYLET, ZYGOTE

BASE = (
    "ray.serve._private.replica",
    "anabranch.serve.replicas.router",
    "anabranch.serve.replicas.head",
    "anabranch.serve.replicas.segment",
    "anabranch.serve.replicas.explainer",
    "anabranch.serve.replicas.pool",
    "anabranch.serve.replicas.gateway",
    "anabranch.serve.replicas.front",
    "anabranch.serve.replicas.edge",
    "ray.serve._private.controller",
    "ray._private.arrow_serialization",
    "ray._common.pydantic_compat",
    "anyio._backends._asyncio",
    "cel",
    "pydantic.v1",
    "numpy",
)
"""Modules that the engine's workers import, sooner or later."""
LIBRARIES = frozenset(
    {
        "catboost", "lightgbm", "mlflow", "pandas", "safetensors", "scipy",
        "sklearn", "skops", "sympy", "tokenizers", "torch", "transformers", "xgboost",
    }
)  # fmt: skip
"""Top-level packages that take long to import, start no threads by that, and are worth keeping."""
_LOOK_S = 1.0
_MOST_BYTES = 8 * 2**20
_SEND_S = 1.0


def main() -> None:
    """Serve the zygote's socket for as long as the process lives that its environment names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        if not _bound(listener, os.environ[ZYGOTE]):
            return
        place = _place()
        # Nobody waits for the children: this makes the system forget them by itself.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        _set_up()
        _draw_no_class_ids()
        if _is_ready_with([*BASE, *_told()]):
            _serve(listener, place)


def _set_up() -> None:
    """Do what Ray's workers do first, before anything is imported that is to be changed by it."""
    if name := os.environ.get(HOOK):
        module, _, function = name.rpartition(".")
        getattr(importlib.import_module(module), function)()


def _told() -> list[str]:
    """The modules that whoever set the engine up wants in every replica."""
    return [name for name in os.environ.get(MODULES, "").split(",") if name]


def _draw_no_class_ids() -> None:
    """Let the system number the classes of actors that are imported, not Ray's generator."""
    import ray.actor
    from ray import ActorClassID

    class Numbered:
        @staticmethod
        def from_random() -> ActorClassID:
            return ActorClassID(os.urandom(ActorClassID.size()))

    setattr(ray.actor, "ActorClassID", Numbered)  # noqa: B010  # it is no public name


def _is_ready_with(names: Sequence[str]) -> bool:
    """Import modules for all later forks; False if these would share ids from then on."""
    _import(names)
    _mark_modules()
    gc.freeze()
    return _forks_draw_apart()


def _mark_modules() -> None:
    """Keep forks from looking at what is imported now, which would copy it."""
    from anabranch.components.source.roots import mark_modules

    mark_modules()


def _forks_draw_apart() -> bool:
    """Return whether two forks get different ids from Ray."""
    from ray import ObjectRef

    drawn = set()
    for _ in range(2):
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, ObjectRef.from_random().binary())
            os._exit(0)
        os.close(writer)
        drawn.add(os.read(reader, 64))  # empty if the fork died: then they are alike, too
        os.close(reader)
    return len(drawn) == 2


def _bound(listener: socket.socket, path: str) -> bool:
    """Take the socket's place, also that of a zygote that has died; False if another one lives."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.setblocking(False)  # one that is stopped may have no room for another caller
        other.connect(path)
        return False
    Path(path).unlink(missing_ok=True)
    try:
        listener.bind(path)
    except OSError:
        return False
    listener.listen(64)
    return True


def _place() -> int | None:
    """Return the number of the socket's file; another zygote's has another one."""
    with suppress(OSError):
        return Path(os.environ[ZYGOTE]).stat().st_ino
    return None


def _serve(listener: socket.socket, place: int | None) -> None:
    """Answer callers until the daemon has ended, or another zygote has taken this one's place."""
    wanted: list[str] = []
    while Path("/proc", os.environ[RAYLET]).exists() and _place() == place:
        readable, _, _ = select.select([listener], [], [], _LOOK_S)
        if readable:
            with suppress(Exception):  # what makes no sense must not end it
                wanted += _answer(listener)
        elif wanted:
            if not _is_ready_with(wanted):
                return
            wanted.clear()


def _answer(listener: socket.socket) -> Sequence[str]:
    """Do what one caller asks for; returns the modules that it says are used."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(_SEND_S)
        order, files = _read(connection)
        try:
            if "argv" in order and _is_kin(order["environment"]) and os.fork() == 0:
                listener.close()
                _work(order, files, connection)
        finally:
            for file in files:
                os.close(file)
    used: Sequence[str] = order.get("used", ())
    return used


def _is_kin(environment: dict[str, str]) -> bool:
    """Return whether a worker is of the zygote's job."""
    return environment.get(JOB) == os.environ[JOB]


def _read(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """One message, and the files that came with it. Raises ValueError for what is none."""
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    size = int.from_bytes(head, "big")
    if len(head) != 4 or size > _MOST_BYTES:
        raise ValueError("not a message")
    body = bytearray()
    while len(body) < size and (part := connection.recv(size - len(body))):
        body += part
    order: dict[str, Any] = json.loads(body)
    return order, files


def _work(order: dict[str, Any], files: Sequence[int], connection: socket.socket) -> None:
    """Be the worker, and never return. The connection stays open for as long as it lives."""
    status = 1
    try:
        os.setpgid(0, 0)  # Ray ends the whole process group of a worker
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.setpriority(os.PRIO_PROCESS, 0, order["nice"])
        # Ray's main thread asks for Python's lock all the time.
        set_timer_slack(PUNCTUAL_NS)
        _settle(order["environment"], order["folder"], order["argv"])
        if not _is_wanted(connection):
            return
        runpy.run_path(order["argv"][0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _is_wanted(connection: socket.socket) -> bool:
    """Return whether whoever asked for the worker has not started it otherwise meanwhile."""
    try:
        connection.sendall(b"!")
        return bool(connection.recv(1))
    except OSError:
        return False


def _settle(environment: dict[str, str], folder: str, argv: Sequence[str]) -> None:
    """Make this process look as if it had been started with all that."""
    inherited = _python_path()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = list(argv)
    kept = [entry for entry in sys.path if entry not in inherited]
    sys.path[:] = [str(Path(argv[0]).parent), *_python_path(), *kept]
    importlib.invalidate_caches()
    if (random := sys.modules.get("numpy.random")) is not None:
        random.seed()  # else all forks would draw the same numbers


def _python_path() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def _import(names: Sequence[str]) -> None:
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)


def tell_used() -> None:
    """Tell the zygote which of the large libraries this process has imported; it matters little
    if that is not heard.
    """
    path = os.environ.get(ZYGOTE)
    # Not the whole table first: a look at it writes to memory that forks share.
    if not path or not any(library in sys.modules for library in LIBRARIES):
        return
    used = [name for name in list(sys.modules) if name.partition(".")[0] in LIBRARIES]
    message = json.dumps({"used": used}).encode()
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(_SEND_S)
        line.connect(path)
        line.sendall(len(message).to_bytes(4, "big") + message)


if __name__ == "__main__":
    main()
