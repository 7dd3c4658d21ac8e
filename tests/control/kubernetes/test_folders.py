"""Files of graphs in ConfigMaps, and back."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.client.prepared import prepare_file
from anabranch.control.kubernetes.folders import MOST_BYTES, GraphFolder, config_data, volume
from anabranch.control.kubernetes.manifests import graphs
from anabranch.control.kubernetes.pods import Installation, Json
from anabranch.errors import TooLarge
from tests.examples import examples

EXAMPLE = Path(__file__).parents[3] / "examples" / "quickstart"
NAMES = st.text(min_size=1, max_size=20).filter(lambda text: "/" not in text and "\0" not in text)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def mounted(map_: Json, source: Json) -> dict[str, bytes]:
    """Return the files by path, as a volume has them."""
    data = {key: text.encode() for key, text in map_.get("data", {}).items()}
    data |= {key: base64.b64decode(text) for key, text in map_.get("binaryData", {}).items()}
    return {one["path"]: data[one["key"]] for one in source["configMap"]["items"]}


@settings(max_examples=examples(100), deadline=None)
@given(st.dictionaries(PATHS, st.binary(max_size=50) | st.text(max_size=50).map(str.encode)))
def test_files_come_out_of_the_volume_as_they_were(files: dict[str, bytes]) -> None:
    folder = GraphFolder("shop", "graph.yaml", files)
    assert mounted(config_data(folder), volume(folder, "map")) == files


def test_a_config_map_takes_a_mebibyte() -> None:
    config_data(GraphFolder("shop", "g", {"g": bytes(MOST_BYTES)}))
    with pytest.raises(TooLarge, match="graph 'shop' have 1,048,577 bytes"):
        config_data(GraphFolder("shop", "g", {"g": bytes(MOST_BYTES), "h": b"1"}))


def test_the_job_sends_the_bundle_that_was_exported(tmp_path: Path) -> None:
    """In volumes of ConfigMaps files and folders are links into a hidden folder."""
    local = tmp_path / "local"
    (local / "models").mkdir(parents=True)
    for file in EXAMPLE.glob("*.[py]*"):
        (local / file.name).write_bytes(file.read_bytes())
    (local / "models" / "weights.bin").write_bytes(b"\xff\0")
    prepared = prepare_file(local / "graph.yaml", tmp_path / "home")
    folder = GraphFolder.of(prepared, "graph.yaml")
    map_, job = graphs(Installation("shop", "image"), [folder], layer=False)
    pod = job["spec"]["template"]["spec"]
    place = tmp_path / "graphs" / "quickstart"
    hidden = place / "..2026"
    for name, content in mounted(map_, pod["volumes"][1]).items():
        (hidden / name).parent.mkdir(parents=True, exist_ok=True)
        (hidden / name).write_bytes(content)
    (place / "..data").symlink_to("..2026")
    for one in hidden.iterdir():
        (place / one.name).symlink_to(f"..data/{one.name}")
    assert pod["containers"][0]["volumeMounts"][1]["mountPath"] == "/graphs/quickstart"
    command = pod["containers"][0]["command"]
    other = [word.replace("/tmp", f"{tmp_path}/tmp") for word in command]
    other = [word.replace(" /graphs", f" {tmp_path}/graphs") for word in other]
    (tmp_path / "tmp").mkdir()
    (tmp_path / "anabranch").write_text('#!/bin/sh\necho "$2" > deployed\n')
    (tmp_path / "anabranch").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(other, check=True, cwd=tmp_path, env=env)
    sent = Path((tmp_path / "deployed").read_text().strip())
    assert sent == tmp_path / "tmp/graphs/quickstart/graph.yaml"
    assert prepare_file(sent, tmp_path / "home").bundle.digest == prepared.bundle.digest
