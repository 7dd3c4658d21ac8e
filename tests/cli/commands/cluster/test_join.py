"""``join`` and ``leave``: what is refused before anything is asked of an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from anabranch.cli.app import app


def run(home: Path, *words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)), env={"ANABRANCH_HOME": str(home)})


@pytest.mark.parametrize(
    ("mode", "content", "text"),
    [
        (0o644, "key", r"holds a key, and others may read it \(mode 0644\): `chmod 600"),
        (0o600, " \n", "is empty, and should hold the engine's token, or a key"),
        (0o600, "\udcff", "cannot read a key from"),
    ],
)
def test_a_key_is_read_from_a_file_of_its_owner_s(
    tmp_path: Path, mode: int, content: str, text: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content.encode(errors="surrogateescape"))
    file.chmod(mode)
    done = run(tmp_path / "home", "join", "10.0.0.1:8000", "--token-file", file)
    assert done.exit_code == 1
    with pytest.raises(Exception, match=text):
        raise done.exception or AssertionError


def test_a_machine_of_no_engine_leaves_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "leave")
    assert done.exit_code == 0 and "was in no engine" in done.output
