"""An output has one writer at a time, and claims leave nothing behind."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from anabranch.client.batch.claim import LOCK, claimed, this_process
from anabranch.errors import JobError, Unavailable

_HOLDING = """
import asyncio, sys
from anabranch.client.batch.claim import claimed

async def main():
    async with claimed(sys.argv[1], "the first"):
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def test_the_second_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    async def main() -> None:
        async with claimed(str(tmp_path / "parts"), "job 1 of the engine"):
            with pytest.raises(JobError, match=r"parts is being written by job 1 of the engine:"):
                async with claimed(str(tmp_path / "parts"), this_process(), patience=0.0):
                    pass

    asyncio.run(main())
    assert not (tmp_path / "parts").exists()


def test_a_folder_that_cannot_be_is_not_taken_for_one_that_is_held() -> None:
    async def main() -> None:
        with pytest.raises(JobError, match=r"/proc/none/parts: there is no such file or folder"):
            async with claimed("/proc/none/parts", this_process(), patience=0.0):
                pass

    asyncio.run(main())


def test_a_lock_that_is_a_link_empties_no_other_file(tmp_path: Path) -> None:
    (other := tmp_path / "other").write_text("kept")
    (tmp_path / LOCK).symlink_to(other)

    async def main() -> None:
        with pytest.raises(Unavailable, match="symbolic links"):
            async with claimed(str(tmp_path), this_process()):
                pass

    asyncio.run(main())
    assert other.read_text() == "kept"


def test_a_claim_is_gone_with_the_process_that_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "parts"
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDING, str(folder)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    process.kill()
    process.communicate()
    assert (folder / LOCK).read_text() == "the first"

    async def main() -> None:
        async with claimed(str(folder), "the second", patience=0.0):
            assert (folder / LOCK).read_text() == "the second"

    asyncio.run(main())
    assert not folder.exists()
    assert folder.parent.exists()


def test_folders_that_were_made_for_a_claim_go_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with claimed(str(tmp_path / "deep" / "parts"), "a"):
            assert (tmp_path / "deep" / "parts" / LOCK).exists()

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_claims_wait_for_each_other_and_never_overlap(tmp_path: Path) -> None:
    """Each removes the file of its lock, and the folder, as the next one waits for them."""
    inside = most = 0

    async def hold(number: int) -> None:
        nonlocal inside, most
        async with claimed(str(tmp_path / "parts"), str(number), patience=60.0):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    async def main() -> None:
        await asyncio.gather(*map(hold, range(12)))

    asyncio.run(main())
    assert most == 1
    assert not (tmp_path / "parts").exists()


def test_files_in_the_folder_stay_and_other_file_systems_have_no_claims(tmp_path: Path) -> None:
    (tmp_path / "part").write_text("rows")

    async def main() -> None:
        bucket = "memory://jobs/parts"
        async with claimed(str(tmp_path), "a"), claimed(bucket, "a"), claimed(bucket, "b", 0.0):
            pass

    asyncio.run(main())
    assert [one.name for one in tmp_path.iterdir()] == ["part"]
