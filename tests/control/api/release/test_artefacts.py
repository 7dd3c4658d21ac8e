from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from anabranch.access.identity import Identity
from anabranch.access.roles import Grant, Role
from tests.control.control_api import TestControl

MODEL = b"a model" * 100
PATH = f"/artefacts/{sha256(MODEL).hexdigest()}"


@pytest.fixture
def control(tmp_path: Path) -> TestControl:
    return TestControl(tmp_path, ANABRANCH_MAX_ARTEFACT="1KiB")


def test_a_model_comes_in_pieces(control: TestControl) -> None:
    assert control.call("GET", PATH) == (200, {"have": 0, "complete": False})
    first = control.call("PUT", PATH, "size=700&offset=0", MODEL[:500])
    assert first == (200, {"have": 500, "complete": False})
    assert control.call("PUT", PATH, "size=700&offset=600", MODEL[600:]) == first
    last = control.call("PUT", PATH, "size=700&offset=500", MODEL[500:])
    assert last == control.call("GET", PATH) == (200, {"have": 700, "complete": True})


@pytest.mark.parametrize(
    ("path", "query", "status", "text"),
    [
        (PATH, "size=2000&offset=0", 413, "ANABRANCH_MAX_ARTEFACT"),
        (PATH, "size=-1&offset=0", 400, "is not a whole number"),
        (PATH, "size=5&offset=0", 400, "it was dropped"),
        ("/artefacts/abc", "size=5&offset=0", 404, "abc"),
    ],
)
def test_what_is_refused(
    control: TestControl, path: str, query: str, status: int, text: str
) -> None:
    found, answer = control.call("PUT", path, query, b"other")
    assert (found, text in answer["error"]) == (status, True), answer


def test_who_may_deploy_somewhere_may_send_models(control: TestControl) -> None:
    statuses: dict[Role, int] = {"viewer": 403, "deployer": 200}
    for role, status in statuses.items():
        asker = Identity("key", "ci", (Grant(role, "team-a-*"),))
        assert control.call("GET", PATH, identity=asker)[0] == status
