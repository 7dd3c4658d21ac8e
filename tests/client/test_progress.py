"""Progress is one line that is written again, where somebody looks, and nothing elsewhere."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from anabranch.client.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class OutStream(io.StringIO):
    """Stands for the stream of Jupyter's kernel, which is no terminal."""


def shown() -> None:
    with progress("sending") as say:
        say("revision 3 is pending")
        say("live")


REWRITTEN = f"\rsending\rrevision 3 is pending\r{'live':<21}\n"


def test_on_a_terminal_one_line_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown()
    assert sys.stderr.getvalue() == REWRITTEN  # type: ignore[attr-defined]


def test_in_a_notebook_it_is_written_to_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimpleNamespace(OutStream=OutStream)
    monkeypatch.setitem(sys.modules, "ipykernel.iostream", kernel)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdout", OutStream())
    shown()
    assert sys.stdout.getvalue() == REWRITTEN  # type: ignore[attr-defined]


def test_elsewhere_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    shown()
    assert capsys.readouterr() == ("", "")


def test_the_line_ends_where_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ValueError, match="no"), progress("sending"):
        raise ValueError("no")
    assert sys.stderr.getvalue() == "\rsending\n"  # type: ignore[attr-defined]
