"""Archives that were made to do harm, and some that were not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.artefacts import archives
from anabranch.components.artefacts.archives import unpack
from anabranch.errors import ArtefactError

MOST = 64 * 2**20
FILES = {"MLmodel": b"flavors", "data/weights.bin": bytes(5000), "data/deep/er.txt": b"x"}
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".tar": lambda data: data,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
}


def info(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.size = kind, link, size
    return one


def tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as opened:
        for member, data in members:
            opened.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    return tar(*((info(name, size=len(data)), data) for name, data in files.items()))


def zip_of(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = 8) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for member, data in members:
            opened.writestr(member, data)
    return buffer.getvalue()


def zip_info(name: str, mode: int = 0) -> zipfile.ZipInfo:
    one = zipfile.ZipInfo(name)
    one.external_attr = mode << 16
    return one


def unpacked(folder: Path, name: str, data: bytes, most: int = MOST) -> dict[str, bytes]:
    archive = folder / name
    archive.write_bytes(data)
    target = folder / "target"
    unpack(archive, target, most, lambda _: None)
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("suffix", PACK)
def test_tar(tmp_path: Path, suffix: str) -> None:
    assert unpacked(tmp_path, f"m{suffix}", PACK[suffix](tar_of(FILES))) == FILES


def test_zip(tmp_path: Path) -> None:
    folder = (zipfile.ZipInfo("data/"), b"")
    assert unpacked(tmp_path, "m.zip", zip_of(folder, *FILES.items())) == FILES


def test_the_content_says_how_a_tar_is_compressed(tmp_path: Path) -> None:
    assert unpacked(tmp_path, "m.tar", gzip.compress(tar_of(FILES))) == FILES


def test_members_of_the_current_folder(tmp_path: Path) -> None:
    data = tar((info("./", tarfile.DIRTYPE), b""), (info("./a", size=1), b"x"))
    assert unpacked(tmp_path, "m.tar", data) == {"a": b"x"}


def test_owners_and_modes_stay_behind(tmp_path: Path) -> None:
    member = info("a", size=1)
    member.mode = 0o6777
    unpacked(tmp_path, "m.tar", tar((member, b"x")))
    assert (tmp_path / "target" / "a").stat().st_mode & 0o7111 == 0


BAD_NAMES = [
    "../a", "a/../../b", "/a", "//a", "a//b", "a/./b", "..", "a\\..\\b", "C:/a", "a/..", "a\n/../c",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_out_of_a_tar(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtefactError, match="is not a path below it"):
        unpacked(tmp_path, "m.tar", tar_of({"good": b"", name: b"bad"}))


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_out_of_a_zip(tmp_path: Path, name: str) -> None:
    entry = zip_info("good")
    entry.filename = name  # the constructor would clean it
    with pytest.raises(ArtefactError, match="is not a path below it"):
        unpacked(tmp_path, "m.zip", zip_of((entry, b"bad")))


@pytest.mark.parametrize(
    "member",
    [
        info("a", tarfile.SYMTYPE, "/etc/passwd"),
        info("a", tarfile.SYMTYPE, "../.."),
        info("a", tarfile.SYMTYPE, "b"),
        info("a", tarfile.LNKTYPE, "../b"),
        info("a", tarfile.FIFOTYPE),
        info("a", tarfile.CHRTYPE),
        info("a", tarfile.BLKTYPE),
        info("a", b"?"),
    ],
)
def test_what_is_no_file_in_a_tar(tmp_path: Path, member: tarfile.TarInfo) -> None:
    with pytest.raises(ArtefactError):
        unpacked(tmp_path, "m.tar", tar((member, b""), (info("a/x", size=1), b"x")))
    assert not (tmp_path / "target" / "a" / "x").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_what_is_no_file_in_a_zip(tmp_path: Path, kind: int) -> None:
    with pytest.raises(ArtefactError, match="is a link or a special file"):
        unpacked(tmp_path, "m.zip", zip_of((zip_info("a", kind | 0o777), b"/etc/passwd")))


@pytest.mark.parametrize(
    "names", [["a", "a"], ["a", "a/b"], ["a/b", "a"]], ids=["twice", "file, folder", "folder, file"]
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide(tmp_path: Path, names: list[str]) -> None:
    members = [(name, b"x") for name in names]
    with pytest.raises(ArtefactError, match="is in the archive twice, or as file and folder"):
        unpacked(tmp_path, "m.zip", zip_of(*members))
    (tmp_path / "other").mkdir()
    with pytest.raises(ArtefactError, match="is in the archive twice, or as file and folder"):
        unpacked(tmp_path / "other", "m.tar", tar(*((info(name, size=1), b"x") for name in names)))


@pytest.mark.parametrize("name", ["m.zip", "m.tar.gz"])
def test_more_than_the_limit(tmp_path: Path, name: str) -> None:
    files = {"a": bytes(2**20), "b": bytes(2**20)}
    data = zip_of(*files.items()) if name == "m.zip" else gzip.compress(tar_of(files))
    with pytest.raises(ArtefactError, match=r"unpacks to over 1.5 MiB, which is the limit for it"):
        unpacked(tmp_path, name, data, most=3 * 2**19)


def test_the_ratio_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE", 2**16)
    with pytest.raises(ArtefactError, match="unpacks to over"):
        unpacked(tmp_path, "m.zip", zip_of(("a", bytes(8 * 2**20))), most=2**40)


@pytest.mark.parametrize("name", ["m.zip", "m.tar"])
def test_too_many_members(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 50)
    files = {str(number): b"" for number in range(51)}
    data = zip_of(*files.items()) if name == "m.zip" else tar_of(files)
    with pytest.raises(ArtefactError, match="holds over 50 files and folders"):
        unpacked(tmp_path, name, data)


def test_a_zip_that_lies_about_its_size(tmp_path: Path) -> None:
    """The header says one byte, the data is eight megabytes."""
    data = bytearray(zip_of(("a", bytes(8 * 2**20))))
    for magic, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<L", data, data.index(magic) + offset, 1)
    with pytest.raises(ArtefactError, match=r"cannot be unpacked|unpacks to over"):
        unpacked(tmp_path, "m.zip", bytes(data), most=2**20)


def test_an_encrypted_zip(tmp_path: Path) -> None:
    data = bytearray(zip_of(("a", b"x")))
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(magic) + offset] |= 1
    with pytest.raises(ArtefactError, match="is encrypted, or packed unusually"):
        unpacked(tmp_path, "m.zip", bytes(data))


def test_a_zip_whose_unpacking_takes_what_memory_it_likes(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is encrypted, or packed unusually"):
        unpacked(tmp_path, "m.zip", zip_of(("a", b"x"), method=zipfile.ZIP_LZMA))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_an_enormous_header_is_not_held_in_memory(tmp_path: Path, kind: bytes) -> None:
    header = info("x", kind, size=2**31).tobuf(tarfile.GNU_FORMAT)
    data = gzip.compress(header + bytes(32 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(ArtefactError, match=r"a header in the archive is over 1.0 MiB"):
            unpacked(tmp_path, "m.tar.gz", data)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_many_headers_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_HEADERS", 2**20)
    header = info("x", tarfile.XGLTYPE, size=2**20).tobuf(tarfile.GNU_FORMAT)
    monkeypatch.setattr(archives, "FREE", 0)
    data = (header + b"9 a=bcde\n" + bytes(2**20 - 9)) * 64
    with pytest.raises(ArtefactError):
        unpacked(tmp_path, "m.tar", gzip.compress(data), most=2**20)


@pytest.mark.parametrize(
    "header",
    [
        info("a", tarfile.GNUTYPE_SPARSE, size=2**40).tobuf(tarfile.GNU_FORMAT),
        b"",
    ],
)
def test_sparse_files(tmp_path: Path, header: bytes) -> None:
    member = info("a", size=512)
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    pax = tar((member, b"1\n0\n1\n".ljust(512, b"\0")), form=tarfile.PAX_FORMAT)
    with pytest.raises(ArtefactError, match="is a link or a special file"):
        unpacked(tmp_path, "m.tar", header + bytes(10240) if header else pax)


def test_an_enormous_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_INDEX", 2**17)
    many = [(f"{number:0200}", b"") for number in range(1000)]
    with pytest.raises(ArtefactError, match=r"the archive's index is over 128.0 KiB"):
        unpacked(tmp_path, "m.zip", zip_of(*many))


def test_a_dictionary_over_the_limit(tmp_path: Path) -> None:
    data = bytearray(lzma.compress(b"x"))
    data[16] = 36  # the size of the dictionary in the header of the block: 1 GiB
    data[20:24] = struct.pack("<L", zlib.crc32(data[12:20]))
    with pytest.raises(ArtefactError, match="Memory usage limit"):
        unpacked(tmp_path, "m.tar.xz", bytes(data))


@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.tar.gz", "m.tar.xz", "m.tar.bz2"])
@pytest.mark.parametrize("content", ["nothing", "noise", "cut"])
def test_what_is_no_archive(tmp_path: Path, name: str, content: str) -> None:
    packed = zip_of(*FILES.items()) if name == "m.zip" else PACK[name[1:]](tar_of(FILES))
    data = {"nothing": b"", "noise": b"not an archive" * 99, "cut": packed[: len(packed) // 3]}
    with pytest.raises(ArtefactError, match="the archive cannot be unpacked"):
        unpacked(tmp_path, name, data[content])


@given(st.data())
def test_damage_is_an_error_of_ours_and_nothing_gets_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    suffix = data.draw(st.sampled_from([".zip", *PACK]))
    packed = zip_of(*FILES.items()) if suffix == ".zip" else PACK[suffix](tar_of(FILES))
    damaged = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    with suppress(ArtefactError):
        unpacked(folder, f"m{suffix}", bytes(damaged))
    assert {path.name for path in folder.iterdir()} <= {f"m{suffix}", "target"}
