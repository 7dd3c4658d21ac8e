"""The torch runtime on a GPU: ``make test-gpu``. Everything else of it is tested on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from anabranch.components.binding import bind
from anabranch.errors import LoadError

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        values = self.line(x)
        return {"values": values, "shares": values.softmax(-1)}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def root(tmp_path_factory, net):
    folder = tmp_path_factory.mktemp("models")
    dynamic = {"x": {0: torch.export.Dim("batch")}}
    program = torch.export.export(net, (torch.ones(2, 64),), dynamic_shapes=dynamic)
    torch.export.save(program, folder / "net.pt2")
    torch.jit.script(net).save(folder / "net.pt")
    return folder


@pytest.fixture
def predictor(node, root):
    def make(model, **args):
        fields = {"type": "predictor", "runtime": "torch", "model": model, "args": args}
        return bind("n", node(**fields), root)

    return make


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32)


def check(net, found, x, atol=1e-5):
    with torch.inference_mode():
        expected = net(torch.tensor(x))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-3, atol=atol)


@pytest.mark.parametrize("model", ["net.pt2", "net.pt"])
@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_a_network_answers_as_on_the_cpu(predictor, net, model, device):
    bound = predictor(model, device=device)
    assert bound.instance._device == "cuda"
    check(net, bound.call(x=rows(5)), rows(5))


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("graphs", [None, [1, 8]])
def test_narrow_datatypes(predictor, net, dtype, graphs):
    found = predictor("net.pt2", dtype=dtype, cuda_graphs=graphs).call(x=rows(5))
    assert found["values"].dtype == np.float32
    check(net, found, rows(5), atol=5e-2)


@pytest.mark.parametrize("compile", [False, True])
def test_recorded_batches_of_any_size(predictor, net, compile):
    bound = predictor("net.pt2", cuda_graphs=[8, 1, 32], compile=compile)
    for count in (1, 2, 8, 9, 32, 33, 0):
        check(net, bound.call(x=rows(count, count)), rows(count, count))


@pytest.mark.parametrize("graphs", [None, [1, 8]])
def test_calls_at_once_get_their_own_answers(predictor, net, graphs):
    bound = predictor("net.pt2", cuda_graphs=graphs)
    inputs = [rows(1 + seed % 10, seed) for seed in range(200)]
    with ThreadPoolExecutor(bound.instance.max_concurrency) as threads:
        found = list(threads.map(lambda x: bound.call(x=x), inputs))
    for x, each in zip(inputs, found, strict=True):
        check(net, each, x)


def test_without_memory_the_request_fails_and_the_next_does_not(predictor, net):
    bound = predictor("net.pt2")
    free, _ = torch.cuda.mem_get_info()
    limit = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (limit - free + 2**26) / limit))
    try:
        with pytest.raises(MemoryError, match="no memory left"):
            bound.call(x=np.zeros((2**20, 64), np.float32))
        check(net, bound.call(x=rows(5)), rows(5))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_budget_is_held(node, root):
    fields = {"type": "predictor", "runtime": "torch", "model": "net.pt2"}
    resources = {"gpu": 0.5, "gpu_memory": "256MiB"}
    bound = bind("n", node(**fields, resources=resources), root)
    try:
        with pytest.raises(MemoryError, match="no memory left"):
            bound.call(x=np.zeros((2**21, 64), np.float32))
        assert bound.call(x=rows(5))["values"].shape == (5, 10)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_graphs_need_an_exported_program(predictor):
    with pytest.raises(LoadError, match=r"cuda_graphs needs a torch\.export program"):
        predictor("net.pt", cuda_graphs=[1])


def test_a_device_that_ray_hides_is_not_taken():
    script = (
        "import torch; from anabranch.components.runtimes.torch.devices import choose;"
        "print(choose(torch, 'auto'))"
    )
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run(
        [sys.executable, "-c", script], env=hidden, capture_output=True, text=True
    )
    assert found.stdout.strip() == "cpu"
