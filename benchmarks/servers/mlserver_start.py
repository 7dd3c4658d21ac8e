"""Starts MLServer with a model of this folder in place of this process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from script import HOST, Arguments, free_port


def main(told: Arguments, model: dict[str, Any], **server: Any) -> None:
    """Serve ``model``, a model's settings; ``server`` is more of the server's own.

    No worker processes and no debug mode: the fastest way that MLServer has.
    """
    settings = {
        "host": HOST,
        "http_port": told.port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,
        **server,
    }
    (told.folder / "settings.json").write_text(json.dumps(settings))
    (told.folder / "model-settings.json").write_text(json.dumps(model))
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(told.folder)])
