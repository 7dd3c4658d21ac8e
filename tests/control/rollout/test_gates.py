from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from anabranch.control.lifecycle.rollouts import begin, stepped
from anabranch.control.rollout.gates import ATTEMPTS, Gate, question
from anabranch.control.rollout.outgoing import Caller, OutgoingReply
from anabranch.specs.models import Rollout
from tests.control.web import Answer, running

QUESTION = {"graph": "digits", "revision": 3}


def refusal(
    url: str, *prefixes: str, caller: Caller | None = None
) -> tuple[str | None, list[float]]:
    """What the gate says, and the pauses that were made."""
    pauses: list[float] = []
    caller = caller or Caller()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def ask() -> str | None:
        try:
            return await Gate(prefixes or (url,), caller, sleep).refusal(url, QUESTION)
        finally:
            await caller.close()

    return asyncio.run(ask()), pauses


@pytest.mark.parametrize("status", [200, 202, 204])
def test_2xx_lets_it_go_on(status: int) -> None:
    with running(lambda _: Answer(status)) as web:
        assert refusal(f"{web.url}/gate") == (None, [])
    (asked,) = web.asked
    assert (asked.method, asked.path, asked.json) == ("POST", "/gate", QUESTION)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 403, 404, 429, 500, 503])
def test_any_other_answer_refuses_at_once(status: int) -> None:
    headers = {"location": "/yes"} if status in (301, 302, 307) else {}
    with running(lambda _: Answer(status, b"change freeze", headers)) as web:
        said, _ = refusal(f"{web.url}/gate")
    assert said == f"the gate {web.url}/gate refuses: status {status}: change freeze"
    assert [asked.path for asked in web.asked] == ["/gate"]


def test_the_reason_keeps_the_query_secret() -> None:
    """It goes into the log and to all webhooks."""
    with running(lambda _: Answer(403, b"no")) as web:
        assert refusal(f"{web.url}/gate?token=s3cret")[0] == (
            f"the gate {web.url}/gate?… refuses: status 403: no"
        )
        said, _ = refusal(f"{web.url}/gate?token=s3cret", f"{web.url}/other")
        assert said is not None and "s3cret" not in said


def test_the_reason_is_cut() -> None:
    with running(lambda _: Answer(403, b"x" * 100_000)) as web:
        said, _ = refusal(f"{web.url}/gate")
    assert said is not None
    assert said.endswith(" " + "x" * 200)


def test_nobody_there_refuses_after_some_attempts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        said, pauses = refusal(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert said is not None
    assert "refuses: unreachable: " in said
    assert pauses == [0.5, 1.0]
    assert len(pauses) == ATTEMPTS - 1


class LateCaller(Caller):
    """Gets no answer to its first calls."""

    late = 2

    async def call(self, *args: Any, **request: Any) -> OutgoingReply:
        self.late -= 1
        if self.late >= 0:
            return OutgoingReply(None, error="no answer within 5 s")
        return await super().call(*args, **request)


def test_one_that_does_not_answer_is_asked_again() -> None:
    with running() as web:
        said, pauses = refusal(f"{web.url}/gate", caller=LateCaller())
    assert (said, pauses, len(web.asked)) == (None, [0.5, 1.0], 1)


def test_a_gate_that_is_not_allowed_refuses_unasked() -> None:
    with running() as web:
        said, _ = refusal(f"{web.url}/gate", f"{web.url}/other")
    assert said == f"the gate {web.url}/gate is not below what ANABRANCH_WEBHOOKS allows"
    assert not web.asked


def test_what_is_asked() -> None:
    state = begin(3, Rollout.model_validate({"steps": [10, 50]}), 0.0)
    asked: dict[str, Any] = {
        "graph": "digits", "revision": 3, "stable": 2, "move": "step", "step": 1, "steps": 2,
        "weight": 10.0, "next_weight": 50.0, "at": "1970-01-01T00:00:05.000+00:00",
    }  # fmt: skip
    assert question("digits", 2, state, "step", 5.0) == asked
    last = {"move": "promote", "step": 2, "weight": 50.0, "next_weight": 100.0}
    assert question("digits", 2, stepped(state, 5.0), "promote", 5.0) == asked | last
    assert json.dumps(asked)
