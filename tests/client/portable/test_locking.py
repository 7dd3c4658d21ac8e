from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.client.portable import locking
from anabranch.client.portable.locking import is_locked, locked, requirements
from anabranch.errors import InvalidRequest
from tests.control.release.test_environments import WHEEL, wheel

DIGEST = "a" * 64


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, which is all that the resolvers may look at."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for version in ("1.0", "2.0"):
        (wheels / WHEEL.format(version=version)).write_bytes(wheel(version))
    for tool in ("UV", "PIP"):
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(wheels))
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
    return wheels


def project(folder: Path, text: str) -> Path:
    (folder / "requirements.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("# a comment\n\nsix\n", ["six"]),
        ("six==1  # why\n", ["six==1"]),
        ("six==1 \\\n  --hash=sha256:ab \\\n  --hash=sha256:cd\nx\n",
         ["six==1    --hash=sha256:ab    --hash=sha256:cd", "x"]),
    ],
)  # fmt: skip
def test_lines(text: str, lines: list[str]) -> None:
    assert requirements(text) == lines


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("", True),
        ("--no-binary :all:\n", True),
        (f"six==1 --hash=sha256:{DIGEST}\n", True),
        (f"six==1 --hash=sha256:{DIGEST}\nattrs\n", False),
        ("six==1\n", False),
    ],
)
def test_what_is_locked(text: str, is_one: bool) -> None:
    assert is_locked(text) is is_one


def test_a_lock_stays_as_it_is(tmp_path: Path) -> None:
    text = f"# mine\nsix==1 \\\n    --hash=sha256:{DIGEST}\n"
    assert locked(project(tmp_path, text), text) == text


def test_uv_pins_versions_and_digests(tmp_path: Path, index: Path) -> None:
    found = locked(project(tmp_path, "tinydep<2\n"), "tinydep<2\n")
    assert requirements(found)[0].startswith("tinydep==1.0 ")
    assert is_locked(found)
    assert locked(tmp_path, found) == found


def test_pip_does_so_where_there_is_no_uv(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_uv = locked(project(tmp_path, "tinydep\n"), "tinydep\n")
    monkeypatch.setattr(locking.shutil, "which", lambda *_, **__: None)
    by_pip = locked(tmp_path, "tinydep\n")
    assert by_pip.startswith("tinydep==2.0 --hash=sha256:")
    assert by_pip.split("sha256:")[1].strip() in by_uv


@pytest.mark.parametrize("has_uv", [True, False])
def test_what_cannot_be_resolved_is_told(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch, has_uv: bool
) -> None:
    if not has_uv:
        monkeypatch.setattr(locking.shutil, "which", lambda *_, **__: None)
    with pytest.raises(InvalidRequest, match=r"nosuchdep.*build with --unlocked"):
        locked(project(tmp_path, "nosuchdep\n"), "nosuchdep\n")


def test_without_a_resolver_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(locking.PathFinder, "find_spec", lambda *_: None)
    with pytest.raises(InvalidRequest, match="neither uv nor pip is there"):
        locked(project(tmp_path, "six\n"), "six\n")


def test_a_resolver_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="did not end within 0 s"):
        locked(project(tmp_path, "six\n"), "six\n", timeout=0)
