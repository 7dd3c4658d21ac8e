"""A real MLflow tracking server: an alias deployed, moved, and deployed again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Given, spec, value
from tests.e2e.mlflow_server import TrackingProcess, log_models, set_alias
from tests.engines import Engine

pytestmark = pytest.mark.e2e

NAME = "registered"
MODEL = "digits"


@pytest.fixture(scope="module")
def tracking(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server that the session's engine was told of."""
    server = TrackingProcess(mlflow_url, tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield mlflow_url
    finally:
        server.stop()


@pytest.mark.nightly
def test_an_alias_that_moved_is_picked_up_by_the_next_deploy(
    engine: Engine, given: Given, tracking: str
) -> None:
    folder = engine.home / "artefacts" / "entries"
    before = set(folder.glob("*"))  # of other graphs
    log_models(tracking, MODEL, 2.0, 5.0)
    set_alias(tracking, MODEL, 1)
    model = {
        "type": "predictor", "runtime": "sklearn", "inputs": {"x": "x"},
        "model": "models:/digits@champion#model.skops",
    }  # fmt: skip
    given.deployed(spec(NAME, model=model))
    assert value(engine.infer(NAME)) == pytest.approx([6.0])

    set_alias(tracking, MODEL, 2)
    assert value(engine.infer(NAME)) == pytest.approx([6.0])
    given.deployed(spec(NAME, model=model))
    assert value(engine.infer(NAME)) == pytest.approx([15.0])

    history = engine.command("history", NAME).stdout.splitlines()
    assert history[1].endswith("digits@champion = 2") and history[2].endswith("= 1")
    changes = engine.command("diff", NAME, "1", "2").stdout
    assert "~ models:/digits@champion: models:/digits/1 -> models:/digits/2" in changes
    done = engine.command("rollback", NAME, "--to", "1")
    assert done.returncode == 0, done.stderr
    assert value(engine.infer(NAME)) == pytest.approx([6.0])
    assert len(set(folder.iterdir()) - before) == 2

    model["model"] = "models:/digits@nobody#model.skops"
    done = given.deploy(spec(NAME, model=model))
    assert done.returncode == 1 and "node 'model'" in done.stderr and "nobody" in done.stderr
    model["model"] = "models:/digits@champion"
    done = given.deploy(spec(NAME, model=model))
    assert "is not in ANABRANCH_MLFLOW_TRUSTED" in done.stderr
