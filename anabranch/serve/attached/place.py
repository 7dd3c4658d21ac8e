"""The place of an engine on each machine of a Ray that somebody else has started.

It is one folder, with the same path on all machines: the Unix sockets, and a home with the files
by which the engine's processes know each other. On the machine of `anabranch up` that home is a
link to the engine's own. What is in it travels by the table of keys and values of Ray's GCS, which
whoever may run code on that Ray can read.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from anabranch.errors import EngineError
from anabranch.files import disk_errors
from anabranch.serve.sockets import SOCKETS

ENTRY = "anabranch.serve.attached.entry.enter"
"""The function that Ray calls first in each process of the engine."""
HOME = "home"
"""Name in the folder."""
SECRET_FILE = "call-secret"
"""File in the home with the secret of calls between replicas."""
_PRIVATE = 0o700


@dataclass(frozen=True)
class EnginePlace:
    """What a machine is to have of an engine.

    ``owner`` says where the engine was started, ``folder`` is the path of the place,
    ``environment`` what all processes have alike, ``files`` the texts of the home's files by their
    paths in it.
    """

    owner: str
    folder: str
    environment: Mapping[str, str] = field(repr=False)
    files: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read what ``to_json`` has written."""
        return cls(**json.loads(text))

    def to_json(self) -> bytes:
        """Write all of it, secrets too."""
        return json.dumps(asdict(self)).encode()

    def make(self) -> None:
        """Make the folder, if this machine has none, in one step.

        EngineError where it is another user's, or open to others; StorageError where there is no
        room for it.
        """
        folder = Path(self.folder)
        if not folder.exists():
            with disk_errors(folder):
                self._make(folder)
        found = folder.lstat()
        is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        if not is_private or found.st_uid != os.getuid():
            raise EngineError(f"{folder} is not a folder that is this user's alone")

    def _make(self, folder: Path) -> None:
        draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            (draft / SOCKETS).mkdir(_PRIVATE)
            for name, text in self.files.items():
                file = draft / HOME / name
                file.parent.mkdir(_PRIVATE, parents=True, exist_ok=True)
                file.touch(0o600)
                file.write_text(text)
            draft.rename(folder)
        except OSError:
            if not folder.exists():  # else another process has been faster
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
