"""A thread's timer slack is its own, and goes on to the threads that it starts."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_native_id

import pytest

from anabranch.graph.calls.timer_slack import PATIENT_NS, PUNCTUAL_NS, set_timer_slack

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timer slack is of Linux only")


def _slack() -> int:
    return int(Path(f"/proc/{get_native_id()}/timerslack_ns").read_text())


def test_a_thread_has_it_with_those_that_it_starts_and_the_others_do_not() -> None:
    def both() -> tuple[int, int]:
        set_timer_slack(PUNCTUAL_NS)
        with ThreadPoolExecutor(1) as others:
            return _slack(), others.submit(_slack).result()

    before = _slack()
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(both).result() == (PUNCTUAL_NS, PUNCTUAL_NS)
        threads.submit(set_timer_slack, PATIENT_NS).result()
        assert threads.submit(_slack).result() == PATIENT_NS
    assert _slack() == before
