"""Many models in one node: each request gets the one it names, and memory stays bounded."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.contract import Context
from anabranch.components.models.cache import ModelCache
from anabranch.components.models.multiplex import Multiplexed
from anabranch.errors import InvalidRequest, NotFound
from anabranch.specs.models import Predictor

T = TypeVar("T")


class Store:
    """Models that are just their names, with what is in memory at every moment."""

    def __init__(self, limit: int) -> None:
        self.cache: ModelCache[str] = ModelCache(self.load, self.unload, limit)
        self.loads: list[str] = []
        self.inside: Counter[str] = Counter()
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, name: str) -> str:
        self.loads.append(name)
        self.inside[name] += 1
        self.most = max(self.most, self.inside.total())
        try:
            await self.gate.wait()
            if name.startswith("bad"):
                raise ValueError(name)
        except BaseException:
            self.inside[name] -= 1
            raise
        return name

    async def unload(self, model: str) -> None:
        await asyncio.sleep(0)
        self.inside[model] -= 1

    async def use(self, name: str) -> None:
        held = await self.cache.hold(name)
        assert held.model == name and self.inside[name]
        await asyncio.sleep(0)
        assert self.inside[name], "a model that is held was unloaded"
        held.release()


def run(work: Coroutine[Any, Any, T]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(limited())


@given(
    st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=8), min_size=1, max_size=6),
    st.integers(1, 6),
)
def test_any_users_of_any_models_get_theirs_within_the_limit(
    users: list[list[int]], limit: int
) -> None:
    async def work() -> Store:
        store = Store(limit)

        async def user(names: list[int]) -> None:
            for number in names:
                await store.use(f"m{number}")

        await asyncio.gather(*map(user, users))
        return store

    store = run(work())
    tally = store.cache.tally
    assert store.most <= limit
    assert tally.hits + tally.misses == sum(map(len, users))
    assert tally.misses == len(store.loads)
    assert Counter(store.cache.names) == +store.inside


def test_the_least_recently_used_goes() -> None:
    async def work() -> Store:
        store = Store(2)
        for name in ("a", "b", "a", "c"):
            await store.use(name)
        return store

    store = run(work())
    assert store.cache.names == ("a", "c")
    assert store.cache.tally.evictions == 1


def test_many_at_once_load_a_model_once() -> None:
    async def work() -> Store:
        store = Store(3)
        await asyncio.gather(*(store.use("a") for _ in range(50)))
        return store

    store = run(work())
    assert store.loads == ["a"]
    assert (store.cache.tally.misses, store.cache.tally.hits) == (1, 49)


def test_a_failed_load_leaves_its_place_and_is_tried_again() -> None:
    async def work() -> Store:
        store = Store(1)
        found = await asyncio.gather(*(store.use("bad") for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in found] == [ValueError] * 3
        with pytest.raises(ValueError):
            await store.use("bad")
        await store.use("good")
        return store

    store = run(work())
    assert store.loads == ["bad", "bad", "good"]
    assert store.cache.tally.failures == 2


def test_who_gives_up_waiting_does_not_take_the_model_from_others() -> None:
    async def work() -> None:
        store = Store(1)
        store.gate.clear()
        first = asyncio.create_task(store.use("a"))
        second = asyncio.create_task(store.use("a"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        store.gate.set()
        await second
        assert store.loads == ["a"]

    run(work())


def test_a_request_waits_while_every_model_is_in_use() -> None:
    async def work() -> None:
        store = Store(1)
        held = await store.cache.hold("a")
        waiting = asyncio.create_task(store.use("b"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done() and +store.inside == {"a": 1}
        held.release()
        await waiting

    run(work())


class Constant:
    """A runtime whose model is a file with a number."""

    alive = 0
    lock = threading.Lock()

    def __init__(self, node: Predictor, root: Path) -> None:
        self.number = float((root / str(node.model)).read_text())
        with self.lock:
            type(self).alive += 1

    def predict(self, /, **inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self.number < 0:
            raise ValueError("negative")
        return inputs["x"] + np.float32(self.number)

    def unload(self) -> None:
        with self.lock:
            type(self).alive -= 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for number in range(-1, 20):
        (tmp_path / "models" / f"m{number}.txt").write_text(str(number))
    (tmp_path / "secret.txt").write_text("1")
    return tmp_path


def multiplexed(root: Path, most: int = 3) -> Multiplexed:
    fields: dict[str, Any] = {
        "type": "predictor",
        "runtime": "sklearn",
        "model": "models/{model}.txt",
        "multiplex": {"max_loaded": most},
        "inputs": {"x": "x"},
    }
    node = Predictor.model_validate(fields)
    return Multiplexed(node, root, lambda one: Constant(one, root))


async def ask(node: Multiplexed, **parameters: Any) -> float:
    x = np.zeros(1, np.float32)
    return float((await node.predict(context=Context(parameters=parameters), x=x))[0])


class Asking(Constant):
    """A model that reads the request, too."""

    def predict(self, /, *, context: Context, **inputs: Any) -> Any:
        return super().predict(**inputs) * float(context.parameters["by"])


def test_a_model_may_read_the_request(root: Path) -> None:
    async def work() -> None:
        node = multiplexed(root)
        node._construct = lambda one: Asking(one, root)
        assert await ask(node, model="m3", by=2.0) == 6.0
        assert await ask(node, model="m3", by=0.5) == 1.5
        await node.unload()

    asyncio.run(work())


def test_each_request_gets_the_model_that_it_names(root: Path) -> None:
    async def work() -> None:
        node = multiplexed(root)
        numbers = [number % 20 for number in range(100)]
        asked = (ask(node, model=f"m{number}") for number in numbers)
        assert await asyncio.gather(*asked) == numbers
        assert 1 <= len(node.loaded) == Constant.alive <= 3
        await node.unload()
        assert Constant.alive == 0

    run(work())


def test_a_model_that_fails_is_given_back(root: Path) -> None:
    async def work() -> None:
        node = multiplexed(root, most=1)
        for _ in range(3):
            with pytest.raises(ValueError, match="negative"):
                await ask(node, model="m-1")
        assert await ask(node, model="m7") == 7
        await node.unload()

    run(work())


def test_an_unknown_model_is_not_found_and_the_like_are_named(root: Path) -> None:
    async def work() -> None:
        node = multiplexed(root)
        with pytest.raises(NotFound, match=r"there is no model 'm77'.*m7"):
            await ask(node, model="m77")
        await node.unload()

    run(work())


@pytest.mark.parametrize(
    "name", ["", "../secret", "..", ".hidden", "a/b", "a\\b", "a\0", "x" * 129, 7, True, None, "é"]
)
def test_what_is_no_name_never_reaches_the_disk(root: Path, name: Any) -> None:
    async def work() -> None:
        node = multiplexed(root)
        with pytest.raises(InvalidRequest, match="no name of a model"):
            await ask(node, model=name)
        assert node.tally.misses == 0
        await node.unload()

    run(work())


def test_a_request_must_name_a_model(root: Path) -> None:
    async def work() -> None:
        node = multiplexed(root)
        with pytest.raises(InvalidRequest, match="the parameter 'model' is missing"):
            await ask(node)
        await node.unload()

    run(work())
