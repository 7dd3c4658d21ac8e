"""What is said of a home without an engine; the end-to-end tests examine engines."""

from pathlib import Path

import pytest

from anabranch.control.engine.doctor import examine, ill


@pytest.mark.parametrize(("mode", "remedies"), [(0o700, 0), (0o755, 1)])
def test_a_home_that_others_may_read_is_ill(tmp_path: Path, mode: int, remedies: int) -> None:
    tmp_path.chmod(mode)
    found = {one.part: one for one in examine(tmp_path)}
    assert str(tmp_path) in found["home"].state
    assert [one.remedy for one in ill([found["home"]])] == [f"chmod 700 {tmp_path}"] * remedies
    assert found["engine"].remedy == "anabranch up"
