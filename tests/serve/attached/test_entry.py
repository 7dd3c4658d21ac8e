"""A process becomes one of its engine, by the table of keys and values of Ray's GCS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anabranch.errors import EngineError
from anabranch.serve.attached.entry import Places, enter_by
from anabranch.serve.attached.place import EnginePlace
from anabranch.serve.sockets import EDGE
from anabranch.serve.workers.environment import MARK


class Table:
    """The methods of Ray's client that are called, over a dict."""

    def __init__(self) -> None:
        self.values: dict[tuple[bytes, bytes], bytes] = {}

    def internal_kv_put(
        self, key: bytes, value: bytes, overwrite: bool, namespace: bytes, timeout: float
    ) -> None:
        assert overwrite
        self.values[namespace, key] = value

    def internal_kv_get(self, key: bytes, namespace: bytes, timeout: float) -> bytes | None:
        return self.values.get((namespace, key))

    def internal_kv_keys(self, prefix: bytes, namespace: bytes, timeout: float) -> list[bytes]:
        return [key for space, key in self.values if space == namespace]

    def internal_kv_del(self, key: bytes, prefix: bool, namespace: bytes, timeout: float) -> None:
        assert not prefix
        self.values.pop((namespace, key), None)


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What `enter_by` changes, put back after the test."""
    variables: dict[str, str] = {**os.environ, MARK: "e1"}
    monkeypatch.setattr(os, "environ", variables)
    return variables


def test_it_has_the_engine_s_variables_and_place_from_then_on(
    tmp_path: Path, own_environment: dict[str, str]
) -> None:
    places = Places(Table())
    place = EnginePlace("one", str(tmp_path / "anab-1"), {"ANABRANCH_GRACE": "30"})
    places.put("e1", place)
    places.put("e2", EnginePlace("two", str(tmp_path / "anab-2"), {}))
    enter_by(places)
    assert own_environment["ANABRANCH_GRACE"] == "30"
    assert EDGE in own_environment
    assert list(tmp_path.iterdir()) == [tmp_path / "anab-1"]


def test_an_engine_that_has_left_has_no_place(own_environment: dict[str, str]) -> None:
    places = Places(Table())
    places.put("e1", EnginePlace("one", "/nowhere", {}))
    assert set(places.all()) == {"e1"}
    places.remove("e1")
    assert places.all() == {}
    with pytest.raises(EngineError, match="the engine e1 is on this Ray no more"):
        enter_by(places)
