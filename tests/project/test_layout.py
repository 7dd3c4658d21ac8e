"""The package is laid out as its rules and the docs say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from anabranch.graph.compile.compiler import PASSES
from tests.project import layout

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "anabranch"
MOST_FILES = 18
_ASK_RAY = ("detaching", "driver", "examining", "presence")
KNOWS_RAY = (
    "serve/",
    "control/controller.py",
    *(f"control/engine/attaching/{name}.py" for name in _ASK_RAY),
    *(f"control/engine/{name}.py" for name in ("boot", "driver", "head", "loopback")),
    "control/engine/supervision/node.py",
    "control/nodes/cluster.py",
    "control/reconcile/serving.py",
)
OF_MODELS = (
    "torch",
    "sklearn",
    "captum",
    "alibi",
    "matplotlib",
    "xgboost",
    "transformers",
    "mlflow",
)
"""Libraries that take seconds to import."""
NAMES_UPPER = ("components/builtins.py",)
"""The list of modules that register built-ins, and are imported when one is first asked for."""
TESTS_OF_NO_MODULE = {
    "benchmarks/": "mirrors benchmarks/",
    "e2e/": "everything together, on a real engine",
    "project/": "the project: its layout, docs, examples and dependencies",
    "components/bandits/test_strategies.py": "laws of all bandits",
    "components/runtimes/onnx/test_gpu.py": "the part of test_runtime.py that needs a GPU",
    "components/runtimes/test_torch_gpu.py": "the part of test_torch.py that needs a GPU",
    "components/runtimes/test_trees.py": "XGBoost, LightGBM and CatBoost, which are imported once",
    "components/test_bf16.py": "all built-ins on BF16",
    "control/reconcile/test_convergence.py": "lifecycle, store and reconciler together",
    "explainers/alibi/test_documented.py": "all methods against the docs",
    "explainers/alibi/test_saved.py": "all methods that can be saved",
    "graph/calls/test_called.py": "calls of all kinds, in the pulse of their process",
    "graph/compile/test_mistakes.py": "mistakes of all passes at once",
    "graph/execute/test_executor_properties.py": "the executor on random graphs",
    "graph/execute/test_tracing.py": "spans of nodes, steps and batches",
    "importers/test_any_manifest.py": "hostile values anywhere in manifests of all kinds",
    "monitors/test_methods.py": "laws of all methods",
    "router/console/test_browser.py": "the console's pages, in a browser",
    "router/console/test_views.py": "the console's views, in a browser at three widths",
    "router/grpc/test_counting.py": "calls through a whole server",
    "router/grpc/test_fuzz.py": "malformed messages to a whole server",
    "router/http/test_counting.py": "requests through a whole application",
    "router/http/doors/test_seldon_components.py": "the door before components of Seldon's",
    "router/http/doors/test_seldon_fuzz.py": "whatever Seldon's clients send",
    "router/http/doors/test_seldon_traffic.py": "traffic, access and metrics, by Seldon's clients",
    "router/seldon/test_wrapper.py": "the same classes behind Seldon's own wrapper",
    "router/test_bytes_under_way.py": "what large requests hold, through whole servers",
    "router/test_request_limits.py": "bounds on requests over all protocols",
    "router/oip/test_fuzz.py": "malformed requests to a whole server",
    "serve/edge/test_deadlines.py": "the real HAProxy before routers that never answer",
    "serve/edge/test_deaths.py": "HAProxy and its owner die",
    "serve/edge/test_foreign_clients.py": "clients of others before the real HAProxy",
    "serve/edge/test_framing.py": "where a message ends, by HAProxy",
    "serve/edge/test_full_disk.py": "the real HAProxy on a disk without space",
    "serve/edge/test_grpc_alike.py": "calls by both ways through the real HAProxy",
    "serve/edge/test_grpc_arriving.py": "large messages through the real HAProxy to a front",
    "serve/edge/test_grpc_hostile.py": "hostile calls to the real HAProxy",
    "serve/edge/test_grpc_seldon.py": "Seldon's calls through the real HAProxy",
    "serve/edge/test_limits.py": "limits of the real HAProxy",
    "serve/edge/test_refused_bodies.py": "endless bodies, to a router and through HAProxy",
    "serve/edge/test_retries.py": "requests that the real HAProxy sends again",
    "serve/edge/test_start.py": "how the real HAProxy starts and ends",
    "serve/replicas/test_stuck.py": "replicas whose threads are held",
    "specs/test_bombs.py": "hostile specs",
    "specs/test_fuzz.py": "mutated specs",
}


def floors() -> layout.Floors:
    """The floors of the import contract, uppermost first."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contract = next(one for one in tools["importlinter"]["contracts"] if one["type"] == "layers")
    return [re.findall(r"anabranch\.(\w+)", floor) for floor in contract["layers"]]


