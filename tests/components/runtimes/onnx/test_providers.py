"""Which execution providers are tried, and that a silent fall-back of ONNX Runtime is told."""

from __future__ import annotations

import logging
import os

import pytest

from anabranch.components.binding import bind
from anabranch.components.contract import CannotLoad
from anabranch.components.runtimes.onnx.engines import EngineFolder
from anabranch.components.runtimes.onnx.providers import ProviderChoice, choose, open_session
from anabranch.errors import LoadError

runtime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
ALL = ["TensorrtExecutionProvider", CUDA, CPU]
GIB = 2**30


@pytest.fixture
def predictor(node):
    def make(**fields):
        return node(type="predictor", runtime="onnx", model="m.onnx", **fields)

    return make


@pytest.fixture
def path(tmp_path):
    x, y = (helper.make_tensor_value_info(one, TensorProto.FLOAT, [None]) for one in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "graph", [x], [y])
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.save(model, tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.mark.parametrize(
    ("resources", "asked", "there", "names"),
    [
        (None, None, ALL, ["cpu"]),
        ({"cpu": 2}, None, ALL, ["cpu"]),
        ({"gpu": 0.5}, None, ALL, ["cuda", "cpu"]),
        ({"gpu": 1}, ["tensorrt", "cuda"], ALL, ["tensorrt", "cuda"]),
        ({"gpu": 1}, ["cpu"], ALL, ["cpu"]),
        (None, ["cuda"], ALL, ["cuda"]),
    ],
)
def test_the_choice(predictor, caplog, resources, asked, there, names):
    spec = predictor(resources=resources) if resources else predictor()
    assert choose(spec, asked, there).names == names
    assert not caplog.records


@pytest.mark.parametrize("asked", [None, ["cuda", "cpu"]])
def test_what_the_package_lacks_is_told(predictor, caplog, asked):
    assert choose(predictor(resources={"gpu": 1}), asked, [CPU]).names == ["cpu"]
    (told,) = caplog.messages
    assert "m.onnx: the installed onnxruntime has no cuda, only cpu: cpu takes its place" in told
    assert "anabranch[onnx-gpu]" in told


def test_nothing_of_the_list_is_there(predictor):
    message = r"asks for tensorrt, cuda, but the installed onnxruntime has cpu: add one of these"
    with pytest.raises(CannotLoad, match=message):
        choose(predictor(), ["tensorrt", "cuda"], ["AzureExecutionProvider", CPU])


def test_the_cap_of_a_session(predictor):
    free = choose(predictor(resources={"gpu": 1}), None, ALL)
    assert free.options("cuda") == free.options("tensorrt") == {"device_id": "0"}
    resources = {"gpu": 1, "gpu_memory": "4GiB"}
    capped = choose(predictor(resources=resources), None, ALL)
    assert capped.options("cuda") == {
        "device_id": "0",
        "gpu_mem_limit": str(4 * GIB),
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert capped.options("tensorrt")["trt_max_workspace_size"] == str(4 * GIB)
    assert capped.options("cpu") == {}
    shared = choose(predictor(resources=resources, multiplex={"max_loaded": 4}), None, ALL)
    assert shared.gpu_memory == GIB


def test_engines_of_tensorrt_are_kept(tmp_path):
    folder = EngineFolder(tmp_path, os.open(tmp_path, os.O_RDONLY))
    choice = ProviderChoice(["tensorrt", "cuda"], engines=folder)
    assert choice.options("tensorrt") == {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(tmp_path),
    }
    assert choice.options("cuda") == {"device_id": "0"}


def test_a_damaged_engine_is_built_anew(path, tmp_path, caplog):
    """ONNX Runtime's own module, but that TensorRT is there, and its first engine is damaged."""
    tried = []

    class Runtime:
        __version__ = runtime.__version__

        @staticmethod
        def InferenceSession(path, options, providers, enable_fallback):
            tried.append(sorted(one.name for one in engines.iterdir()))
            if tried[-1]:
                raise RuntimeError("TensorRT EP could not deserialize engine from cache: e.engine")
            return runtime.InferenceSession(path, options, providers=[CPU])

    engines = tmp_path / "engines"
    engines.mkdir()
    (engines / "e.engine").write_bytes(b"half of i")
    folder = EngineFolder(engines, os.open(engines, os.O_RDONLY))
    open_session(Runtime, path, None, ProviderChoice(["tensorrt", "cpu"], engines=folder))
    assert tried == [["e.engine"], []]
    assert not folder.heal(RuntimeError("out of memory"))
    assert not folder.heal(RuntimeError("could not deserialize engine"))  # it would never end


@pytest.mark.parametrize("does", ["ignore", "error"])  # it goes on with the CPU alone, or raises
def test_a_provider_that_does_not_start(path, caplog, recwarn, does):
    import warnings

    caplog.set_level(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter(does)
        session = open_session(runtime, path, None, ProviderChoice(["cuda", "cpu"], GIB))
    assert session.get_providers() == [CPU]
    (told,) = caplog.messages
    assert told.startswith("m.onnx: cuda did not start, so cpu takes over: ")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_no_provider_starts(path):
    message = r"asks for tensorrt, cuda, which ONNX Runtime .* could not start: .* with cpu last"
    with pytest.raises(CannotLoad, match=message):
        open_session(runtime, path, None, ProviderChoice(["tensorrt", "cuda"]))


def test_a_node_that_names_its_providers(predictor, path):
    args = {"providers": ["cpu"]}
    assert bind("n", predictor(args=args, inputs={"x": "x"}), path.parent).instance is not None
    if CUDA not in runtime.get_available_providers():
        with pytest.raises(LoadError, match=r"'n'.*args.providers asks for cuda, but"):
            bind("n", predictor(args={"providers": ["cuda"]}, inputs={"x": "x"}), path.parent)
