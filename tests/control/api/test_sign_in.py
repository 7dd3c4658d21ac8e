"""Sessions of the console, and codes: each begins one session, soon or never."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from anabranch.access import failures
from anabranch.access.failures import BURST
from anabranch.access.guard import Credentials, Guard
from anabranch.access.identity import TOKEN, Asker, Identity, anonymous
from anabranch.control.access.sessions import SESSION_S
from anabranch.control.api.sign_in import CODE_S, MOST_CODES, SignInCodes
from anabranch.errors import NotFound, Unauthenticated
from tests.clock import Clock
from tests.control.control_api import TestControl


@pytest.fixture(autouse=True)
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have attempts remembered for longer than a test takes."""
    monkeypatch.setattr(failures, "EVERY_S", 600.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def codes(clock: Clock) -> SignInCodes:
    return SignInCodes(clock)


def test_a_code_can_be_used_once(codes: SignInCodes) -> None:
    one, other = codes.make(TOKEN), codes.make(TOKEN)
    assert one != other and len(one) == 32
    assert codes.use(one) == TOKEN
    with pytest.raises(NotFound, match="used before, or is older than 10 minutes"):
        codes.use(one)
    codes.use(other)


@pytest.mark.parametrize(("later", "fits"), [(CODE_S, True), (CODE_S + 0.1, False)])
def test_a_code_has_an_end(codes: SignInCodes, clock: Clock, later: float, fits: bool) -> None:
    code = codes.make(TOKEN)
    clock.now += later
    if fits:
        codes.use(code)
    else:
        with pytest.raises(NotFound):
            codes.use(code)


@pytest.mark.parametrize("code", ["", "x", "\ud800", "é" * 99])
def test_other_codes_open_nothing(codes: SignInCodes, code: str) -> None:
    codes.make(TOKEN)
    with pytest.raises(NotFound):
        codes.use(code)


def test_codes_that_wait_are_bounded(codes: SignInCodes) -> None:
    made = [codes.make(TOKEN) for _ in range(MOST_CODES + 1)]
    with pytest.raises(NotFound):
        codes.use(made[0])
    for code in made[1:]:
        codes.use(code)


@pytest.fixture
def engine(tmp_path: Path) -> TestControl:
    return TestControl(tmp_path)


def who(engine: TestControl, session: dict[str, str]) -> Identity:
    shown = f"Bearer {session['cookie']}.{session['csrf']}".encode()
    return Guard(asyncio.run(engine.parts.access.now())).identify(Credentials(shown))


def test_a_code_begins_a_session_of_its_maker(engine: TestControl) -> None:
    status, made = engine.send("POST", "/codes")
    assert (status, made["seconds"]) == (201, CODE_S)
    used = {"code": made["code"]}
    status, session = engine.send("POST", "/sessions", used)
    assert (status, session["seconds"]) == (201, SESSION_S)
    assert who(engine, session) == TOKEN
    status, refused = engine.send("POST", "/sessions", used)
    assert status == 404 and "`anabranch up` prints a new one" in refused["error"]


def test_a_key_begins_a_session_and_a_logout_ends_it(engine: TestControl) -> None:
    key = engine.send("POST", "/keys", {"name": "ada", "roles": ["viewer"]})[1]["key"]
    nobody = Asker(anonymous(), "10.0.0.1", "q1")
    body = orjson.dumps({"key": f" {key}\n"})
    status, _, answer = asyncio.run(engine.api.handle("POST", "/sessions", "", body, nobody))
    session = orjson.loads(answer)
    assert status == 201 and key not in answer.decode()
    assert who(engine, session).name == "ada"
    shown = {"session": f"{session['cookie']}.{session['csrf']}"}
    assert engine.send("DELETE", "/sessions", shown) == (200, {"state": "ended"})
    with pytest.raises(Unauthenticated):
        who(engine, session)


def test_whoever_tries_keys_is_told_to_wait(engine: TestControl) -> None:
    bodies = [{"key": "x"}, {"code": "x"}] * (BURST // 2)
    assert {engine.send("POST", "/sessions", body)[0] for body in bodies} == {401, 404}
    status, headers, answer = engine.raw("POST", "/sessions", body=b'{"key": "x"}')
    assert status == 429 and int(headers[b"retry-after"]) > 0
    assert b"too many unknown keys came from 10.0.0.1" in answer
    assert engine.send("POST", "/sessions", {"key": "the-token"})[0] == 201


def test_a_key_does_not_begin_one_session_after_the_other(engine: TestControl) -> None:
    found = [engine.send("POST", "/sessions", {"key": "the-token"})[0] for _ in range(BURST)]
    assert set(found) == {201}
    status, refused = engine.send("POST", "/sessions", {"key": "the-token"})
    assert status == 429 and "too many sessions were begun with this key; wait" in refused["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "either a key or a code"),
        ({"key": "x", "code": "y"}, "either a key or a code"),
        ({"code": 7}, "code"),
        ({"code": "x", "y": 1}, "y"),
    ],
)
def test_what_is_no_login_is_named(engine: TestControl, body: dict[str, Any], said: str) -> None:
    status, refused = engine.send("POST", "/sessions", body)
    assert status == 400 and said in refused["error"]


def test_without_the_token_s_file_that_is_said(engine: TestControl, tmp_path: Path) -> None:
    (tmp_path / "home" / "token").unlink()
    status, refused = engine.send("POST", "/sessions", {"key": "x"})
    assert status == 503 and "cannot read the engine's token" in refused["error"]
