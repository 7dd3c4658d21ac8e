"""Which machines take requests, as a text says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.settings.ingress import Ingress
from anabranch.control.settings.settings import Settings
from anabranch.errors import EngineError


@pytest.mark.parametrize(
    ("text", "plain", "front", "back"),
    [
        ("every", True, True, True),
        ("head", False, False, False),
        ("edge=yes", False, True, False),
        ("edge=yes,zone=a", False, True, False),
        ("edge=yes,zone=b", False, False, False),
    ],
)
def test_a_text_says_which(text: str, plain: bool, front: bool, back: bool) -> None:
    ingress = Ingress.parse(text)
    assert ingress.takes({}) is plain
    assert ingress.takes({"edge": "yes", "zone": "a", "ray.io/node-id": "f0"}) is front
    assert ingress.takes({"edge": "no"}) is back


@pytest.mark.parametrize(
    "text", ["all", "edge", "=yes", "edge=yes,", "edge=yes zone=a", "every,x=y"]
)
def test_other_texts_are_refused_with_what_they_might_be(tmp_path: Path, text: str) -> None:
    env = {"ANABRANCH_HOME": str(tmp_path), "ANABRANCH_INGRESS": text}
    with pytest.raises(
        EngineError, match=r"ANABRANCH_INGRESS=.* is not `every`, `head`, or labels"
    ):
        Settings.from_env(env)


def test_every_machine_takes_requests_unless_told_otherwise(tmp_path: Path) -> None:
    assert Settings.from_env({"ANABRANCH_HOME": str(tmp_path)}).ingress == Ingress()
