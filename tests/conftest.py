"""Configuration of the whole test suite."""

from __future__ import annotations

import gc
import os
import re
import ssl
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main
from httpx._transports import default as transports
from hypothesis import HealthCheck, settings

from anabranch.components.source.roots import mark_modules
from tests.examples import examples
from tests.nodes import EngineCertificates

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each processor has a test of its own: more threads would only wait for each other, busily.
    os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
# Typer would make all commands anew, in 55 ms, for each that is run in this process.
typer.main.get_command = cache(typer.main.get_command)


@cache
def _public_authorities(*_: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _ssl_context(verify: Any, cert: Any, trust_env: bool) -> ssl.SSLContext:
    if verify is not True or cert or not trust_env:
        return httpx.create_ssl_context(verify, cert, trust_env)
    return _public_authorities(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))


# httpx would read all public authorities anew, in 20 ms, for each request without a client.
transports.create_ssl_context = _ssl_context
# Timings on a shared machine say nothing about the code, so no example has a deadline.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_ALL_NIGHTLY = re.compile(r"^pytestmark = (\[[^\]]*)?pytest\.mark\.nightly\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module whose tests are all nightly by day: some import libraries of models."""
    by_day = "not nightly" in config.option.markexpr and collection_path.suffix == ".py"
    return True if by_day and _ALL_NIGHTLY.search(collection_path.read_text()) else None


def pytest_sessionstart() -> None:
    """Let no collector of garbage walk again and again what stays: modules and tests."""
    gc.disable()


def pytest_collection_finish() -> None:
    # No bundle has been imported yet: to load a node looks at none of these thousands of modules.
    mark_modules()
    gc.freeze()
    gc.enable()


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineCertificates:
    """Certificates for nodes, of the engine of this process and of others."""
    found = EngineCertificates(tmp_path, monkeypatch)
    found.use()
    return found


def pytest_configure() -> None:
    """Refuse to test a module whose compiled form, of ``make native``, is older than its source."""
    for compiled in (Path(__file__).parents[1] / "anabranch").rglob("*.so"):
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        if not source.exists() or source.stat().st_mtime > compiled.stat().st_mtime:
            raise pytest.UsageError(f"{compiled} is old: run `make native` again, or `make pure`")
