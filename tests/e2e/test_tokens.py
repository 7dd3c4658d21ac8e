"""No token, key or session of an engine is where others could read it, whatever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

import httpx
import psutil
import pytest

from anabranch.client.connection.engine_state import RAY_TOKEN_FILE
from tests.e2e.conftest import Given, node, spec
from tests.engines import BODY, HTTP, Engine, files_below

pytestmark = pytest.mark.e2e
NAME = "gossip"
CODE = """
class Tells:
    def transform(self, x, context):
        print("asked with", dict(context.headers))
        raise ValueError(f"asked with {dict(context.headers)}")
"""
OWN_FILES = {"token", RAY_TOKEN_FILE}
"""Files of the home that hold a token, of mode 0600."""


@pytest.fixture(scope="module")
def secrets(engine: Engine, given_once: Given) -> Iterator[dict[str, str]]:
    """Everything that opens the engine, after each was used at a component that tells all."""
    given_once.deployed(spec(NAME, tells=node("Tells")), CODE)
    with engine.control() as control:
        key = str(control.create_key("gossip-key", ["operator"], [NAME])["key"])
    found = {
        "the token": engine.token,
        "Ray's token": (engine.home / RAY_TOKEN_FILE).read_text().strip(),
        "a key": key,
    }
    infer = f"{engine.url}/v2/models/{NAME}/infer"
    for secret in (engine.token, key):
        reply = HTTP.post(infer, json=BODY, headers={"authorization": f"Bearer {secret}"})
        assert reply.status_code == 500 and secret not in reply.text
    with httpx.Client(base_url=engine.url, timeout=60) as browser:
        csrf = browser.post("/console/login", json={"key": key}).raise_for_status().json()["csrf"]
        found["a session"] = next(iter(browser.cookies.values()))
        reply = browser.post(infer, json=BODY, headers={"x-anabranch-csrf": csrf})
        assert reply.status_code == 500 and found["a session"] not in reply.text
    done = engine.process("keys", "-o", "json")
    assert done.returncode == 0 and key not in done.stdout + done.stderr
    yield found
    with engine.control() as control:
        control.revoke_key("gossip-key")


def test_they_are_in_no_argument_and_no_environment(
    engine: Engine, secrets: dict[str, str]
) -> None:
    assert engine.state is not None
    looked = 0
    for process in engine.processes(engine.state):
        with suppress(psutil.NoSuchProcess):
            words = [*process.cmdline(), *chain(*process.environ().items())]
            told = [name for name, secret in secrets.items() if any(secret in w for w in words)]
            assert not told, (process.name(), told)
            looked += bool(words)
    assert looked > 5


def test_they_are_in_no_log_no_bundle_and_no_store(engine: Engine, secrets: dict[str, str]) -> None:
    assert engine.state is not None
    said = 0
    for path, content in files_below(Path(engine.state.runtime), engine.home):
        if path.name not in OWN_FILES:
            told = [name for name, secret in secrets.items() if secret.encode() in content]
            assert not told, (path, told)
            said += content.count(b"asked with {")
    assert said >= 3, "the component's own words are in no log that was read"


def test_their_files_are_their_owner_s_alone(engine: Engine) -> None:
    for name in OWN_FILES:
        assert (engine.home / name).stat().st_mode & 0o077 == 0
