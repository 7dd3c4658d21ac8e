"""Which certificates Ray is told of, and what is said where they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.control.settings.ray_tls import AUTHORITY, CERT, KEY, USE, RayTls
from anabranch.errors import EngineError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    files = {name: tmp_path / name for name in (CERT, KEY, AUTHORITY)}
    for name, file in files.items():
        file.write_text(name)
    return {USE: "1", **{name: str(file) for name, file in files.items()}}


@pytest.mark.parametrize("use", ["1", "true", "True"])
def test_files_are_read_where_ray_is_to_use_them(env: dict[str, str], use: str) -> None:
    assert RayTls.from_env({**env, USE: use}) == (CERT.encode(), KEY.encode(), AUTHORITY.encode())


@pytest.mark.parametrize("use", ["", "0", "false", None])
def test_without_the_variable_nothing_is_read(env: dict[str, str], use: str | None) -> None:
    del env[USE], env[KEY]
    assert RayTls.from_env(env if use is None else {**env, USE: use}) is None


@pytest.mark.parametrize("name", [CERT, KEY, AUTHORITY])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "the absolute path of a file in PEM"),
        ("here.pem", "the absolute path of a file in PEM"),
        ("/nowhere/x.pem", "cannot read '/nowhere/x.pem': No such file"),
        ("/", "cannot read '/': Is a directory"),
    ],
)
def test_a_file_that_is_missing_is_named(
    env: dict[str, str], name: str, value: str, said: str
) -> None:
    with pytest.raises(EngineError, match=name) as raised:
        RayTls.from_env({**env, name: value})
    assert said in str(raised.value)
