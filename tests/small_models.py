"""Models of a second's training, in the file that a node of each runtime takes.

Models classify what a graph's first input can hold: flowers of iris [rows, 4], digits [rows, 64],
pictures [rows, 3, 32, 32], or texts [rows].
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TEXTS = ("good water", "bad water", "a good river", "a bad river") * 5


@dataclass(frozen=True)
class Data:
    """Rows, and the class of each."""

    x: Any
    """An array [rows, ...], or a frame."""
    y: Any


def data_of(shape: Sequence[int], datatype: str = "FP32") -> Data:
    """Return rows that an input of that type takes."""
    datasets = pytest.importorskip("sklearn.datasets")
    match (datatype, *shape[1:]):
        case ("BYTES",):
            return Data(np.array(TEXTS, object), np.array([1, 0] * (len(TEXTS) // 2)))
        case (_, 4):
            x, y = datasets.load_iris(return_X_y=True)
        case (_, 64):
            x, y = datasets.load_digits(return_X_y=True)
        case (_, *rest):
            x, y = np.random.default_rng(0).random((8, *rest)), np.arange(8) % 2
    return Data(x.astype(np.float32), y)


def write_model(runtime: str, path: Path, data: Data) -> None:
    """Write a model of a runtime that was trained on some data; a forest if it is called so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, as they train and save
        _WRITERS[runtime](path, data)


def write_sample(path: Path, data: Data, label: str | None = None) -> None:
    """Write rows as a sample of an explainer or a reference of a monitor."""
    if path.suffix == ".npz":
        np.savez(path, x=data.x, y=data.y)
        return
    columns = [f"c{number}" for number in range(data.x.shape[1])]
    rows = np.column_stack([data.x, data.y]) if label else data.x
    lines = [",".join(columns + ([label] if label else [])), *(",".join(map(str, r)) for r in rows)]
    path.write_text("\n".join(lines) + "\n")


def _sklearn(path: Path, data: Data) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    pipeline = pytest.importorskip("sklearn.pipeline")
    if path.stem == "forest":
        model = pytest.importorskip("sklearn.ensemble").RandomForestClassifier(5, random_state=0)
    else:
        model = pipeline.make_pipeline(*_encoders(data.x), linear.LogisticRegression(max_iter=500))
    dump = pytest.importorskip("skops.io" if path.suffix == ".skops" else "joblib").dump
    dump(model.fit(data.x, data.y), path)


def _encoders(x: Any) -> list[Any]:
    """Return the steps before a linear model that make numbers of a frame or of texts."""
    if hasattr(x, "columns"):
        compose = pytest.importorskip("sklearn.compose")
        encoder = pytest.importorskip("sklearn.preprocessing").OneHotEncoder()
        texts = [name for name in x.columns if x[name].dtype == object]
        return [compose.make_column_transformer((encoder, texts), remainder="passthrough")]
    text = pytest.importorskip("sklearn.feature_extraction.text")
    return [text.CountVectorizer()] if x.dtype == object else []


def _xgboost(path: Path, data: Data) -> None:
    library = pytest.importorskip("xgboost")
    library.XGBClassifier(n_estimators=5).fit(data.x, data.y).save_model(path)


def _lightgbm(path: Path, data: Data) -> None:
    library = pytest.importorskip("lightgbm")
    rows = library.Dataset(data.x, data.y)
    library.train({"objective": "multiclass", "num_class": 3, "verbose": -1}, rows, 5).save_model(
        path
    )


def _catboost(path: Path, data: Data) -> None:
    library = pytest.importorskip("catboost")
    options = {"iterations": 5, "verbose": False, "allow_writing_files": False}
    library.CatBoostClassifier(**options).fit(data.x, data.y).save_model(str(path))


def _mlflow(path: Path, data: Data) -> None:
    library = pytest.importorskip("mlflow.sklearn")
    linear = pytest.importorskip("sklearn.linear_model")
    model = linear.LogisticRegression(max_iter=500).fit(data.x, data.y)
    library.save_model(model, path, pip_requirements=["scikit-learn"])


def _onnx(path: Path, data: Data) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape = (None, *data.x.shape[1:])
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"])], "graph",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def _torch(path: Path, data: Data) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    rows = {0: torch.export.Dim("rows", min=1, max=2**20)}
    net = _pictures(torch) if data.x.ndim == 4 else _layers(torch, data)
    example = (torch.tensor(data.x[:2]),)
    program = torch.export.export(net.eval(), example, dynamic_shapes=(rows,))
    torch.export.save(program, path)


def _layers(torch: Any, data: Data) -> Any:
    layer, classes = torch.nn.Linear, int(data.y.max()) + 1
    return torch.nn.Sequential(layer(data.x.shape[1], 8), torch.nn.ReLU(), layer(8, classes))


def _pictures(torch: Any) -> Any:
    """Return a network whose module ``features.6`` is a convolution."""
    conv, relu, pool = torch.nn.Conv2d, torch.nn.ReLU, torch.nn.MaxPool2d
    net = torch.nn.Sequential()
    net.features = torch.nn.Sequential(
        conv(3, 4, 3, padding=1), relu(), pool(4),
        conv(4, 4, 3, padding=1), relu(), pool(2),
        conv(4, 4, 3, padding=1), relu(),
    )  # fmt: skip
    net.flat, net.top = torch.nn.Flatten(), torch.nn.Linear(64, 2)
    return net


def _huggingface(path: Path, data: Data) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    special = list(names.values())
    made.train_from_iterator(data.x, tokenizers.trainers.WordLevelTrainer(special_tokens=special))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **names)
    config = transformers.BertConfig(
        vocab_size=len(fast), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(path)
    fast.save_pretrained(path)


_WRITERS: Mapping[str, Callable[[Path, Data], None]] = {
    "catboost": _catboost,
    "huggingface": _huggingface,
    "lightgbm": _lightgbm,
    "mlflow": _mlflow,
    "onnx": _onnx,
    "sklearn": _sklearn,
    "torch": _torch,
    "xgboost": _xgboost,
}
