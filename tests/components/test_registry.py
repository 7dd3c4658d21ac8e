from __future__ import annotations

import subprocess
import sys

import pytest

from anabranch.components import registry
from anabranch.specs.models import NODE_TYPES

BUILTINS = {
    "transformer": (
        "argmax cast lookup rename require_success scale select softmax split stack threshold"
    ),
    "predictor": (
        "catboost huggingface lightgbm mlflow onnx open_inference openai rest seldon sklearn torch "
        "v1 vllm xgboost"
    ),
    "combiner": "concat first max mean object vote weighted_mean",
    "router": "epsilon_greedy linucb rules thompson ucb1 weighted",
    "explainer": (
        "ale anchor_image anchor_tabular anchor_text deep_lift integrated_gradients kernel_shap "
        "layer_gradcam occlusion partial_dependence partial_dependence_variance "
        "permutation_importance saliency similarity tree_shap"
    ),
}


def test_what_there_is():
    assert {kind: " ".join(registry.names(kind)) for kind in NODE_TYPES} == BUILTINS


@pytest.mark.parametrize("node_type", NODE_TYPES)
def test_every_built_in_says_what_it_does(node_type):
    for name in registry.names(node_type):
        kind = registry.get(node_type, name)
        assert (kind.type, kind.name) == (node_type, name)
        assert kind.cls.__doc__


def test_formats_that_can_run_code_are_marked():
    files = {
        "sklearn": ["m.joblib", "m.skops"],
        "torch": ["m.pt2"],
        "onnx": ["m.onnx"],
        "xgboost": ["m.json", "m.ubj"],
        "lightgbm": ["m.txt"],
        "catboost": ["m.cbm"],
        "open_inference": [],
        "openai": [],
        "seldon": [],
        "vllm": [],
        "v1": [],
        "mlflow": ["folder"],
        "huggingface": ["folder"],
        "rest": [],
    }
    assert files.keys() == set(registry.names("predictor"))
    kinds = {name: registry.get("predictor", name) for name in files}
    can = [file for name in files for file in files[name] if kinds[name].executes_code(file)]
    assert can == ["m.joblib", "m.pt2", "folder"]


def test_an_unknown_built_in_suggests(node):
    with pytest.raises(KeyError, match="did you mean 'mean'"):
        registry.get("combiner", "maen")
    found = registry.problems(node(type="combiner", strategy="maen", inputs=["a"]))
    assert [path for path, _ in found] == [("strategy",)]


def test_a_component_has_no_problems_that_can_be_known(node):
    assert registry.problems(node(type="predictor", component="m:M", args={"any": 1})) == []


def test_an_input_may_not_be_called_context(node):
    found = registry.problems(node(type="predictor", component="m:M", inputs={"context": "x"}))
    assert [path for path, _ in found] == [("inputs", "context")]


def test_a_built_in_is_one_decorated_class(node, tmp_path):
    @registry.register("transformer", "negate-for-this-test")
    class Negate:
        def __init__(self, *, twice: bool = False) -> None:
            self.sign = 1 if twice else -1

        def transform(self, x):
            return self.sign * x

    kind = registry.get("transformer", "negate-for-this-test")
    try:
        made = node(type="transformer", method=kind.name, args={"twice": False})
        assert registry.problems(made) == []
        assert kind.factory(made, tmp_path).transform(3) == -3
        assert kind.infer({"x": None}, {}) is None
        with pytest.raises(ValueError, match="registered twice"):
            registry.register("transformer", "negate-for-this-test")(Negate)
    finally:
        registry._KINDS["transformer"].pop(kind.name)


def test_looking_at_built_ins_imports_no_library_of_an_extra():
    code = (
        "import sys\nfrom anabranch.components import registry\n"
        "assert registry.names('predictor')\n"
        "print({'torch', 'sklearn', 'onnxruntime', 'joblib', 'skops'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
