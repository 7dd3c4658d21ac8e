"""``python -m anabranch.reference DOCS`` writes the reference below that folder."""

from __future__ import annotations

import sys
from pathlib import Path

from anabranch.reference.pages import write

if __name__ == "__main__":
    write(Path(sys.argv[1]))
