"""Downloads from a server that breaks off, lies, or never ends."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from anabranch.client.bundle import packing
from anabranch.components.artefacts import cache, fetching
from anabranch.components.artefacts.digests import path_digest
from anabranch.components.artefacts.fetching import fetched, fetched_bundle
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import open_source
from anabranch.errors import ArtefactError
from tests.components.artefacts.files import PROBE, Served
from tests.waiting import until

MODEL = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(MODEL).hexdigest()

FETCH = """
import sys
from pathlib import Path
from anabranch.components.artefacts.fetching import fetched
from anabranch.components.artefacts.settings import ArtefactSettings
uri, cache, sha256 = sys.argv[1:]
settings = ArtefactSettings(cache=Path(cache), timeout=60)
print(fetched(uri, sha256 or None, settings), flush=True)
"""


@pytest.fixture
def model(served: Served) -> str:
    served.files["/models/m.onnx"] = MODEL
    return f"{served.url}/models/m.onnx"


def process(uri: str, settings: ArtefactSettings, sha256: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, uri, str(settings.cache), sha256],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def left(settings: ArtefactSettings) -> list[str]:
    """What is kept of downloads that did not end."""
    return [path.name for path in (settings.cache / "partial").glob("*/*.part")]


@pytest.mark.parametrize("sha256", [None, DIGEST])
def test_a_file_comes_once_under_its_own_name(
    served: Served, model: str, settings: ArtefactSettings, sha256: str | None
) -> None:
    path = fetched(model, sha256, settings)
    assert (path.name, path.read_bytes()) == ("m.onnx", MODEL)
    assert fetched(model, sha256, settings) == path
    assert served.transfers == 1


def test_with_a_digest_the_cache_needs_no_store(served: Served, settings: ArtefactSettings) -> None:
    served.files["/m.onnx"] = MODEL
    path = fetched(f"{served.url}/m.onnx", DIGEST, settings)
    assert fetched("http://127.0.0.1:1/elsewhere/m.onnx", DIGEST, settings) == path


def test_a_file_that_changed_comes_again(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    first = fetched(model, None, settings)
    served.files["/models/m.onnx"], served.etag = MODEL[::-1], '"two"'
    second = fetched(model, None, settings)
    assert (first.read_bytes(), second.read_bytes()) == (MODEL, MODEL[::-1])


def test_a_file_without_a_mark_is_not_kept_for_ever(
    served: Served, model: str, settings: ArtefactSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.etag = None
    now = [10_000.0]
    monkeypatch.setattr("anabranch.components.artefacts.fetching.time.time", lambda: now[0])
    fetched(model, None, settings)
    fetched(model, None, settings)
    assert served.transfers == 1
    now[0] += 601
    fetched(model, None, settings)
    assert served.transfers == 2


@pytest.mark.parametrize("content", [b"", b"x"])
def test_the_smallest_files(served: Served, settings: ArtefactSettings, content: bytes) -> None:
    served.files["/m"] = content
    assert fetched(f"{served.url}/m", None, settings).read_bytes() == content


def test_a_transfer_that_breaks_off_goes_on_from_there(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    served.cut = [700_000, 100_000]
    assert fetched(model, DIGEST, settings).read_bytes() == MODEL
    starts = [one for one in served.asked if one != PROBE]
    assert starts == [None, "bytes=700000-", "bytes=800000-"]
    assert served.sent < len(MODEL) + 10


@pytest.mark.parametrize("change", ["ranges", "etag"])
def test_what_cannot_be_resumed_starts_over(
    served: Served, model: str, settings: ArtefactSettings, change: str
) -> None:
    setattr(served, change, False if change == "ranges" else None)
    served.cut = [700_000]
    assert fetched(model, DIGEST, settings).read_bytes() == MODEL
    assert served.transfers == 2


def test_a_file_that_changes_between_two_tries_is_never_a_mixture(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    served.cut = [700_000] * 4
    with pytest.raises(ArtefactError, match="RemoteProtocolError"):
        served.cut = [700_000, 0, 0, 0]
        fetched(model, None, settings)
    served.files["/models/m.onnx"], served.etag = MODEL[::-1], '"two"'
    assert fetched(model, None, settings).read_bytes() == MODEL[::-1]


def test_a_resumed_file_with_a_wrong_digest_starts_over(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    """The server changed the file under the same ETag."""
    served.files["/models/m.onnx"] = MODEL[::-1]
    served.cut = [700_000, 0, 0, 0]
    with pytest.raises(ArtefactError):
        fetched(model, DIGEST, settings)
    served.files["/models/m.onnx"] = MODEL
    assert fetched(model, DIGEST, settings).read_bytes() == MODEL


def test_a_wrong_digest_leaves_nothing(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    with pytest.raises(ArtefactError, match=f"its sha256 is {DIGEST}, the spec says 0000"):
        fetched(model, "0" * 64, settings)
    assert left(settings) == []
    assert not list((settings.cache / "entries").glob("*"))


def test_processes_share_one_transfer(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    served.gate = threading.Event()
    all_of_them = [process(model, settings) for _ in range(3)]
    assert served.halfway.wait(60)
    while served.asked.count(PROBE) < 3:
        assert all(one.poll() is None for one in all_of_them)
    served.gate.set()
    found = {one.communicate(timeout=60)[0].strip() for one in all_of_them}
    (path,) = found
    assert Path(path).read_bytes() == MODEL
    assert served.transfers == 1


def test_threads_share_one_transfer(served: Served, model: str, settings: ArtefactSettings) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: fetched(model, DIGEST, settings), range(8)))
    assert len(found) == 1
    assert served.transfers == 1


@pytest.mark.parametrize("sha256", ["", DIGEST])
def test_a_killed_download_is_resumed(
    served: Served, model: str, settings: ArtefactSettings, sha256: str
) -> None:
    served.gate = threading.Event()
    victim = process(model, settings, sha256)
    assert served.halfway.wait(60)
    part = settings.cache / "partial"
    while not any(one.stat().st_size for one in part.glob("*/*.part")):
        assert victim.poll() is None
    victim.kill()
    victim.communicate(timeout=60)
    assert left(settings) and not list((settings.cache / "entries").glob("*"))
    served.gate.set()
    assert fetched(model, sha256 or None, settings).read_bytes() == MODEL
    (start,) = [one for one in served.asked[2:] if one != PROBE]
    assert start is not None and start != "bytes=0-"


@pytest.mark.parametrize("claims", [len(MODEL) + 1000, len(MODEL) - 1000])
def test_a_server_that_lies_about_the_size(
    served: Served, model: str, settings: ArtefactSettings, claims: int
) -> None:
    served.ranges, served.claims = False, claims
    if claims > len(MODEL):
        with pytest.raises(ArtefactError, match="cannot be fetched: RemoteProtocolError"):
            fetched(model, None, settings)
    else:  # HTTP ends a body where its length says so; only the digest can tell
        with pytest.raises(ArtefactError, match="its sha256 is"):
            fetched(model, DIGEST, settings)
    assert not list((settings.cache / "entries").glob("*"))


def test_an_endless_body_is_cut_at_the_limit(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    served.ranges, served.chunked, served.endless = False, True, True
    with pytest.raises(ArtefactError, match=r"it has .* MiB, the limit is 4.0 MiB"):
        fetched(model, None, replace(settings, max_size=4 * 2**20))
    assert served.sent < 64 * 2**20


def test_a_size_over_the_limit_is_refused_before_the_transfer(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    with pytest.raises(ArtefactError, match=r"1.0 MiB, the limit is 1.0 KiB \(ANABRANCH_MAX_"):
        fetched(model, None, replace(settings, max_size=1024))
    assert served.transfers == 0


def test_a_full_disk_is_refused_before_the_transfer(
    served: Served, model: str, settings: ArtefactSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 2**20})()
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        ArtefactError, match=r"the disk of the cache has 1\.0 MiB free, it takes 1\.0"
    ):
        fetched(model, None, settings)
    assert served.transfers == 0


def test_a_slow_transfer_ends_in_time(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    served.gate = gate = threading.Event()

    def go_on_late() -> None:
        served.halfway.wait(60)
        gate.wait(0.6)
        gate.set()

    threading.Thread(target=go_on_late, daemon=True).start()
    with pytest.raises(ArtefactError, match=r"did not arrive within 0.5 s \(ANABRANCH_DOWNLOAD"):
        fetched(model, None, replace(settings, timeout=0.5))
    assert left(settings)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none.onnx", "the server answers 404"),
        ("/secret.onnx", "the server answers 403"),
        ("/broken.onnx", "cannot be fetched: the server answers 503"),
        ("/circle.onnx", "there are over 5 redirects"),
        ("/file.onnx", "it is not a URL to fetch"),
        ("/packed.onnx", "the server sends the file in the encoding 'gzip', unasked"),
    ],
)
def test_answers_that_are_no_file(
    served: Served, settings: ArtefactSettings, path: str, message: str
) -> None:
    served.status = {"/secret.onnx": 403, "/broken.onnx": 503}
    served.redirects = {"/circle.onnx": "/circle.onnx", "/file.onnx": "file:///etc/passwd"}
    served.files["/packed.onnx"] = MODEL
    served.headers = {"content-encoding": "gzip"} if path == "/packed.onnx" else {}
    with pytest.raises(ArtefactError, match=message) as caught:
        fetched(f"{served.url}{path}?signature=secret", None, settings)
    assert "secret" not in str(caught.value).replace("/secret.onnx", "")


def test_nobody_answers(settings: ArtefactSettings) -> None:
    with pytest.raises(ArtefactError, match="cannot be fetched: ConnectError"):
        fetched("http://127.0.0.1:1/m.onnx?signature=abc", None, settings)


def test_redirects_are_followed(served: Served, model: str, settings: ArtefactSettings) -> None:
    served.redirects = {"/latest.onnx": "/models/m.onnx"}
    path = fetched(f"{served.url}/latest.onnx", DIGEST, settings)
    assert (path.name, path.read_bytes()) == ("latest.onnx", MODEL)


@pytest.fixture
def archive(served: Served, tmp_path: Path) -> Callable[[dict[str, str]], str]:
    def make(files: dict[str, str]) -> str:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
            for name, text in files.items():
                opened.writestr(name, text)
        served.files["/a.zip"] = (tmp_path / "a.zip").read_bytes()
        return f"{served.url}/a.zip"

    return make


def test_an_archive_becomes_a_folder(
    archive: Callable[[dict[str, str]], str], settings: ArtefactSettings, served: Served
) -> None:
    uri = archive({"MLmodel": "a", "data/weights": "b"})
    sha256 = hashlib.sha256(served.files["/a.zip"]).hexdigest()
    path = fetched(uri, sha256, settings)
    assert sorted(one.name for one in path.rglob("*")) == ["MLmodel", "data", "weights"]
    assert fetched(uri, sha256, settings) == path


def test_the_only_folder_of_an_archive_is_the_model(
    archive: Callable[[dict[str, str]], str], settings: ArtefactSettings
) -> None:
    path = fetched(archive({"model/MLmodel": "a", "model/x": "b"}), None, settings)
    assert (path / "MLmodel").read_text() == "a"


def test_an_unsafe_archive_leaves_nothing(
    archive: Callable[[dict[str, str]], str], settings: ArtefactSettings, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match="is not a path below it"):
        fetched(archive({"good": "a", "../../../bad": "b"}), None, settings)
    assert not list(tmp_path.rglob("bad")) and not list(tmp_path.rglob("good"))


def test_logs_tell_progress_and_no_secret(
    served: Served,
    model: str,
    settings: ArtefactSettings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("anabranch.components.artefacts.progress._EVERY_S", 0.0)
    with caplog.at_level("INFO", "anabranch"):
        fetched(f"{model}?signature=abc", None, settings)
    assert "m.onnx?…: here, 1.0 MiB of 1.0 MiB (100%)" in caplog.text
    assert "abc" not in caplog.text


def test_the_cache_is_for_its_owner_only(
    served: Served, model: str, settings: ArtefactSettings
) -> None:
    fetched(model, None, settings)
    assert settings.cache.stat().st_mode & 0o077 == 0


BUNDLE = {"graph.yaml": b"x", "data/noise": os.urandom(300_000)}
FETCH_BUNDLE = """
import sys
from pathlib import Path
from anabranch.components.artefacts.fetching import fetched_bundle
from anabranch.components.artefacts.settings import ArtefactSettings
from anabranch.components.artefacts.sources import open_source
uri, cache, digest = sys.argv[1:]
settings = ArtefactSettings(cache=Path(cache), timeout=60)
print(fetched_bundle(digest, lambda: open_source(uri, settings), settings), flush=True)
"""


def test_a_killed_fetch_of_a_bundle_leaves_nothing_that_counts_and_goes_on(
    served: Served, settings: ArtefactSettings
) -> None:
    digest = packing.digest(BUNDLE)
    uri, served.gate = f"{served.url}/{digest}.zip", threading.Event()
    served.files[f"/{digest}.zip"] = packing.zipped(BUNDLE)
    victim = subprocess.Popen(
        [sys.executable, "-c", FETCH_BUNDLE, uri, str(settings.cache), digest]
    )
    assert served.halfway.wait(60)
    until(lambda: any(one.stat().st_size for one in (settings.cache / "partial").glob("*/*.part")))
    victim.kill()
    victim.wait(60)
    assert not list((settings.cache / "entries").glob("*"))
    served.gate.set()
    folder = fetched_bundle(digest, lambda: open_source(uri, settings), settings)
    assert (folder / "data" / "noise").read_bytes() == BUNDLE["data/noise"]
    (start,) = [one for one in served.asked[2:] if one != PROBE]
    assert start is not None and start != "bytes=0-"


def test_an_archive_whose_unpacking_was_cut_short_is_unpacked_anew(
    served: Served, settings: ArtefactSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = packing.digest(BUNDLE)
    served.files[f"/{digest}.zip"] = packing.zipped(BUNDLE)
    uri = f"{served.url}/{digest}.zip"

    def cut_short(archive: Path, target: Path, *_: object) -> None:
        target.mkdir()
        (target / "half").write_bytes(b"of a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(fetching, "unpack", cut_short)
        fetched_bundle(digest, lambda: open_source(uri, settings), settings)
    folder = fetched_bundle(digest, lambda: open_source(uri, settings), settings)
    assert path_digest(folder) == digest
