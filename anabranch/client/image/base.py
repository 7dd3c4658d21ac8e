"""The base of an image: an interpreter with its library, and what these need of the system.

By default it is put together from this machine: the interpreter, the standard library, and the
shared libraries that they and the packages need. Or the user names one: an OCI image layout, or the
files of a root folder, each as a folder or a tar file.
"""

from __future__ import annotations

import gzip
import shutil
import ssl
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from anabranch.client.image.bytecode import with_bytecode
from anabranch.client.image.layers import (
    LAYER_TYPE,
    Content,
    Folder,
    ImageLayer,
    SymbolicLink,
    entries_of,
    write_layer,
    write_tar_layer,
)
from anabranch.client.image.layout import USER, Json, architecture, read_json
from anabranch.client.image.libraries import is_program, needed
from anabranch.client.portable.formats import Descriptor
from anabranch.components.artefacts.digests import file_digest
from anabranch.errors import InvalidRequest

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""Name of the interpreter, and of the folder of its library."""
_BIN = "usr/local/bin"
_PLACES = (_BIN, "usr/bin", "bin")
_DEFAULT_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
_NOT_USED = frozenset(
    {
        "__pycache__", "ensurepip", "idlelib", "lib2to3", "site-packages", "dist-packages", "test",
        "tests", "tkinter", "turtledemo",
    }
)  # fmt: skip
"""Folders of the standard library that a server has no use for."""
_RESOLVERS = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
"""Loaded by name where hosts are looked up, so no program says that it needs them."""
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
_COMPRESSED = {
    LAYER_TYPE: LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_TYPE,
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
}


@dataclass(frozen=True)
class ImageBase:
    """The layers of a base, and the path of its interpreter in the image."""

    layers: Sequence[ImageLayer]
    python: str
    env: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, Path] = field(default_factory=dict)
    """Files of this machine in it that are no part of Python, by path in the image."""


def base_of_this_machine(blobs: Path, scratch: Path, programs: Iterable[Path]) -> ImageBase:
    """Write a base of this machine's Python, with the libraries that ``programs`` need, too.

    ``scratch`` is a folder for what is written beside the layer. EngineError where this machine's
    loader cannot be asked.
    """
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    standard = dict(_standard_library())
    own = [path for path in standard.values() if isinstance(path, Path) and ".so" in path.name]
    libraries = _placed(needed([interpreter, *own, *programs]))
    entries: dict[str, Content] = {
        **with_bytecode(standard, scratch), **libraries, **_system(),
        f"{_BIN}/{PYTHON}": interpreter, f"{_BIN}/python3": SymbolicLink(PYTHON),
    }  # fmt: skip
    about = f"Python {sys.version.split()[0]} of the machine that built it"
    layer = write_layer(blobs, entries, about)
    env = {"SSL_CERT_FILE": f"/{_CERTIFICATES}"} if _CERTIFICATES in entries else {}
    return ImageBase([layer], f"/{_BIN}/{PYTHON}", env, libraries)


def _standard_library() -> Iterator[tuple[str, Content]]:
    folder = Path(sysconfig.get_path("stdlib"))
    for path, content in entries_of(folder, f"usr/local/lib/{PYTHON}").items():
        parts = PurePosixPath(path).parts[4:]
        is_used = not _NOT_USED.intersection(parts) and not parts[0].startswith("config-")
        if is_used and isinstance(content, Path) and "_tkinter" not in content.name:
            yield path, content


def _placed(found: Mapping[str, Path]) -> dict[str, Path]:
    """Return libraries by their place in an image, where the loader looks without being told."""
    libc = next((path.parent for name, path in found.items() if name.startswith("libc.so")), None)
    usual = libc or Path(_DEFAULT_FOLDERS[0])
    more = {name: usual / name for name in _RESOLVERS if (usual / name).is_file()}
    return {
        str(path if _is_usual(path) else usual / name).removeprefix("/"): path
        for name, path in {**found, **more}.items()
        if "site-packages" not in path.parts and "dist-packages" not in path.parts
    }


def _is_usual(path: Path) -> bool:
    return str(path).startswith(tuple(f"{folder}/" for folder in _DEFAULT_FOLDERS))


def _system() -> dict[str, Content]:
    """Return the few files of a system that programs look for."""
    found: dict[str, Content] = {
        "etc/passwd": f"root:x:0:0::/root:/\ngraph:x:{USER}:{USER}::/tmp:/\n".encode(),
        "etc/group": f"root:x:0:\ngraph:x:{USER}:\n".encode(),
        "etc/nsswitch.conf": b"hosts: files dns\n",
        "tmp": Folder(0o1777),
        **{name: Folder() for name in ("dev", "proc", "sys")},
    }
    paths = ssl.get_default_verify_paths()
    for one in (f"/{_CERTIFICATES}", paths.cafile, "/etc/pki/tls/certs/ca-bundle.crt"):
        if one is not None and Path(one).is_file():
            return {**found, _CERTIFICATES: Path(one)}
    return found


def base_from(path: Path, blobs: Path, scratch: Path) -> ImageBase:
    """Take a base from a folder or a tar file, of an OCI image layout or a root folder.

    InvalidRequest where it is neither, is for another kind of processor, or has no interpreter of
    the version that runs here, whose packages the image gets.
    """
    if path.is_dir():
        is_layout = (path / "oci-layout").is_file()
        return _of_layout(path, blobs) if is_layout else _of_root(path, blobs)
    try:
        with tarfile.open(path) as tar:
            names = {PurePosixPath(member.name).as_posix() for member in tar}
    except (OSError, tarfile.TarError) as error:
        raise InvalidRequest(f"{path} is no folder and no tar file: {error}") from None
    if "oci-layout" not in names:
        python = _interpreter(names, path)
        return ImageBase([_recompressed(path, blobs)], python)
    place = scratch / "base"
    with tarfile.open(path) as tar:
        tar.extractall(place, filter="data")
    return _of_layout(place, blobs)


def _of_root(folder: Path, blobs: Path) -> ImageBase:
    entries = entries_of(folder, "")
    python = _interpreter(entries, folder)
    return ImageBase([write_layer(blobs, entries, f"base {folder.name}")], python)


def _recompressed(path: Path, blobs: Path) -> ImageLayer:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        tar: Any = gzip.GzipFile(fileobj=file) if is_packed else file
        return write_tar_layer(blobs, tar, f"base {path.name}")


def _of_layout(folder: Path, blobs: Path) -> ImageBase:
    manifest = _manifest(folder, read_json(folder / "index.json"))
    config = read_json(_blob(folder, manifest["config"]))
    if config.get("architecture") != architecture():
        raise InvalidRequest(
            f"{folder} is for {config.get('architecture')}, and the packages here for "
            f"{architecture()}"
        )
    layers = list(_layers(folder, manifest, config, blobs))
    names = {name for layer in manifest["layers"] for name in _names(_blob(folder, layer))}
    env = dict(one.partition("=")[::2] for one in config.get("config", {}).get("Env") or ())
    return ImageBase(layers, _interpreter(names, folder), env)


def _manifest(folder: Path, index: Json) -> Json:
    """Return the manifest of an index for this machine; one may lie in another."""
    fitting = [
        entry for entry in index.get("manifests", [])
        if entry.get("platform", {}).get("architecture", architecture()) == architecture()
    ]  # fmt: skip
    if not fitting:
        raise InvalidRequest(f"{folder} has no image for {architecture()}")
    found = read_json(_blob(folder, fitting[0]))
    return _manifest(folder, found) if "manifests" in found else found


def _blob(folder: Path, entry: Json) -> Path:
    """Return the file of a blob, which has the digest that its entry says."""
    algorithm, _, digits = str(entry["digest"]).partition(":")
    if algorithm != "sha256" or not digits.isalnum():
        raise InvalidRequest(f"{folder}: {str(entry['digest'])[:100]!r} is no SHA-256")
    place = folder / "blobs" / "sha256" / digits
    if not place.is_file() or file_digest(place) != digits:
        raise InvalidRequest(f"{folder}: {entry['digest']} is missing, or was changed")
    return place


def _layers(folder: Path, manifest: Json, config: Json, blobs: Path) -> Iterator[ImageLayer]:
    for entry, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        type = _COMPRESSED.get(entry["mediaType"])
        if type is None:
            raise InvalidRequest(f"{folder} has a layer of type {entry['mediaType']}, which is not "
                                 "read: copy it with gzip or no compression")  # fmt: skip
        place = _blob(folder, entry)
        shutil.copyfile(place, blobs / place.name)
        yield ImageLayer(Descriptor(type, entry["digest"], entry["size"]), diff_id, "base")


def _names(layer: Path) -> list[str]:
    try:
        with tarfile.open(layer) as tar:
            return [PurePosixPath(member.name).as_posix() for member in tar]
    except (OSError, tarfile.TarError) as error:
        raise InvalidRequest(
            f"layer {layer.name[:12]} of the base cannot be read: {error}"
        ) from None


def _interpreter(names: Iterable[str], base: Path) -> str:
    known = {name.removeprefix("./") for name in names}
    for place in _PLACES:
        if f"{place}/{PYTHON}" in known:
            return f"/{place}/{PYTHON}"
    raise InvalidRequest(
        f"{base} has no {PYTHON} in {', '.join(_PLACES)}: the image gets the packages of this "
        f"environment, which are for {PYTHON}; use a base with that, or run the command with the "
        "base's version"
    )


def programs_in(entries: Mapping[str, Content]) -> list[Path]:
    """Return the libraries among entries, whose own libraries a base must have."""
    found = (path for path in entries.values() if isinstance(path, Path) and ".so" in path.name)
    return [path for path in found if is_program(path)]
