"""The input of a job: its files, their columns, and the rows of a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anabranch.client.batch import files
from anabranch.client.batch.files import InputFile, input_files
from anabranch.client.batch.formats.by_suffix import common_suffix, format_of
from anabranch.client.batch.formats.contract import ArrowTypes, RowFormat
from anabranch.client.batch.manifest import JobManifest
from anabranch.client.batch.mapping import ROW, numbered
from anabranch.client.batch.rows import FEWEST, Chunk, InputRows, RowSpan, chunked
from anabranch.components.artefacts.uris import redacted
from anabranch.errors import JobError


@dataclass(frozen=True)
class JobSource:
    """Files of one format."""

    files: Sequence[InputFile]
    suffix: str
    format: RowFormat

    @classmethod
    def of(cls, url: str) -> JobSource:
        """Return the files of a path or URL; JobError for none, and for several formats."""
        found = input_files(url)
        suffix = common_suffix(found)
        return cls(found, suffix, format_of(suffix))

    def types(self) -> ArrowTypes:
        """Return the columns of the first file."""
        return self._columns(self.files[0])

    def headers(self) -> list[list[str]]:
        """Return the columns of each file."""
        return [list(self._columns(file)) for file in self.files]

    def _columns(self, file: InputFile) -> ArrowTypes:
        with files.reading(file.url) as content:
            try:
                return self.format.columns(content)
            except JobError as error:
                raise JobError(f"{redacted(file.url)}: {error}") from None

    def chunks(self, rows: int | None) -> list[Chunk]:
        """Divide all files into chunks."""
        spans: list[RowSpan] = []
        for number, file in enumerate(self.files):
            with files.reading(file.url) as content:
                spans += self.format.spans(content, number, rows or FEWEST)
        return chunked(spans, rows)

    def read(self, manifest: JobManifest, chunk: Chunk, columns: Sequence[str]) -> InputRows:
        """Return columns of a chunk, and the numbers of its rows; JobError if it has changed."""
        span = chunk.span
        file, header = self.files[span.file], manifest.headers[span.file]
        read = [name for name in columns if name != ROW or ROW in header]
        with files.reading_errors(file.url):
            rows = self.format.read(file.url, span, read, header)
        if rows.count != span.rows:
            raise JobError(
                f"{redacted(file.url)} has changed: {span.rows} rows were at {span.at}, "
                f"now {rows.count}"
            )
        return numbered(rows, chunk.start)
