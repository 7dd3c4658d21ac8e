"""Endpoints of jobs: who may start what, and what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anabranch.access.identity import Identity
from anabranch.access.roles import Grant
from anabranch.control.lifecycle import operations
from tests.control.control_api import TestControl

OPERATOR = Identity("key", "ops", (Grant("operator", "digits"),))
VIEWER = Identity("key", "eye", (Grant("viewer", "digits"),))
OTHER = Identity("key", "other", (Grant("operator", "other"),))


@pytest.fixture
def control(tmp_path: Path) -> Iterator[TestControl]:
    one = TestControl(tmp_path, ANABRANCH_JOBS=str(tmp_path / "rows"))
    assert one.deploy()[0] == 202 or one.deploy()[0] in (200, 201)
    yield one
    one.store.close()


def body(control: TestControl, **fields: Any) -> dict[str, Any]:
    rows = control.folder / "rows"
    return {"graph": "digits", "input": str(rows / "in.csv"), "output": str(rows / "out"), **fields}


def test_a_job_is_started_shown_and_cancelled(control: TestControl) -> None:
    asked = body(control, columns={"x": ["a"]}, kept=["id"], replicas=2, rows=64, rate=100)
    with control.asked_by(OPERATOR):
        status, job = control.send("POST", "/jobs", asked)
        assert (status, job["state"], job["author"]) == (201, "pending", "key 'ops'")
        assert (job["columns"], job["replicas"], job["rate"]) == ({"x": ["a"]}, 2, 100)
        assert control.send("GET", f"/jobs/{job['id']}") == (200, job)
        assert control.send("GET", "/jobs") == (200, {"jobs": [job]})
        status, over = control.send("POST", f"/jobs/{job['id']}/cancel")
        assert (status, over["state"]) == (200, "cancelled")
        assert control.send("POST", f"/jobs/{job['id']}/cancel") == (200, over)


def test_jobs_are_for_those_who_may_operate_their_graph(control: TestControl) -> None:
    _, job = control.send("POST", "/jobs", body(control))
    with control.asked_by(VIEWER):
        assert control.send("POST", "/jobs", body(control))[0] == 403
        assert control.send("POST", f"/jobs/{job['id']}/cancel")[0] == 403
        assert control.send("GET", f"/jobs/{job['id']}")[0] == 200
        assert len(control.send("GET", "/jobs")[1]["jobs"]) == 1
    with control.asked_by(OTHER):
        assert control.send("POST", "/jobs", body(control))[0] == 403
        assert control.send("GET", f"/jobs/{job['id']}")[0] == 403
        assert control.send("GET", "/jobs") == (200, {"jobs": []})
    assert control.call("GET", "/jobs", "graph=other") == (200, {"jobs": []})


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"input": "/etc/passwd.csv"}, 400, "input: '/etc/passwd.csv' is not below"),
        ({"output": "relative/out"}, 400, "output: 'relative/out' is no absolute path"),
        ({"graph": "nobody"}, 404, "nobody"),
        ({"revision": 7}, 404, "7"),
        ({"rows": 0}, 400, "rows"),
        ({"replicas": -1}, 400, "replicas"),
        ({"colums": {}}, 400, "colums"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    control: TestControl, fields: dict[str, Any], status: int, text: str
) -> None:
    found = control.send("POST", "/jobs", body(control, **fields))
    assert found[0] == status
    assert text in found[1]["error"]
    assert control.send("GET", "/jobs") == (200, {"jobs": []})


def test_jobs_of_a_deleted_graph_are_refused(control: TestControl) -> None:
    control.change("digits", operations.deleted)
    status, found = control.send("POST", "/jobs", body(control))
    assert (status, "graph 'digits' was deleted" in found["error"]) == (404, True)


def test_who_cancels_a_job_is_on_record(control: TestControl) -> None:
    with control.asked_by(OPERATOR):
        _, job = control.send("POST", "/jobs", body(control))
        control.send("POST", f"/jobs/{job['id']}/cancel")
        control.send("POST", f"/jobs/{job['id']}/cancel")
    told = [one for one in control.store.events("digits") if one.kind == "job_cancelled"]
    assert [(one.actor.name, one.data["job"]) for one in told] == [("ops", job["id"])]


def test_a_job_that_is_not_there(control: TestControl) -> None:
    status, found = control.send("GET", "/jobs/0123456789ab")
    assert (status, "there is no job" in found["error"]) == (404, True)
