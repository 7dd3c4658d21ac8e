"""Codes for the console: each gives the token once, and soon or never."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.api.sign_in import CODE_S, MOST_CODES, SignInCodes
from anabranch.errors import NotFound
from tests.clock import Clock
from tests.control.control_api import TestControl


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def codes(clock: Clock) -> SignInCodes:
    return SignInCodes(clock)


def test_a_code_can_be_used_once(codes: SignInCodes) -> None:
    one, other = codes.make(), codes.make()
    assert one != other and len(one) == 32
    codes.use(one)
    with pytest.raises(NotFound, match="used before, or is older than 10 minutes"):
        codes.use(one)
    codes.use(other)


@pytest.mark.parametrize(("later", "fits"), [(CODE_S, True), (CODE_S + 0.1, False)])
def test_a_code_has_an_end(codes: SignInCodes, clock: Clock, later: float, fits: bool) -> None:
    code = codes.make()
    clock.now += later
    if fits:
        codes.use(code)
    else:
        with pytest.raises(NotFound):
            codes.use(code)


@pytest.mark.parametrize("code", ["", "x", "\ud800", "é" * 99])
def test_other_codes_open_nothing(codes: SignInCodes, code: str) -> None:
    codes.make()
    with pytest.raises(NotFound):
        codes.use(code)


def test_codes_that_wait_are_bounded(codes: SignInCodes) -> None:
    made = [codes.make() for _ in range(MOST_CODES + 1)]
    with pytest.raises(NotFound):
        codes.use(made[0])
    for code in made[1:]:
        codes.use(code)


def test_the_api_gives_the_token_for_a_code(tmp_path: Path) -> None:
    engine = TestControl(tmp_path)
    (tmp_path / "home" / "token").write_text("secret\n")
    status, made = engine.send("POST", "/codes")
    assert (status, made["seconds"]) == (201, CODE_S)
    used = {"code": made["code"]}
    assert engine.send("POST", "/codes/use", used) == (200, {"token": "secret"})
    status, refused = engine.send("POST", "/codes/use", used)
    assert status == 404 and "`anabranch up` prints a new one" in refused["error"]


def test_what_is_no_code_is_named(tmp_path: Path) -> None:
    engine = TestControl(tmp_path)
    for body, said in [({}, "code"), ({"code": 7}, "code"), ({"code": "x", "y": 1}, "y")]:
        status, refused = engine.send("POST", "/codes/use", body)
        assert status == 400 and said in refused["error"]


def test_without_a_token_to_give_that_is_said(tmp_path: Path) -> None:
    engine = TestControl(tmp_path)
    (tmp_path / "home" / "token").unlink()
    code = engine.send("POST", "/codes")[1]["code"]
    status, refused = engine.send("POST", "/codes/use", {"code": code})
    assert status == 503 and "cannot read the engine's token" in refused["error"]
