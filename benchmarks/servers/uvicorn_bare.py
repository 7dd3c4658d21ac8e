"""The floor: one ASGI application on uvicorn, with httptools and uvloop."""

from __future__ import annotations

import uvicorn
from handmade import App, in_process
from script import HOST, arguments

if __name__ == "__main__":
    uvicorn.run(
        App(in_process),
        host=HOST,
        port=arguments().port,
        http="httptools",
        loop="uvloop",
        log_level="warning",
        access_log=False,
    )
