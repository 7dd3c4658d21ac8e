"""Layers of which there is one form only."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from anabranch.client.image.layers import (
    Content,
    Folder,
    ImageLayer,
    SymbolicLink,
    entries_of,
    write_layer,
)

PATHS = st.lists(st.sampled_from("abcé"), min_size=1, max_size=3).map("/".join)
CONTENTS: Any = st.one_of(st.binary(max_size=50), st.builds(SymbolicLink, st.just("a/b")))


def members(blobs: Path, layer: ImageLayer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(blobs / layer.blob.sha256) as tar:
        return {member.name: member for member in tar}


def test_members_are_in_order_belong_to_root_and_have_no_times(tmp_path: Path) -> None:
    script, plain = tmp_path / "script", tmp_path / "plain"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    plain.write_text("x")
    plain.chmod(0o600)
    os.utime(plain, (1e9, 1e9))
    entries: dict[str, Content] = {
        "usr/bin/two": script, "usr/bin/one": plain, "tmp": Folder(0o1777),
        "etc/words": b"words", "usr/bin/three": SymbolicLink("two"), "usr/bin/four": b"#!/bin/sh\n",
    }  # fmt: skip
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    found = members(blobs, write_layer(blobs, entries, "words"))
    assert list(found) == [
        "etc", "etc/words", "tmp", "usr", "usr/bin", "usr/bin/four", "usr/bin/one",
        "usr/bin/three", "usr/bin/two",
    ]  # fmt: skip
    assert {(one.uid, one.gid, one.mtime) for one in found.values()} == {(0, 0, 0)}
    modes = {name: one.mode for name, one in found.items()}
    assert (modes["usr/bin/one"], modes["usr/bin/two"], modes["usr/bin/four"]) == (
        0o644, 0o755, 0o755,
    )  # fmt: skip
    assert (modes["tmp"], modes["usr"]) == (0o1777, 0o755)
    assert found["usr/bin/three"].linkname == "two"


@given(st.dictionaries(PATHS, CONTENTS, max_size=6), st.randoms(use_true_random=False))
def test_the_same_entries_give_the_same_layer(
    tmp_path_factory: Any, entries: dict[str, Content], random: Any
) -> None:
    files = {path for path in entries if not any(p.startswith(f"{path}/") for p in entries)}
    some = [(path, entries[path]) for path in files]
    first, second = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    one = write_layer(first, dict(some), "x")
    random.shuffle(some)
    assert write_layer(second, dict(some), "x") == one
    assert (first / one.blob.sha256).read_bytes() == (second / one.blob.sha256).read_bytes()
    assert [path.name for path in first.iterdir()] == [one.blob.sha256]


def test_a_folder_is_taken_with_its_links_and_modes(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir(mode=0o750)
    (tmp_path / "lib/a").write_text("a")
    (tmp_path / "lib64").symlink_to("lib")
    (tmp_path / "gone").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert entries_of(tmp_path, "at") == {
        "at/lib": Folder(0o750), "at/lib/a": tmp_path / "lib/a", "at/lib64": SymbolicLink("lib"),
        "at/gone": SymbolicLink("/nowhere"),
    }  # fmt: skip
