"""What a run was made on, for whoever reads its figures later."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

from anabranch.router.http import app

OWN = ("ray", "numpy", "uvicorn", "httptools", "uvloop", "orjson", "msgspec")


def describe() -> dict[str, object]:
    """Processor, load, Python, and the versions and the form of our own environment."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "compiled": is_compiled(),
        "versions": {name: version(name) for name in OWN},
    }


def is_compiled() -> bool:
    """Return whether the modules that each request passes are compiled, as by ``make native``."""
    return Path(app.__file__).suffix != ".py"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
