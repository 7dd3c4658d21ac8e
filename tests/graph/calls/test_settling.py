"""A process that is settled looks for circles more seldom, and never among what was loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from anabranch.graph.calls.settling import SWITCH_S, YOUNG
from anabranch.graph.calls.timer_slack import PATIENT_NS

SETTLED = """
import gc, sys
from anabranch.graph.calls.settling import settle_process
gc.set_threshold({asked}, 7, 5)
loaded = [[] for _ in range(1_000)]
settle_process()
print(gc.get_threshold(), gc.get_freeze_count() >= 1_000, round(sys.getswitchinterval(), 6))
"""


@pytest.mark.parametrize(
    ("asked", "kept"), [(700, YOUNG), (2 * YOUNG, 2 * YOUNG), (0, 0)], ids=["usual", "more", "none"]
)
def test_there_are_fewer_collections_than_usual_or_as_few_as_a_component_asks_for(
    asked: int, kept: int
) -> None:
    code = SETTLED.format(asked=asked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{(kept, 7, 5)} True {SWITCH_S}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="timer slack is of Linux only")
def test_threads_of_components_are_patient() -> None:
    code = SETTLED.format(asked=700) + "print(open('/proc/self/timerslack_ns').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) == PATIENT_NS
