"""The command ``anabranch``. Exit codes: 0 success, 1 failure of the operation, 2 wrong usage."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import traceback
from itertools import pairwise
from typing import NoReturn, Protocol, runtime_checkable

import typer

from anabranch.cli.app import app
from anabranch.cli.terminal import counted
from anabranch.errors import AnabranchError, SpecError


@runtime_checkable
class _UsageError(Protocol):
    """Wrong usage, as typer raises it; the class of these errors has no public name."""

    exit_code: int
    message: str

    def show(self) -> None: ...

    def format_message(self) -> str: ...


def main() -> None:
    """Run the command line of this process. No traceback ever reaches the terminal.

    Where the result was asked for as JSON, a failure is ``{"error": "…"}`` on stdout, too.
    """
    signal.signal(signal.SIGTERM, _leave)
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.Abort:
        _fail("aborted")
    except SpecError as error:
        _fail(f"the spec has {counted(len(error.problems), 'mistake')}:\n{error}")
    except AnabranchError as error:
        _fail(str(error))
    except Exception as error:
        if not isinstance(error, _UsageError):
            _fail(f"unexpected error: {_summary()}; the details are in {_save_traceback()}")
        error.message = error.message.removeprefix("Value error, ")  # pydantic's words, in typer
        error.show()
        _tell_json(error.format_message())
        sys.exit(error.exit_code)


def _leave(number: int, frame: object) -> None:
    """Exit by an exception, so that a half-started engine is stopped."""
    sys.exit(128 + number)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    _tell_json(message)
    sys.exit(1)


def _tell_json(message: str) -> None:
    """Print an error as JSON on stdout, if the command line asks for JSON."""
    words = sys.argv[1:]
    asked = {"-ojson", "--output=json"}.intersection(words) or any(
        pair in (("-o", "json"), ("--output", "json")) for pair in pairwise(words)
    )
    if asked:
        sys.stdout.write(json.dumps({"error": message}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _summary() -> str:
    lines = traceback.format_exception_only(*sys.exc_info()[:2])
    return lines[-1].strip()[:500]


def _save_traceback() -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="anabranch-error-", suffix=".log", delete=False
    ) as file:
        traceback.print_exc(file=file)
    return file.name


if __name__ == "__main__":
    main()
