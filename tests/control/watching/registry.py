"""A model registry that answers as MLflow does, and graphs that watch a model of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from anabranch.control.watching.looks import WatchLooks
from anabranch.control.watching.watcher import Watcher
from tests.clock import Clock
from tests.control.control_api import TestControl
from tests.control.web import Answer, Asked, Web, running

API = "/api/2.0/mlflow/"
CHAMPION = "models:/m@champion"
SPEC = """
apiVersion: anabranch/v1
kind: InferenceGraph
metadata: {name: NAME}
spec:
  inputs: {x: {datatype: FP32, shape: [-1, 2]}}
  nodes:
    m: {type: predictor, runtime: sklearn, model: MODEL, watch: {every: 1s}, inputs: {x: x}}
  outputs: {y: m}
"""
STEPS = "  rollout: {steps: [5], hold: 1h}\n"


def watching_spec(model: str = f"{CHAMPION}#model.skops", rollout: str = "") -> str:
    return SPEC.replace("MODEL", f"'{model}'") + rollout


class Registry:
    """One registered model with an alias, and what the engine has said of its versions."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.champion: int | None = 1
        self.away = False
        self.refuses = False
        self.notes: dict[str, Any] = {}
        self.told: list[tuple[str, str, str]] = []
        """Version, key and value of each tag that was set, in order."""
        web.answer = self.answer

    @property
    def looks(self) -> int:
        """How often somebody has asked for the alias."""
        return sum(one.path.endswith("/alias") for one in self.web.asked)

    def tags(self, version: int) -> dict[str, str]:
        return {key: value for one, key, value in self.told if one == str(version)}

    def answer(self, asked: Asked) -> Answer:
        if self.away:
            return Answer(503)
        found = self._found(asked)
        return Answer(404 if found is None else 200, json.dumps(found or {}).encode())

    def _found(self, asked: Asked) -> Any:
        match asked.path.removeprefix(API):
            case "registered-models/alias":
                version = self.champion
                return version and {"model_version": {"version": str(version)}}
            case "model-versions/get":
                return {"model_version": self.notes}
            case "model-versions/set-tag" if not self.refuses:
                sent = asked.json
                self.told.append((sent["version"], sent["key"], sent["value"]))
                return {"done": True}
        return None


@contextmanager
def a_registry() -> Iterator[Registry]:
    with running() as web:
        yield Registry(web)


class WatchingControl(TestControl):
    """A control plane whose watcher runs only while a test drives it."""

    __test__ = False

    def __init__(self, folder: Path, registry: Registry) -> None:
        super().__init__(folder, MLFLOW_TRACKING_URI=registry.web.url)
        self.clock = Clock()

    def watched(self, name: str = "digits", rollout: str = "") -> None:
        """Deploy a graph that watches the alias, and let it come up."""
        assert self.deploy(name, spec=watching_spec(rollout=rollout))[0] == 202
        self.arrive(self.store.revisions(name, 1)[0].number, name)

    def watcher(self) -> Watcher:
        """A watcher like that of a controller that has just begun."""
        known = self.parts.watcher
        return Watcher(self.store, known._revisions, known._moves, known._artefacts, WatchLooks())

    def drive(self, *steps: Callable[[], object], watcher: Watcher | None = None) -> Watcher:
        """Let a watcher run until each of the steps has been true, one after the other.

        A second of its clock passes whenever a step is not true yet.
        """
        one = watcher or self.watcher()
        one._clock = self.clock

        def pass_a_second() -> None:
            self.clock.now += 1
            one.wake()

        asyncio.run(until_each(one.run(), *steps, meanwhile=pass_a_second))
        return one

    def pins(self, name: str = "digits") -> list[str]:
        """The versions that the revisions of a graph have, oldest first."""
        return [one.pins[CHAMPION] for one in self.store.revisions(name)][::-1]

    def kinds(self, name: str = "digits") -> list[str]:
        return [one.kind for one in self.store.events(name)]


async def until_each(
    work: Any, *steps: Callable[[], object], meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Do work until each step has been true, one after the other; then cancel it."""
    task = asyncio.ensure_future(work)
    try:
        async with asyncio.timeout(60):
            for step in steps:
                while not await asyncio.to_thread(step):
                    assert not task.done()
                    meanwhile()
                    await asyncio.sleep(0.01)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def then(action: Callable[[], object]) -> Callable[[], bool]:
    """A step that does something once."""

    def step() -> bool:
        action()
        return True

    return step
