"""Workers as forks of the zygote, and as Ray starts them where there is no way to fork."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from anabranch.graph.calls.timer_slack import PUNCTUAL_NS
from anabranch.serve.workers import launcher
from anabranch.serve.workers.launcher import FORK, HOOK, MODULES, ORDINARY, ZYGOTE
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")

LONG_S = 120
"""Time that a process may take, in seconds: it may have to wait for a processor."""
WORKER = """
import json, os, sys, time
import numpy
found = {
    "argv": sys.argv, "cwd": os.getcwd(), "path": sys.path, "pid": os.getpid(),
    "parent": os.getppid(), "group": os.getpgid(0), "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "slack": int(open("/proc/self/timerslack_ns").read()),
    "environment": dict(os.environ), "wave": "wave" in sys.modules, "main": __name__,
    "random": float(numpy.random.rand()), "hooked": getattr(sys, "hooked", None),
}
print(json.dumps(found), flush=True)
if "--wait" in sys.argv:
    time.sleep(60)
if "--fail" in sys.argv:
    raise ValueError("it fails")
"""
ZYGOTE_CODE = """
import sys
from anabranch.serve.workers import zygote
zygote.BASE = ("numpy",)
zygote.LIBRARIES = frozenset({"wave"})
zygote._LOOK_S = 0.005
zygote.main()
"""

PATIENT = """
import sys
from anabranch.serve.workers import launcher
launcher.PATIENCE_S = 60
launcher.main(sys.argv[1:])
"""


HOOKS = """
import sys

def hook():
    sys.hooked = "numpy" not in sys.modules
