"""Which variables the processes of an engine get from whoever starts them."""

from __future__ import annotations

import pytest

from anabranch.serve.attachment import HOME_NODE
from anabranch.serve.workers.environment import MARK, runtime_environment
from anabranch.serve.workers.launcher import FORK, HOOK, PYTHON


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {MARK: "e1", HOOK: "a.b", PYTHON: "/python", "ANABRANCH_X": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(HOME_NODE, raising=False)


def test_on_a_ray_of_the_engine_s_own_they_inherit_all() -> None:
    assert runtime_environment() == {"env_vars": {FORK: "1"}}


def test_elsewhere_they_get_what_leads_to_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_NODE, "ab12")
    expected = {FORK: "1", MARK: "e1", HOOK: "a.b", PYTHON: "/python", HOME_NODE: "ab12"}
    assert runtime_environment() == {"env_vars": expected}
