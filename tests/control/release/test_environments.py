from __future__ import annotations

import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from anabranch.control.release.environments import Environments
from anabranch.errors import DeployError

WHEEL = "tinydep-{version}-py3-none-any.whl"


def wheel(version: str) -> bytes:
    buffer = BytesIO()
    info = f"tinydep-{version}.dist-info"
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tinydep.py", f"VERSION = {version!r}\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinydep\nVersion: {version}\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()


def bundle(version: str) -> dict[str, bytes]:
    name = WHEEL.format(version=version)
    return {"requirements.txt": f"./wheels/{name}\n".encode(), f"wheels/{name}": wheel(version)}


def run(python: Path, code: str) -> str:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    return Environments(tmp_path / "environments", 120)


@pytest.mark.parametrize("requirements", [None, b"", b"\n# nothing\n"])
def test_bundles_that_ask_for_nothing_run_in_the_engines_own(
    environments: Environments, requirements: bytes | None
) -> None:
    files = {} if requirements is None else {"requirements.txt": requirements}
    assert environments.python(files) is None


@pytest.mark.parametrize(
    "versions", [["1.0"], pytest.param(["1.0", "2.0"], marks=pytest.mark.nightly)]
)
def test_bundles_with_different_dependencies(
    environments: Environments, versions: list[str]
) -> None:
    bundles = {version: bundle(version) for version in versions}
    pythons = {version: environments.python(files) for version, files in bundles.items()}
    for version, python in pythons.items():
        assert python is not None
        assert run(python, "import tinydep; print(tinydep.VERSION)") == version
        assert run(python, "import numpy, anabranch.errors; print('seen')") == "seen"
        assert environments.python(bundles[version]) == python


def test_what_cannot_be_installed_says_why(environments: Environments) -> None:
    files = {"requirements.txt": b"./wheels/none-1.0-py3-none-any.whl\n"}
    for _ in range(2):
        with pytest.raises(DeployError, match=r"requirements\.txt: .*none-1\.0"):
            environments.python(files)
