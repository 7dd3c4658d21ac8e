from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.components.models.multiplex import Multiplexed
from anabranch.components.raised import settled
from anabranch.errors import LoadError
from anabranch.specs.models import Predictor, Transformer
from tests.graph.raisers import ERRORS, OnLoop, raise_it

INTERRUPTS = """
import signal

class Interrupts:
    def __init__(self):
        signal.raise_signal(signal.SIGINT)

    def transform(self, x):
        return x
"""


@pytest.fixture
def python_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_interrupts")
def test_ctrl_c_in_the_main_thread_is_no_error_of_a_component(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text(INTERRUPTS)
    node = Transformer.model_validate(
        {"type": "transformer", "component": "c.py:Interrupts", "inputs": {"x": "x"}}
    )
    with pytest.raises(KeyboardInterrupt):
        bind("n", node, tmp_path)


@pytest.mark.usefixtures("python_interrupts")
def test_no_other_thread_is_ever_interrupted_so(tmp_path: Path) -> None:
    found: list[BaseException] = []
    node = Transformer.model_validate(
        {
            "type": "transformer", "component": "raisers.py:OnLoop", "inputs": {"x": "x"},
            "args": {"kind": "KeyboardInterrupt", "where": "constructor"},
        }
    )  # fmt: skip

    def load() -> None:
        try:
            bind("n", node, Path(__file__).parents[1] / "graph")
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    assert [type(error) for error in found] == [LoadError]


@given(kind=st.sampled_from(sorted(ERRORS)))
def test_a_call_in_a_thread_is_over_whatever_it_raises(kind: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            outcome = await asyncio.to_thread(settled, lambda: raise_it(kind))
        try:
            outcome()
        except BaseException as error:
            assert type(error) is ERRORS[kind]
        else:
            raise AssertionError("nothing was raised")

    asyncio.run(main())


@given(
    kind=st.sampled_from(sorted(ERRORS)),
    where=st.sampled_from(["constructor", "load", "warmup", "call", "unload"]),
)
def test_one_of_many_models_that_raises_leaves_the_others(
    tmp_path_factory: pytest.TempPathFactory, kind: str, where: str
) -> None:
    root = tmp_path_factory.mktemp("models")
    for name in ("good", "bad"):
        (root / name).touch()
    node = Predictor.model_validate(
        {
            "type": "predictor", "runtime": "onnx", "model": "{model}", "inputs": {"x": "x"},
            "multiplex": {"parameter": "model", "max_loaded": 1},
        }
    )  # fmt: skip

    class Answers(OnLoop):
        def predict(self, x: float) -> float:
            self.at("call")
            return x

    async def main() -> None:
        def construct(one: Predictor) -> Answers:
            return Answers(kind if one.model == "bad" else "", where)

        models = Multiplexed(node, root, construct)

        async def ask(name: str) -> object:
            return await models.predict(context=Context(parameters={"model": name}), x=1.0)

        async with asyncio.timeout(30):
            assert await ask("good") == 1.0
            if where == "unload":
                assert await ask("bad") == 1.0
            else:
                with pytest.raises(BaseException):  # noqa: B017  # the executor names the node
                    await ask("bad")
            assert await ask("good") == 1.0
            await models.unload()

    asyncio.run(main())
