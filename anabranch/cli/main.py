"""The command ``anabranch``. Exit codes: 0 success, 1 failure of the operation, 2 wrong usage."""

from __future__ import annotations

import signal
import sys
import tempfile
import traceback

from anabranch.cli.app import app
from anabranch.errors import AnabranchError, SpecError


def main() -> None:
    """Run the command line of this process. No traceback ever reaches the terminal."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        app()
    except SpecError as error:
        count = len(error.problems)
        _fail(f"the spec has {count} {'mistake' if count == 1 else 'mistakes'}:\n{error}")
    except AnabranchError as error:
        _fail(str(error))
    except Exception:
        _fail(f"unexpected error: {_summary()}; the details are in {_save_traceback()}")


def _leave(number: int, frame: object) -> None:
    """Exit by an exception, so that a half-started engine is stopped."""
    sys.exit(128 + number)


def _fail(message: str) -> None:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(1)


def _summary() -> str:
    lines = traceback.format_exception_only(*sys.exc_info()[:2])
    return lines[-1].strip()[:500]


def _save_traceback() -> str:
    """Write the traceback to a new file, and return its name."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="anabranch-error-", suffix=".log", delete=False
    ) as file:
        traceback.print_exc(file=file)
    return file.name


if __name__ == "__main__":
    main()
