"""The place of an engine on a machine is made once, whole, and for one user."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from anabranch.errors import EngineError
from anabranch.serve.attached.place import HOME, EnginePlace
from anabranch.serve.sockets import SOCKETS


def place(folder: Path) -> EnginePlace:
    files = {"call-secret": "secret\n", "nodes/node.pem": "pem"}
    return EnginePlace("one:/home", str(folder), {"ANABRANCH_GRACE": "30"}, files)


def test_it_travels_as_json_and_does_not_show_its_secrets(tmp_path: Path) -> None:
    one = place(tmp_path)
    assert EnginePlace.from_json(one.to_json()) == one
    shown = repr(one).replace(str(tmp_path), "")
    assert "secret" not in shown and "30" not in shown


def test_processes_that_start_together_make_it_once(tmp_path: Path) -> None:
    one = place(tmp_path / "anab-1")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: one.make(), range(32)))
    folder = tmp_path / "anab-1"
    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / SOCKETS).is_dir()
    assert (folder / HOME / "nodes/node.pem").read_text() == "pem"
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert modes == {0o700, 0o600}


def test_what_is_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "anab-1"
    folder.mkdir(0o700)
    place(folder).make()
    assert list(folder.iterdir()) == []


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "anab-1"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(EngineError, match="anab-1 is not a folder that is this user's alone"):
        place(folder).make()


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "anab-1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="not a folder"):
        place(tmp_path / "anab-1").make()