def test_no_folder_is_crowded() -> None:
    assert layout.crowded(PACKAGE, MOST_FILES) == []


def test_ray_is_imported_in_its_places_only() -> None:
    assert layout.imports_of(PACKAGE, "ray", KNOWS_RAY) == []


def test_no_two_public_classes_share_a_name() -> None:
    assert layout.repeated_classes(PACKAGE) == []


def test_every_folder_says_what_is_in_it() -> None:
    assert layout.untold(PACKAGE) == []


def test_no_floor_names_an_upper_one() -> None:
    assert layout.named_upwards(PACKAGE, floors(), NAMES_UPPER) == []


def test_each_module_that_may_be_compiled_exists() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    modules = wheel["targets"]["wheel"]["hooks"]["mypyc"]["include"]
    assert [module for module in modules if not (ROOT / module).is_file()] == []


def test_tests_mirror_the_package() -> None:
    assert layout.unmirrored(PACKAGE, ROOT / "tests", TESTS_OF_NO_MODULE) == []


def test_helpers_of_all_tests_exist_once() -> None:
    homes = {
        "Clock": ["clock.py"],
        "Engine": ["engines.py"],
        "eventually": ["waiting.py"],
        "free_ports": ["ports.py"],
        "until": ["waiting.py"],
    }
    assert layout.defined(ROOT / "tests", homes) == homes


def test_each_benchmark_is_listed_and_runs_by_night() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    found = re.search(r"^BENCHMARKS := (.*)$", makefile, re.MULTILINE)
    assert found is not None
    listed = {one.rpartition(".")[2] for one in found[1].split()}
    modules = (ROOT / "benchmarks").glob("*.py")
    written = {one.stem for one in modules if "from benchmarks.options import" in one.read_text()}
    assert listed == written - {"__main__"} | {"benchmarks"}
    nightly = (ROOT / "tests" / "benchmarks" / "test_nightly.py").read_text()
    assert listed <= set(re.findall(r'"(?:benchmarks\.)?(\w+)"', nightly))


