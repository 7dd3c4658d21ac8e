"""Exports of every example are what Kubernetes, KubeRay and Prometheus' operator take."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from anabranch.client.bundle.checks import named_paths
from anabranch.client.prepared import prepare_file
from anabranch.control.kubernetes.export import export
from anabranch.control.kubernetes.folders import GraphFolder
from anabranch.control.kubernetes.groups import WorkerGroup, worker_groups
from anabranch.control.kubernetes.pods import Installation
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.graph.compile.loading import open_graph
from tests.control.kubernetes.schemas import documents, mistakes

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/graph.yaml"))
OF = Installation("shop", "registry.example/shop:1", "ml")
GROUPS = [WorkerGroup("cpu")]
SMALL = GraphFolder("team/small", "graph.yaml", {"graph.yaml": b"a", "models/m": b"\xff"})
BIG = GraphFolder("big", "graph.yaml", {"graph.yaml": b"", "model": bytes(2**20 + 1)})


def objects(files: dict[str, bytes]) -> list[Any]:
    return [
        one for name, text in files.items() if name.endswith(".yaml") and "/" not in name
        for one in documents(text)
    ]  # fmt: skip


def example(name: str, folder: Path) -> Path:
    """Return the spec of a copy of an example, in which empty files are its trained models."""
    shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("models"))
    spec = folder / name / "graph.yaml"
    for named in named_paths(open_graph(spec)):
        path = folder / name / named
        if named.startswith("models/") and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    return spec


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layer", [False, True])
def test_the_export_of_an_example_is_valid(name: str, layer: bool, tmp_path: Path) -> None:
    spec = example(name, tmp_path)
    folder = GraphFolder.of(prepare_file(spec, tmp_path / "home"), spec.name)
    files = export(OF, worker_groups([open_graph(spec).plan]), [folder], layer)
    found = objects(files)
    kinds = {one["kind"] for one in found}
    assert kinds >= {"RayCluster", "Service", "PodMonitor", "Job", "NetworkPolicy"}
    assert ("ConfigMap" in kinds) is not layer
    assert [mistake for one in found for mistake in mistakes(one)] == []


def test_groups_with_labels_and_resources_of_their_own_are_valid() -> None:
    west = WorkerGroup("cpu-fpga", custom={"fpga": 1}, labels={"zone": "west"})
    found = objects(export(OF, [*GROUPS, west], [SMALL]))
    assert [mistake for one in found for mistake in mistakes(one)] == []


def test_an_unknown_field_is_a_mistake() -> None:
    for one in objects(export(OF, GROUPS, [SMALL])):
        one["metadata"]["nonsense"] = 1
        assert mistakes(one), one["kind"]
    cluster = next(o for o in objects(export(OF, GROUPS, [SMALL])) if o["kind"] == "RayCluster")
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["comand"] = []
    cluster["spec"]["workerGroupSpecs"][0]["replicas"] = "1"
    assert len(mistakes(cluster)) == 2


def test_the_readme_has_six_lines_with_every_command() -> None:
    gpu = WorkerGroup("gpu-a100", gpu=1, accelerator="A100")
    west = WorkerGroup("cpu-fpga", custom={"fpga": 1}, labels={"zone": "west"})
    text = export(OF, [*GROUPS, gpu, west], [SMALL])["README.md"].decode()
    lines = text.splitlines()
    assert [line[:2] for line in lines] == [f"{number}." for number in range(1, 7)]
    assert all("{" not in line for line in lines)
    job = next(o for o in objects(export(OF, GROUPS, [SMALL])) if o["kind"] == "Job")
    assert f"job/{job['metadata']['name']}`" in lines[3]
    assert "`gpu-a100` need nodes with A100" in lines[3]
    assert "`cpu-fpga` need nodes with fpga" in lines[3]
    assert "`cpu-fpga` go to nodes that have the label `zone=west`." in lines[3]
    assert text.count("kubectl --namespace ml ") == text.count("kubectl ")


def test_what_does_not_fit_into_a_config_map_goes_into_the_image() -> None:
    with pytest.raises(TooLarge, match=r"'big' have 1,048,577 bytes.*1MiB.*--layer"):
        export(OF, GROUPS, [BIG])
    files = export(OF, GROUPS, [BIG], layer=True)
    assert files["image/graphs/big/model"] == BIG.files["model"]
    assert b"COPY graphs /graphs\n" in files["image/Dockerfile"]
    assert b"docker build --build-arg BASE=anabranch:base" in files["README.md"]


@pytest.mark.parametrize("name", ["", "Shop", "1shop", "shop-", "a" * 41, "sh_op"])
def test_a_name_that_kubernetes_refuses_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="--name"):
        export(Installation(name, "image"), GROUPS, [SMALL])


def test_two_files_of_one_graph_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="two of the files have graph 'team/small'"):
        export(OF, GROUPS, [SMALL, SMALL])


def test_shared_models_are_deployed_before_the_graphs_that_use_them(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "shared", tmp_path / "shared")
    names = ("pay.yaml", "model.yaml", "refund.yaml")
    for named in named_paths(open_graph(tmp_path / "shared" / "model.yaml")):
        (tmp_path / "shared" / named).touch()
    folders = [
        GraphFolder.of(prepare_file(tmp_path / "shared" / name, tmp_path / "home"), name)
        for name in names
    ]
    (job,) = (one for one in objects(export(OF, GROUPS, folders, True)) if one["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    deployed = [Path(word).name for word in container["command"] if word.endswith(".yaml")]
    assert deployed == ["model.yaml", "pay.yaml", "refund.yaml"]
