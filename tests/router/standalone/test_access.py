"""Who may ask a process with one graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from anabranch.access.guard import Credentials, Guard
from anabranch.access.keys import digest_of, make_key
from anabranch.access.table import AccessTable
from anabranch.errors import EngineError, Unauthenticated
from anabranch.router.standalone.access import access_table

KEY = make_key()


def table(host: str = "127.0.0.1", anonymous: str = "", keys: Path | None = None) -> AccessTable:
    return access_table(host, anonymous, keys)


def file_of(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(*args: object, **kwargs: object) -> str:
    with pytest.raises(EngineError) as caught:
        table(*args, **kwargs)  # type: ignore[arg-type]
    return str(caught.value)


def test_on_loopback_everybody_may_call_and_teach() -> None:
    for host in ("127.0.0.1", "localhost", "::1"):
        assert [grant.role for grant in table(host).anonymous] == ["invoker", "feedback"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_elsewhere_nobody_may_unless_that_is_said(host: str, tmp_path: Path) -> None:
    assert "--anonymous invoker" in refusal(host)
    assert "--keys" in refusal(host, "none")
    assert [grant.role for grant in table(host, "invoker").anonymous] == ["invoker"]
    keys = file_of(tmp_path, f"ada invoker {KEY}\n")
    assert table(host, keys=keys).anonymous == ()


def test_a_file_of_keys(tmp_path: Path) -> None:
    other = make_key()
    text = (
        f"# who may ask\n\nada  invoker,feedback {KEY}\nci viewer sha256:{digest_of(other).upper()}"
    )
    guard = Guard(table(anonymous="none", keys=file_of(tmp_path, text)))

    def who(key: str) -> str:
        return str(guard.identify(Credentials(f"Bearer {key}".encode())))

    assert (who(KEY), who(other)) == ("key 'ada'", "key 'ci'")
    guard.check_of("g", "feedback", Credentials(f"Bearer {KEY}".encode()))
    with pytest.raises(Unauthenticated):
        who(make_key())


def test_keys_that_others_may_read_are_refused_but_digests_are_not(tmp_path: Path) -> None:
    said = refusal(keys=file_of(tmp_path, f"ada invoker {KEY}", 0o644))
    assert "chmod 600" in said and KEY not in said
    table(keys=file_of(tmp_path, f"ada invoker sha256:{digest_of(KEY)}", 0o644))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ada {key}", "a line is a name, roles with commas between, and a key"),
        ("ada king {key}", "'king' are not roles out of"),
        ("a/da invoker {key}", "the name has other characters"),
        ("ada invoker short", "less than 16 characters"),
        ("ada invoker sha256:abc", "64 hexadecimal digits"),
    ],
)
def test_a_wrong_line_is_named_without_its_key(tmp_path: Path, line: str, said: str) -> None:
    path = file_of(tmp_path, f"\n{line.format(key=KEY)}\n")
    found = refusal(keys=path)
    assert found.startswith(f"{path}:2: ") and said in found
    assert KEY not in found


def test_what_is_wrong_otherwise(tmp_path: Path) -> None:
    assert "cannot read keys" in refusal(keys=tmp_path / "none")
    assert "not an address" in refusal("example.org")
    assert "roles out of" in refusal(anonymous="king")
