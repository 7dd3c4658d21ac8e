"""The formats, by the suffixes of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from anabranch.client.batch.compression import ENDS, compression_of
from anabranch.client.batch.files import InputFile
from anabranch.client.batch.formats.contract import RowFormat
from anabranch.client.batch.formats.csv_files import CsvFiles
from anabranch.client.batch.formats.jsonl import JsonLines
from anabranch.client.batch.formats.parquet import ParquetFiles
from anabranch.components.artefacts.uris import redacted
from anabranch.components.contract import CannotLoad
from anabranch.errors import JobError

_LINES: dict[str, Callable[[], RowFormat]] = {
    ".csv": CsvFiles,
    ".tsv": lambda: CsvFiles("\t"),
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
}
_COMPRESSED = {f"{suffix}{end}": made for suffix, made in _LINES.items() for end in ENDS}
_FORMATS: dict[str, Callable[[], RowFormat]] = {
    ".parquet": ParquetFiles, **_LINES, **_COMPRESSED
}  # fmt: skip
SUFFIXES = tuple(_FORMATS)
_KNOWN = f"{', '.join(['.parquet', *_LINES])}, and all but the first also with {' or '.join(ENDS)}"


def suffix_of(url: str) -> str:
    """Return the suffix by which a file's format is known; JobError for one that is not."""
    path = PurePosixPath(url.partition("?")[0].lower())
    end = compression_of(path.name)
    suffix = PurePosixPath(path.name.removesuffix(end)).suffix + end
    if suffix not in _FORMATS:
        raise JobError(f"{redacted(url)!r} is of no known format: files end with {_KNOWN}")
    return suffix.replace(".ndjson", ".jsonl")


def format_of(suffix: str) -> RowFormat:
    """Return the format of a suffix that ``suffix_of`` has given; JobError without its library."""
    try:
        return _FORMATS[suffix]()
    except CannotLoad as error:
        raise JobError(str(error)) from None


def common_suffix(files: Sequence[InputFile]) -> str:
    """Return the suffix of all files of an input; JobError where they are of several formats."""
    found = {suffix_of(file.url): file.url for file in files}
    if len(found) > 1:
        shown = " and ".join(redacted(url) for url in list(found.values())[:2])
        raise JobError(f"all files of an input are of one format; there are {shown}")
    return next(iter(found))
