"""Reports on what a bundle holds, and what of it may be there by mistake. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from anabranch.client.bundle.folder import IGNORE_FILE
from anabranch.client.bundle.packing import Bundle
from anabranch.specs.excerpts import clean, listing

MANY = 300
"""A bundle of more files is surprising."""
LARGE = 8 * 2**20
"""A file of more bytes that no node names is surprising."""
_LARGEST = 3
"""Most folders and files that are listed by their sizes."""


def bundle_text(bundle: Bundle) -> str:
    """Return one line on a bundle: its files and bytes, and where most of them are."""
    sizes = bundle.sizes
    text = f"the bundle has {_files(len(sizes))}, {_size(sum(sizes.values()))}"
    largest = _largest(sizes)
    if len(largest) < 2:
        return text
    return f"{text}: " + ", ".join(f"{clean(name)} {_size(size)}" for name, size in largest)


def bundle_warnings(bundle: Bundle, named: Iterable[str]) -> Iterator[str]:
    """Yield what is surprising in a bundle; ``named`` are the paths that its spec names."""
    if len(bundle.sizes) > MANY:
        folders = Counter(_top(name) for name in bundle.sizes)
        most = ", ".join(f"{clean(name)} {count}" for name, count in folders.most_common(_LARGEST))
        yield (
            f"the bundle has {len(bundle.sizes)} files ({most}): {IGNORE_FILE} beside the spec "
            "leaves some out"
        )
    known = {PurePosixPath(name) for name in named}
    large = [
        f"{name} ({_size(size)})"
        for name, size in bundle.sizes.items()
        if size > LARGE and not known & {PurePosixPath(name), *PurePosixPath(name).parents}
    ]
    if large:
        yield (
            f"the bundle has large files that no node names: {listing(large)}; {IGNORE_FILE} "
            "beside the spec leaves them out"
        )
    kept_back = [
        f"{path} ({one.reason.removeprefix('it is ')})"
        for path, one in bundle.left_out.items()
        if one.is_secret
    ]
    if kept_back:
        yield f"left out of the bundle, since it never holds secrets: {listing(kept_back)}"


def bundle_json(bundle: Bundle, warnings: Iterable[str]) -> dict[str, Any]:
    """Return ``{"digest", "files", "bytes", "largest", "warnings"}``."""
    return {
        "digest": bundle.digest,
        "files": len(bundle.sizes),
        "bytes": sum(bundle.sizes.values()),
        "largest": dict(_largest(bundle.sizes)),
        "warnings": list(warnings),
    }


def _largest(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the largest folders and files that lie directly beside the spec."""
    totals: Counter[str] = Counter()
    for name, size in sizes.items():
        totals[_top(name)] += size
    return totals.most_common(_LARGEST)


def _top(name: str) -> str:
    first, separator, _ = name.partition("/")
    return first + separator


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _size(count: int) -> str:
    """Return bytes in the unit that suits them, such as ``3.4 MiB``."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
