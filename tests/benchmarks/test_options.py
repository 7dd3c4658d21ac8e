from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from benchmarks.options import add_peers, parse

ROOT = Path(__file__).parents[2]


def parsed(monkeypatch: pytest.MonkeyPatch, *words: str) -> argparse.Namespace:
    monkeypatch.setattr("sys.argv", ["benchmark", *words])
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    add_peers(parser)
    return parse(parser, seconds=1, rounds=1)


def test_quick_takes_the_smallest_settings_but_for_those_that_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = parsed(monkeypatch)
    assert (usual.seconds, usual.rounds, usual.peers) == (3, 3, True)
    quick = parsed(monkeypatch, "--quick", "--rounds", "2", "--no-peers")
    assert (quick.seconds, quick.rounds, quick.peers) == (1, 2, False)


def test_make_bench_and_the_nightly_tests_run_every_benchmark() -> None:
    runnable = {
        "benchmarks" if path.stem == "__main__" else f"benchmarks.{path.stem}"
        for path in (ROOT / "benchmarks").glob("*.py")
        if "from benchmarks.options import" in path.read_text()
    }
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    listed = re.search(r"^BENCHMARKS := (.*)$", makefile, re.MULTILINE)
    assert listed is not None
    assert set(listed[1].split()) == runnable
    nightly = (ROOT / "tests" / "benchmarks" / "test_nightly.py").read_text()
    assert all(
        f'"{name}"' in nightly or f'"{name.removeprefix("benchmarks.")}"' in nightly
        for name in runnable
    )
