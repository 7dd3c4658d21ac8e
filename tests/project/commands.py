"""Blocks of commands in the docs: those that no test types, and why.

All others are typed by ``tests/e2e/test_snippets.py``; ``test_docs.py`` checks for all of them
whether commands and options exist.
"""

from __future__ import annotations

from collections.abc import Mapping

REGISTRY = "installs from a registry"
MEASURES = "measures for minutes"
NOT_TYPED: Mapping[str, str] = {
    "README.md: pip install anabranch": REGISTRY,
    "install.md: pip install anabranch": REGISTRY,
    "protocol.md: python -m venv client": REGISTRY,
    "CONTRIBUTING.md: make setup": "would run all the tests",
    "install.md: make demo": "test_demo.py runs the demo; `make test` would run all the tests",
    "install.md: docker compose up --build --detach --wait": "needs Docker",
    "benchmarks.md: make bench": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks --only": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.batching": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.payloads": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.telemetry": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.sinks": MEASURES,
    "benchmarks.md: .venv/bin/python -m benchmarks.disturbances": MEASURES,
}
"""The reason by the beginning of a block's name."""


def reason(name: str) -> str | None:
    """Return why a block is not typed; None if it is."""
    return next((why for begin, why in NOT_TYPED.items() if name.startswith(begin)), None)
