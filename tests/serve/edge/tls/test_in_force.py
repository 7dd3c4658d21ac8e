"""The copies of what the edge uses: their modes, what is trusted, and what is told of them."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from anabranch.serve.edge.tls.certificates import load
from anabranch.serve.edge.tls.in_force import InForce, in_force_at
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_only_their_owner_reads_them_and_nothing_is_left(
    authority: Authority, tmp_path: Path
) -> None:
    one = InForce(tmp_path / "tls", verifies=False)
    found = load(authority.issue("one"))
    one.install(found)
    one.note("a problem")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in one.folder.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(one.folder.stat().st_mode) == 0o700
    assert (one.folder / "server.pem").read_text() == found.chain + found.key
    assert found.key not in one.trusted.read_text()
    one.remove()
    one.remove()
    assert not one.folder.exists()


@pytest.mark.parametrize("verifies", [False, True])
def test_what_was_installed_is_read_again(
    authority: Authority, tmp_path: Path, verifies: bool
) -> None:
    one = in_force_at(tmp_path, verifies)
    found = load(replace(authority.issue("one"), client_ca=authority.file if verifies else None))
    one.install(found)
    assert one.certificates() == found
    one.remove()
    with pytest.raises(FileNotFoundError):
        one.certificates()


def test_the_last_two_servers_are_trusted(authority: Authority, tmp_path: Path) -> None:
    one = InForce(tmp_path / "tls", verifies=False)
    servers = []
    for name in ("one", "two", "two", "three"):
        found = load(authority.issue(name))
        servers.insert(0, found.server)
        one.install(found)
        one.install(found)
        assert one.trusted.read_text() == "".join(servers[:2])


def test_the_end_and_a_problem_are_told(authority: Authority, tmp_path: Path) -> None:
    one = InForce(tmp_path / "tls", verifies=False)
    one.install(load(authority.issue("one", ends=timedelta(days=30))))
    ends = one.ends()
    when = f"{ends:%Y-%m-%d %H:%M} UTC"
    assert list(one.warnings(ends - timedelta(days=15))) == []
    for left, text in {
        timedelta(days=13, hours=1): f"ends on {when}, in 13 days",
        timedelta(hours=30): f"ends on {when}, in 30 hours",
        timedelta(0): f"expired on {when}",
    }.items():
        (told,) = one.warnings(ends - left)
        assert text in told
    one.note("the key does not fit")
    (told,) = one.warnings(ends - timedelta(days=20))
    assert "the new files are not taken: the key does not fit" in told
    one.note("")
    assert list(one.warnings(ends - timedelta(days=20))) == []
