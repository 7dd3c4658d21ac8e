"""An engine's applications are told from those of others where there may be some."""

from __future__ import annotations

import pytest

from anabranch.serve.attachment import HOME_NODE, is_attached, own_name, serve_name


def test_on_a_ray_of_its_own_all_applications_are_the_engine_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(HOME_NODE, raising=False)
    assert not is_attached()
    assert serve_name("digits.r3") == own_name("digits.r3") == "digits.r3"


def test_elsewhere_its_names_begin_with_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_NODE, "ab12")
    assert is_attached()
    assert serve_name("digits.r3") == "anabranch.digits.r3"
    assert own_name("anabranch.digits.r3") == "digits.r3"
    assert own_name("anabranch.anabranch.gateway") == "anabranch.gateway"
    assert own_name("digits") is None