"""


def _inherited() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


class Launching:
    """A folder with a zygote's socket, and a daemon that the zygote lives with."""

    def __init__(self, root: Path, is_patient: bool = True) -> None:
        self.root = root
        self.is_patient = is_patient
        self.worker = root / "worker.py"
        self.worker.write_text(WORKER)
        (root / "hooks.py").write_text(HOOKS)
        (root / "ordinary.py").write_text("import sys; print('ordinary', *sys.argv[1:])")
        self.daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        self.environment = {
            **os.environ,
            ZYGOTE: str(root / "z.sock"),
            ORDINARY: str(root / "ordinary.py"),
            "RAY_RAYLET_PID": str(self.daemon.pid),
            "RAY_JOB_ID": "01000000",
            HOOK: "hooks.hook",
            "PYTHONPATH": os.pathsep.join([str(root), *_inherited()]),
        }
        self.zygote: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", ZYGOTE_CODE]
        self.zygote = subprocess.Popen(command, env=self.environment)
        until(self.listens)
        return self.zygote

    def listens(self) -> bool:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.connect(self.environment[ZYGOTE])
            return True
        return False

    def launch(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """Run the launcher as Ray's daemon does, but with time for a machine that is busy."""
        variables = {"GREETING": "hello", "PYTHONPATH": str(self.root)}
        context = {
            "command_prefix": ["cd", str(self.root), "&&"],
            "env_vars": {FORK: "1", **variables},
            "py_executable": sys.executable,
        }
        option = f"--serialized-runtime-env-context={json.dumps(context)}"
        script = ["-c", PATIENT] if self.is_patient else [launcher.__file__]
        command = [sys.executable, *script, str(self.worker), *words, option]
        return subprocess.Popen(
            [*command, "--language=PYTHON"], env={**self.environment, **more}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def found(self, *words: str, **more: str) -> dict[str, Any]:
        """What a worker says of itself."""
        out, error = self.launch(*words, **more).communicate(timeout=LONG_S)
        assert out.startswith("{"), (out, error)
        told: dict[str, Any] = json.loads(out)
        return told

    def close(self) -> None:
        self.daemon.kill()
        self.daemon.wait()
        if self.zygote is not None:
            self.zygote.wait(LONG_S)


@pytest.fixture(scope="module")
def launching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launching]:
    one = Launching(tmp_path_factory.mktemp("zygote"))
    one.start()
    yield one
    one.close()


def test_a_fork_is_what_a_new_process_would_be(launching: Launching) -> None:
    zygote = launching.zygote
    assert zygote is not None
    found = launching.found("--a", "b c")
    assert found["argv"] == [str(launching.worker), "--a", "b c"]
    assert found["cwd"] == str(launching.root)
    assert found["path"][:2] == [str(launching.root), str(launching.root)]
    assert found["parent"] == zygote.pid
    assert found["group"] == found["pid"] != zygote.pid
    assert found["main"] == "__main__"
    assert found["environment"]["GREETING"] == "hello"
    assert found["environment"]["RAY_JOB_ID"] == "01000000"


def test_the_main_thread_of_a_fork_is_punctual(launching: Launching) -> None:
    assert launching.found()["slack"] == PUNCTUAL_NS


def test_what_workers_do_first_was_done_before_anything_was_imported(launching: Launching) -> None:
    """Such as to see to it that Serve, which is imported later, listens on loopback only."""
    assert launching.found()["hooked"] is True


def test_forks_draw_different_numbers(launching: Launching) -> None:
    assert launching.found()["random"] != launching.found()["random"]


def test_a_fork_that_fails_tells_why(launching: Launching) -> None:
    _, error = launching.launch("--fail").communicate(timeout=LONG_S)
    assert "ValueError: it fails" in error


def test_the_launcher_lives_as_long_as_the_worker(launching: Launching) -> None:
    with launching.launch("--wait") as stand_in:
        assert stand_in.stdout is not None
        worker = psutil.Process(json.loads(stand_in.stdout.readline())["pid"])
        assert stand_in.poll() is None
        worker.kill()
        assert stand_in.wait(LONG_S) == 0
    until(lambda: not worker.is_running())  # the zygote leaves no zombie
    assert launching.zygote is not None and launching.zygote.poll() is None


def test_what_makes_no_sense_does_not_end_the_zygote(launching: Launching) -> None:
    for message in (b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\2{}", b"\0\0\0\4{"):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(launching.environment[ZYGOTE])
            line.sendall(message)
    assert launching.found()["parent"] == launching.zygote.pid  # type: ignore[union-attr]


@pytest.mark.parametrize("job", ["02000000", "ffffffff"])
def test_a_worker_of_another_job_or_none_yet_is_no_fork(launching: Launching, job: str) -> None:
    out, _ = launching.launch("--a", RAY_JOB_ID=job).communicate(timeout=LONG_S)
    assert out.startswith(f"ordinary {launching.worker} --a --serialized")


def test_it_learns_what_replicas_import(launching: Launching) -> None:
    assert not launching.found()["wave"]
    told = "import wave; from anabranch.serve.workers import zygote as z; "
    told += "z.LIBRARIES = {'wave'}; z.tell_used()"
    command = [sys.executable, "-c", told]
    subprocess.run(command, env=launching.environment, check=True, timeout=LONG_S)
    until(lambda: bool(launching.found()["wave"]))


def test_without_a_zygote_ray_starts_the_worker_and_a_zygote_comes_up(tmp_path: Path) -> None:
    one = Launching(tmp_path)
    try:
        out, _ = one.launch("--a").communicate(timeout=LONG_S)
        assert out.startswith("ordinary ")
        until(one.listens)
    finally:
        one.close()


def test_workers_that_come_early_wait_for_the_zygote(tmp_path: Path) -> None:
    """Its socket is there before its libraries are."""
    one = Launching(tmp_path)
    (tmp_path / "wave.py").write_text("import time; time.sleep(1)")
    one.environment |= {MODULES: "wave"}
    try:
        zygote = one.start()
        assert one.found()["parent"] == zygote.pid
    finally:
        one.close()


def test_a_zygote_takes_the_place_of_a_dead_one_and_ends_with_the_daemon(tmp_path: Path) -> None:
    one = Launching(tmp_path)
    try:
        first = one.start()
        first.send_signal(signal.SIGKILL)
        first.wait(LONG_S)
        assert not one.listens()
        second = one.start()
        assert one.found()["parent"] == second.pid
    finally:
        one.close()
    assert second.returncode == 0


@pytest.mark.parametrize(
    "fault", [signal.SIGSTOP, pytest.param(signal.SIGKILL, marks=pytest.mark.nightly)]
)
def test_nobody_waits_for_a_zygote_that_does_not_answer_and_another_takes_its_place(
    tmp_path: Path, fault: signal.Signals
) -> None:
    one = Launching(tmp_path, is_patient=False)
    try:
        first = one.start()
        one.is_patient = True
        assert one.found()["parent"] == first.pid  # it has imported all
        one.is_patient = False
        first.send_signal(fault)
        out, _ = one.launch("--a").communicate(timeout=LONG_S)
        assert out.startswith("ordinary ")
        assert first.wait(LONG_S) == -signal.SIGKILL
        one.zygote = None
        one.is_patient = True
        until(one.listens)
        assert one.found()["parent"] != first.pid
    finally:
        one.close()


def test_a_zygote_that_imports_is_left_alone_and_starts_no_worker_twice(tmp_path: Path) -> None:
    one = Launching(tmp_path, is_patient=False)
    go = tmp_path / "go"
    busy = "import pathlib\nwhile not pathlib.Path({!r}).exists():\n    pass\n"
    (tmp_path / "wave.py").write_text(busy.format(str(go)))
    one.environment |= {MODULES: "wave"}
    try:
        zygote = one.start()
        given_up = one.launch("--a")
        until(lambda: given_up.poll() is not None)
        go.touch()
        # Which waits for the fork, that holds the pipe.
        out, _ = given_up.communicate(timeout=LONG_S)
        assert out.startswith("ordinary ") and len(out.splitlines()) == 1
        one.is_patient = True
        assert one.found()["parent"] == zygote.pid
    finally:
        one.close()


def test_a_zygote_whose_place_was_taken_ends(tmp_path: Path) -> None:
    one = Launching(tmp_path)
    try:
        first = one.start()
        Path(one.environment[ZYGOTE]).unlink()
        second = one.start()
        assert first.wait(LONG_S) == 0
        assert one.found()["parent"] == second.pid
    finally:
        one.close()


def test_a_caller_that_hears_nothing_of_a_stopped_zygote_goes_on(tmp_path: Path) -> None:
    one = Launching(tmp_path)
    try:
        first = one.start()
        first.send_signal(signal.SIGSTOP)
        told = "import wave; from anabranch.serve.workers import zygote as z; "
        told += "z.LIBRARIES = {'wave'}; z.tell_used()"
        subprocess.run(
            [sys.executable, "-c", told], env=one.environment, check=True, timeout=LONG_S
        )
        first.send_signal(signal.SIGCONT)
        assert one.found()["parent"] == first.pid
    finally:
        one.close()


CONTEXT = {"env_vars": {FORK: "1"}, "py_executable": sys.executable, "command_prefix": []}


@pytest.mark.parametrize(
    ("context", "language"),
    [
        (CONTEXT, "JAVA"),
        (CONTEXT | {"env_vars": {"OMP_NUM_THREADS": "4"}}, "PYTHON"),
        (CONTEXT | {"py_executable": "/another/python"}, "PYTHON"),
        (CONTEXT | {"command_prefix": ["source", "activate", "&&"]}, "PYTHON"),
        (CONTEXT | {"command_prefix": ["cd", "/a", "&&", "run", "&&"]}, "PYTHON"),
        (CONTEXT | {"override_worker_entrypoint": "/worker.py"}, "PYTHON"),
    ],
)
def test_what_asks_for_more_is_no_fork(
    context: dict[str, Any], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ZYGOTE, "/somewhere")
    monkeypatch.setenv("RAY_JOB_ID", "01000000")

    def order(context: dict[str, Any], language: str) -> dict[str, object] | None:
        text = json.dumps(context)
        return launcher._order([f"{launcher._CONTEXT}{text}", f"--language={language}"])

    assert order(CONTEXT, "PYTHON") is not None
    assert order(CONTEXT | {"env_vars": {}}, "PYTHON") is not None
    assert order(context, language) is None


DRAWS = """
import sys
from anabranch.serve.workers import zygote
if "--as-ray-does" not in sys.argv:
    zygote._draw_no_class_ids()
zygote._import(zygote.BASE)
print(zygote._forks_draw_apart())
"""


@pytest.mark.parametrize(
    ("words", "apart"),
    [((), "True"), pytest.param(("--as-ray-does",), "False", marks=pytest.mark.nightly)],
)
def test_forks_give_their_calls_different_ids(words: tuple[str, ...], apart: str) -> None:
    command = [sys.executable, "-c", DRAWS, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [apart]
