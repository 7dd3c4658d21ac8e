"""The revisions of one graph: the commands that bring each into service, and its notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anabranch.errors import FieldPath
from anabranch.importers.fields import Source
from anabranch.importers.result import FieldNote, graph_file


@dataclass(frozen=True)
class RevisionShare:
    """The folder of a revision, and its share of the requests or of their copies, in percent."""

    folder: str
    percent: float
    is_mirror: bool = False


def deploy_commands(graph: str, shares: Sequence[RevisionShare]) -> list[list[str]]:
    """Return the commands for each revision, in order; the first revision is the stable one.

    Revisions are numbered as they are deployed.
    """
    arms = [number for number, share in enumerate(shares) if not share.is_mirror]
    found = []
    for number, share in enumerate(shares):
        command = f"anabranch deploy {graph_file(share.folder)}"
        if share.is_mirror:
            command += f" --mirror {share.percent:g}"
        elif number:
            command += f" --canary {share.percent if len(arms) == 2 else 0:g}"
        found.append([command])
    if len(arms) > 2:
        weights = " ".join(f"r{number + 1}={shares[number].percent:g}" for number in arms)
        found[arms[-1]].append(f"anabranch traffic {graph} {weights}")
    return found


def revision_notes(source: Source, places: Sequence[FieldPath], number: int) -> list[FieldNote]:
    """Return the notes of a revision by its number: those below its place in the manifest.

    Notes below no place are the first revision's, whose place may hold those of the others.
    """
    whole = [(*source.manifest.path, *place) for place in places]

    def owner(note: FieldNote) -> int:
        below = [index for index, place in enumerate(whole) if note.path[: len(place)] == place]
        return max(below, default=0)

    return [note for note in source.notes.found if owner(note) == number]
