"""Where the answers to chunks go: a file for each, until there are all; or a stream.

A part is written in one step, so it is there whole or not at all, and a job that is started again
leaves out the chunks that have one. So each row is in the output once, whatever ends when. The
errors of a chunk are written before its part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import IO, Protocol

from anabranch.client.batch import files
from anabranch.client.batch.answers import ChunkAnswers
from anabranch.client.batch.claim import LOCK
from anabranch.client.batch.formats.contract import OutputColumn, RowFormat
from anabranch.client.batch.formats.jsonl import JsonLines, json_line
from anabranch.client.batch.manifest import JobManifest
from anabranch.components.artefacts.uris import redacted
from anabranch.errors import JobError

MANIFEST = "_job.json"
_PART = re.compile(r"part-(\d{6})(?:\.[a-z]+)+")
_ERRORS = re.compile(r"_errors-(\d{6})\.jsonl")
_TRIALS = re.compile(r"_trials-(\d{6})\.json")


class JobParts(Protocol):
    """Keeps answers by chunk."""

    def done(self) -> dict[int, int]:
        """Return the indexes of the chunks that are kept already, with their rows that failed."""

    def write(self, answers: ChunkAnswers) -> None:
        """Keep the answers to a chunk."""

    def finish(self) -> None:
        """Make one output of all chunks, which are kept."""


@dataclass(eq=False, repr=False)
class PartFiles:
    """Parts in a folder, from which one file is made; or which is the output, where it is one."""

    _place: OutputPlace
    _format: RowFormat
    _columns: Sequence[OutputColumn]

    def done(self) -> dict[int, int]:
        """Return the chunks that have a part, with their rows that failed."""
        names = files.names_in(self._place.folder)
        done = {int(found[1]) for name in names if (found := _PART.fullmatch(name))}
        errors = {int(found[1]) for name in names if (found := _ERRORS.fullmatch(name))}
        return {
            index: files.lines(self._place.errors_of(index)) if index in errors else 0
            for index in done
        }

    def write(self, answers: ChunkAnswers) -> None:
        """Write the errors of a chunk if there are any, then its part."""
        index, failed = answers.chunk.index, answers.failed
        if failed:
            lines = b"".join(json_line(one._asdict()) for one in failed)
            files.put(self._place.errors_of(index), lines)
        else:
            files.remove(self._place.errors_of(index))  # of a start that was cut off here
        content = self._format.encode(self._columns, answers.values(self._columns))
        files.put(self._place.part(index), content)

    def finish(self) -> None:
        """Write the file of errors and, if the output is one file, this file; remove the parts."""
        place, manifest = self._place, self._place.manifest()
        assert manifest is not None
        self._join_errors()
        if not place.is_folder:
            parts = [place.part(chunk.index) for chunk in manifest.chunks]
            with files.putting(place.output) as target:
                self._format.join(self._columns, parts, target)
        place.begin(replace(manifest, is_finished=True))
        place.clear()

    def _join_errors(self) -> None:
        names = sorted(filter(_ERRORS.fullmatch, files.names_in(self._place.folder)))
        if not names:
            files.remove(self._place.errors)
            return
        with files.putting(self._place.errors) as target:
            JsonLines().join([], [f"{self._place.folder}/{name}" for name in names], target)


class OutputPlace:
    """The files of an output, which is a file or a folder of parts of some ``suffix``."""

    def __init__(self, output: str, suffix: str, is_folder: bool) -> None:
        self.output = output.rstrip("/")
        self.is_folder = is_folder
        self.folder = self.output if is_folder else f"{self.output}.parts"
        self.errors = f"{self.output}/_errors.jsonl" if is_folder else f"{output}.errors.jsonl"
        self.suffix = suffix

    def part(self, index: int) -> str:
        """Return the file of a chunk's answers."""
        return f"{self.folder}/part-{index:06}{self.suffix}"

    def errors_of(self, index: int) -> str:
        """Return the file of a chunk's errors."""
        return f"{self.folder}/_errors-{index:06}.jsonl"

    def trials_of(self, index: int) -> str:
        """Return the file of a chunk's requests that were begun and have not ended."""
        return f"{self.folder}/_trials-{index:06}.json"

    def manifest(self) -> JobManifest | None:
        """Return the manifest of the job that was begun here; JobError where it cannot be read."""
        path = f"{self.folder}/{MANIFEST}"
        if not files.exists(path):
            return None
        try:
            return JobManifest.from_json(files.read(path))
        except (ValueError, TypeError, KeyError) as error:
            raise JobError(
                f"{redacted(path)} is no job that can go on ({error}): remove the folder, or start "
                "with --restart"
            ) from None

    def failed(self) -> int:
        """Return how many rows of a finished job have failed."""
        return files.lines(self.errors) if files.exists(self.errors) else 0

    def begin(self, manifest: JobManifest) -> None:
        """Write the manifest."""
        files.put(f"{self.folder}/{MANIFEST}", manifest.to_json())

    def check_free(self) -> None:
        """Raise JobError for a folder that is no job's and has files."""
        if self.is_folder and files.names_in(self.folder).keys() - {LOCK}:
            raise JobError(f"{redacted(self.output)!r} is no empty folder: name another")

    def clear(self) -> None:
        """Remove what nobody needs once the job is finished, the manifest of parts last.

        A folder that is claimed goes with its claim.
        """
        names = files.names_in(self.folder)
        for name in names.keys() - {MANIFEST, LOCK}:
            if not self.is_folder or _ERRORS.fullmatch(name) or _TRIALS.fullmatch(name):
                files.remove(f"{self.folder}/{name}")
        if not self.is_folder:
            files.remove(f"{self.folder}/{MANIFEST}" if LOCK in names else self.folder)

    def restart(self) -> None:
        """Remove a job that was begun here, and its parts."""
        for name in files.names_in(self.folder):
            if any(one.fullmatch(name) for one in (_PART, _ERRORS, _TRIALS)):
                files.remove(f"{self.folder}/{name}")
        files.remove(f"{self.folder}/{MANIFEST}")


class PartStream:
    """Parts that are written to a stream in their order, as JSON lines; errors to another."""

    def __init__(
        self, columns: Sequence[OutputColumn], target: IO[bytes], errors: IO[bytes]
    ) -> None:
        self._columns = columns
        self._target, self._errors = target, errors
        self._waiting: dict[int, ChunkAnswers] = {}
        self._next = 0
        self._lock = Lock()

    def done(self) -> dict[int, int]:
        """Return no chunks: what was written before is not known."""
        return {}

    def write(self, answers: ChunkAnswers) -> None:
        """Write the chunk once those before it are written."""
        with self._lock:
            self._waiting[answers.chunk.index] = answers
            self._write_ready()

    def finish(self) -> None:
        """Do nothing: all is written."""

    def _write_ready(self) -> None:
        while (ready := self._waiting.pop(self._next, None)) is not None:
            self._target.write(JsonLines().encode(self._columns, ready.values(self._columns)))
            self._target.flush()
            for failed in ready.failed:
                self._errors.write(json_line(failed._asdict()))
            self._errors.flush()
            self._next += 1
