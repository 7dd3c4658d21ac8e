"""The log of a process, in a process of its own: the streams of this one are pytest's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.disks import names

REPLICA = """
import logging, sys
from logging.handlers import MemoryHandler, RotatingFileHandler
from pathlib import Path
from anabranch.serve.export.logs import write_logs

# As Serve sets up the log of a replica.
file = RotatingFileHandler(sys.argv[1], maxBytes=2**29, backupCount=5)
logging.getLogger("ray.serve").addHandler(MemoryHandler(10, target=file))
logging.getLogger("ray.serve").propagate = False
write_logs()
"""


def run(log: Path, code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", REPLICA + code, str(log)],
        env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip


def told(log: Path) -> list[tuple[str, str]]:
    """Logger and message of each line."""
    lines = map(json.loads, log.read_text().splitlines())
    return [(line["logger"], line["message"]) for line in lines]


def test_what_is_written_to_a_stream_is_in_the_file(tmp_path: Path) -> None:
    done = run(
        tmp_path / "log",
        "print('a'); print('b', file=sys.stderr); logging.getLogger('mine').info('c')",
    )
    assert told(tmp_path / "log") == [("stdout", "a"), ("stderr", "b"), ("mine", "c")]
    assert (done.stdout, done.stderr) == ("", "")


def test_ray_speaks_of_its_errors_only_and_without_its_frames(tmp_path: Path) -> None:
    code = (
        "serve = logging.getLogger('ray.serve')\n"
        "serve.warning('Failed to get queue length from replica x')\n"
        "logging.getLogger('ray').warning('a notice')\n"
        "logging.getLogger('rays').warning('no notice of Ray')\n"
        "try: raise ValueError('Traceback of a task\\nwhat is wrong')\n"
        "except ValueError: serve.exception('a %s failed', 'call')\n"
    )
    run(tmp_path / "log", code)
    assert told(tmp_path / "log") == [
        ("rays", "no notice of Ray"),
        ("ray.serve", "a call failed (ValueError: what is wrong)"),
    ]
    assert "exception" not in (tmp_path / "log").read_text()


def test_the_log_of_a_process_is_bounded_whatever_it_prints(tmp_path: Path) -> None:
    run(
        tmp_path / "log",
        "for number in range(20_000): print(number, 'x' * 100)",
        ANABRANCH_LOG_SIZE="65536",
        ANABRANCH_LOG_RATE="1000",
    )
    assert names(tmp_path) == ["log", "log.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 65536
    assert told(tmp_path / "log")[-1][1].split()[0] == "19999"


def test_lines_beyond_the_rate_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    run(
        tmp_path / "log",
        "for number in range(10_000): print(number)",
        ANABRANCH_LOG_RATE="1",
    )
    lines = told(tmp_path / "log")
    assert ("anabranch.logs", "more than 1 lines a second: left out") in lines
    assert 50 <= len(lines) < 1000


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_disk_that_is_full_does_not_reach_who_prints(tmp_path: Path, stream: str) -> None:
    """A file that may not grow stands for a full disk: Linux says "File too large"."""
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        f"for number in range(1000): print(number, 'x' * 100, file=sys.{stream})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, resource.RLIM_INFINITY))\n"
        f"print('there is space again', file=sys.{stream})\n"
    )
    run(tmp_path / "log", code)
    text = (tmp_path / "log").read_text()
    assert text.count("\n") < 100 and "there is space again" in text.splitlines()[-1]
