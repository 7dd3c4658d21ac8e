"""What is at a path, against the answers that the Go library gave."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from anabranch.components.documents.paths import exists
from tests.components.documents.gjson.generated import cases
from tests.components.documents.gjson.go_oracle import answers, is_installed

TABLE = [
    json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text().splitlines()
]
"""Path, JSON text, and whether GJSON 1.17.1 finds something there."""


def test_the_answers_are_those_of_the_go_library() -> None:
    assert len(TABLE) > 1000
    wrong = [(path, text) for path, text, there in TABLE if exists(text, path) is not there]
    assert wrong == []


@pytest.mark.nightly
@pytest.mark.skipif(not is_installed(), reason="Go, or the source of GJSON, is not installed")
@pytest.mark.parametrize("seed", range(3))
def test_random_paths_are_answered_as_by_the_go_library(seed: int, tmp_path: Path) -> None:
    asked = list(islice(cases(seed), 20_000))
    theirs = answers(asked, tmp_path)
    assert sum(theirs) > 2000
    wrong = [case for case, there in zip(asked, theirs, strict=True) if exists(*case) is not there]
    assert wrong == []
