from __future__ import annotations

import subprocess
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

import pytest

from anabranch.client.bundle.packing import digest
from anabranch.client.bundle.unpacking import write_files
from anabranch.components.artefacts.locks import locked
from anabranch.control.release.environments import Environments, key
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


def python_of(environments: Environments, files: Mapping[str, bytes]) -> Path | None:
    requirements = files.get("requirements.txt", b"")
    return environments.python(requirements, digest(files), partial(write_files, files))


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
    assert python_of(environments, files) is None


@pytest.mark.parametrize(
    "versions", [["1.0"], pytest.param(["1.0", "2.0"], marks=pytest.mark.nightly)]
)
def test_bundles_with_different_dependencies(
    environments: Environments, versions: list[str]
) -> None:
    bundles = {version: bundle(version) for version in versions}
    pythons = {version: python_of(environments, files) for version, files in bundles.items()}
    for version, python in pythons.items():
        assert python is not None
        assert run(python, "import tinydep; print(tinydep.VERSION)") == version
        assert run(python, "import numpy, anabranch.errors; print('seen')") == "seen"
        assert python_of(environments, bundles[version]) == python


def test_what_cannot_be_installed_says_why(environments: Environments) -> None:
    files = {"requirements.txt": b"./wheels/none-1.0-py3-none-any.whl\n"}
    for _ in range(2):
        with pytest.raises(DeployError, match=r"requirements\.txt: .*none-1\.0"):
            python_of(environments, files)


def test_one_process_makes_an_environment_while_others_wait(tmp_path: Path) -> None:
    files, made = bundle("1.0"), []

    def write(folder: Path) -> None:
        made.append(folder)
        write_files(files, folder)

    def python(_: int) -> Path | None:
        # Each has locks of its own, as processes have.
        one = Environments(tmp_path / "environments", 120)
        return one.python(files["requirements.txt"], digest(files), write)

    with ThreadPoolExecutor(4) as pool:
        (found,) = set(pool.map(python, range(4)))
    assert found is not None
    assert run(found, "import tinydep; print(tinydep.VERSION)") == "1.0"
    assert len(made) == 1


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    files = bundle("1.0")
    one, name = Environments(tmp_path / "environments", 0.1), key(files["requirements.txt"], "d")
    with (
        locked(tmp_path / "environments-locks" / name, time.monotonic()),
        pytest.raises(DeployError, match=r"requirements\.txt: another process did not end"),
    ):
        one.python(files["requirements.txt"], "d", partial(write_files, files))