def made_up(folder: Path, **files: str) -> Path:
    """Write modules by their paths, with `__` for a slash, and return the package's folder."""
    for name, text in files.items():
        path = (folder / "house" / name.replace("__", "/")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "house"


def test_a_crowded_folder_is_found(tmp_path: Path) -> None:
    package = made_up(tmp_path, attic__a="", attic__b="", cellar__a="")
    assert layout.crowded(package, 2) == []
    assert layout.crowded(package, 1) == [f"{package / 'attic'}: 2 files"]


def test_every_import_of_ray_is_found(tmp_path: Path) -> None:
    package = made_up(
        tmp_path,
        serve__a="import ray",
        control__a="import ray",
        control__b="def f():\n    from ray.util import state\n",
        control__c="import json, ray.serve as serve",
        control__d="import rays\nfrom . import ray\ntext = 'import ray'",
    )
    found = layout.imports_of(package, "ray", ["serve/", "control/a.py"])
    assert found == [f"{package / 'control/b.py'}:2", f"{package / 'control/c.py'}:1"]


def test_an_import_on_collection_is_found(tmp_path: Path) -> None:
    package = made_up(
        tmp_path,
        a="import torch.nn",
        b="with quiet():\n    library = pytest.importorskip('torch.export')",
        c="def f():\n    import torch\ntext = 'torch'\npytest.importorskip('torchvision')",
    )
    found = layout.imported_on_collection(package, "torch")
    assert found == [str(package / "a.py"), str(package / "b.py")]


def test_a_class_name_used_twice_is_found(tmp_path: Path) -> None:
    package = made_up(
        tmp_path,
        a="class Door: ...\nclass _Hinge: ...\n@register('window', 'max')\nclass Max: ...",
        cellar__b="class Door: ...\nclass _Hinge: ...\n@register('door', 'max')\nclass Max: ...",
        c="def f():\n    class Door: ...",
    )
    assert layout.repeated_classes(package) == [
        f"Door: {package / 'a.py'}, {package / 'cellar/b.py'}"
    ]


def test_definitions_of_a_name_are_found(tmp_path: Path) -> None:
    package = made_up(
        tmp_path,
        a="class Door: ...",
        cellar__b="async def Door(): ...\nDoor = 1",
        c="def f():\n    class Door: ...\nclass House:\n    def Door(self): ...",
    )
    found = layout.defined(package, ["Door", "Roof"])
    assert found == {"Door": ["a.py", "cellar/b.py"], "Roof": []}


def test_a_folder_without_its_sentence_is_found(tmp_path: Path) -> None:
    package = made_up(tmp_path, missing__a="")
    texts = {
        "empty": "",
        "code": "x = 1",
        "title": '"""Things"""',
        "two": '"""All doors. And windows."""',
        "one": '"""All doors\nof the house, 1.5 m wide or more.\n\nLine by line. Yes."""',
    }
    for name, text in texts.items():
        (package / name).mkdir()
        (package / name / "__init__.py").write_text(text)
    found = [Path(one).name for one in layout.untold(package)]
    assert found == ["code", "empty", "missing", "title", "two"]


def test_a_name_of_an_upper_floor_is_found(tmp_path: Path) -> None:
    package = made_up(
        tmp_path,
        attic__a="x = 'house.cellar.a', 'house.attic.b'",
        left__a="x = 'house.right.a'",
        right__a='"""Below house.attic."""\nx = \'house.cellar.a\'',
        cellar__a="run(f'-m house.attic.{module}')",
        cellar__b="x = 'house.attics', 'a house.', 'house.json'",
        cellar__c="x = 'house.left'",
    )
    storeys = [["attic"], ["left", "right"], ["cellar"]]
    found = layout.named_upwards(package, storeys, ["cellar/c.py"])
    assert found == [
        f"{package / 'cellar/a.py'}:1: -m house.attic.",
        f"{package / 'left/a.py'}:1: house.right.a",
    ]


def test_a_test_of_no_module_is_found(tmp_path: Path) -> None:
    package = made_up(tmp_path, a="", cellar__b="")
    for name in ("test_a", "test_cellar", "cellar/test_b", "cellar/test_a", "e/test_x"):
        path = tmp_path / "tests" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    exceptions = {"e/": "reasons", "cellar/test_b.py": "none", "test_gone.py": "none"}
    assert layout.unmirrored(package, tmp_path / "tests", exceptions) == [
        "cellar/test_a.py tests no module",
        "cellar/test_b.py needs no exception",
        "test_gone.py needs no exception",
    ]


def test_the_architecture_lists_every_pass_in_order() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.split("| pass | does |")[1].split("\n\n")[0]
    listed = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert listed == [one.__name__ for one in PASSES]


def test_the_architecture_lists_every_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = {path.parent.name for path in (ROOT / "anabranch").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `anabranch/(\w+)`", text, re.MULTILINE)) == packages


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        text = re.sub(r"`[^`\n]*`", "", document.read_text())
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_what_starts_an_engine_is_marked_and_does_not_run_beside_the_others() -> None:
    for module in (ROOT / "tests" / "e2e").glob("test_*.py"):
        assert "pytest.mark.e2e" in module.read_text().partition("\npytestmark = ")[2], module


def test_what_starts_an_engine_elsewhere_is_for_the_night() -> None:
    """``make test`` looks for engines in ``tests/e2e`` alone."""
    elsewhere = [
        module
        for module in (ROOT / "tests").rglob("test_*.py")
        if module.parent.name != "e2e" and module != Path(__file__)
    ]
    for module in elsewhere:
        text = module.read_text()
        assert "pytest.mark.e2e" not in text or "pytest.mark.nightly" in text, module


def test_libraries_of_models_are_imported_by_the_one_process_that_runs_their_tests() -> None:
    """Every process of the others collects all tests, and would import them for each alone."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    listed = re.search(r"^MODELS := (.*)$", makefile, re.MULTILINE)
    assert listed is not None
    places = [f"{one}/" if (ROOT / one).is_dir() else one for one in listed[1].split()]
    assert all((ROOT / one).exists() for one in places)
    tests = ROOT / "tests"
    elsewhere = {
        path
        for library in OF_MODELS
        for path in layout.imported_on_collection(tests, library)
        if not layout.lies_in(Path(path).relative_to(ROOT), [*places, "tests/e2e/"])
    }
    assert elsewhere == set()
