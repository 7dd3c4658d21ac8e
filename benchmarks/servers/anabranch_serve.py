"""anabranch in one process, without an engine: ``anabranch serve``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from script import arguments

if __name__ == "__main__":
    told = arguments()
    program = Path(sys.executable).with_name("anabranch")
    os.execv(program, [str(program), "serve", str(told.spec), "--port", str(told.port)])
