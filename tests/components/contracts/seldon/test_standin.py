from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.components.contracts.seldon.standin import importable
from anabranch.components.contracts.seldon.standin_error import SeldonMicroserviceException
from anabranch.errors import LoadError


def test_the_package_is_there_only_meanwhile() -> None:
    with importable():
        classes = import_module("seldon_core.user_model")
        metrics = import_module("seldon_core.metrics")
        import_module("seldon_core.flask_utils")
    assert not [name for name in sys.modules if name.startswith("seldon_core")]
    assert metrics.create_gauge("g", 2) == {"key": "g", "type": "GAUGE", "value": 2}
    with pytest.raises(TypeError):
        metrics.create_counter("g", "many")
    with pytest.raises(classes.SeldonNotImplementedError) as raised:
        classes.SeldonComponent(word="x").predict([], [])
    assert raised.value.to_dict() == {
        "status": {
            "status": 1, "info": "predict is not implemented", "code": -1,
            "reason": "MICROSERVICE_BAD_DATA",
        }
    }  # fmt: skip


def test_the_classes_are_the_same_each_time() -> None:
    with importable():
        first = import_module("seldon_core.user_model").SeldonResponse
    with importable():
        assert import_module("seldon_core.user_model").SeldonResponse is first
    assert first.create(first([1])).data == first.create([1]).data


def test_storage_gives_local_files(tmp_path: Path) -> None:
    with importable():
        storage = import_module("seldon_core").Storage
        assert import_module("seldon_core.storage").Storage is storage
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.txt").write_text("a")
    assert storage.download(f"file://{tmp_path}/models") == f"{tmp_path}/models"
    assert storage.download(f"{tmp_path}/models", f"{tmp_path}/out") == f"{tmp_path}/out"
    assert storage.download(f"{tmp_path}/models/a.txt", f"{tmp_path}/one") == f"{tmp_path}/one"
    assert (tmp_path / "out" / "a.txt").read_text() == (tmp_path / "one" / "a.txt").read_text()
    with pytest.raises(RuntimeError, match="no such path"):
        storage.download(f"{tmp_path}/nowhere")
    with pytest.raises(RuntimeError, match="only local paths"):
        storage.download("s3://models/a")


def test_messages_of_protobuf() -> None:
    with importable():
        messages = import_module("seldon_core.proto.prediction_pb2")
        assert import_module("seldon_core.proto").prediction_pb2 is messages
        utils = import_module("seldon_core.utils")
    rows = [[1.0, 2.0], [3.0, 4.0]]
    for kind in ("tensor", "ndarray"):
        data = utils.array_to_grpc_datadef(kind, np.array(rows), ["a", "b"])
        message = messages.SeldonMessage(data=data)
        assert utils.get_data_from_proto(message).tolist() == rows
        again = utils.json_to_seldon_message(utils.seldon_message_to_json(message))
        assert again == message and list(again.data.names) == ["a", "b"]
    assert utils.get_data_from_proto(messages.SeldonMessage(binData=b"\xff")) == b"\xff"
    assert utils.get_data_from_proto(utils.json_to_seldon_message({"jsonData": {"a": 1}})) == {
        "a": 1
    }
    with pytest.raises(SeldonMicroserviceException, match=r"^$") as raised:
        utils.json_to_seldon_message({"data": 5})
    assert raised.value.message.startswith("Invalid JSON")
    with pytest.raises(AttributeError, match="no message 'Nothing'"):
        messages.Nothing  # noqa: B018
    with pytest.raises(AttributeError, match="'setup_tracing'"):
        utils.setup_tracing  # noqa: B018


def test_variables_as_truth_values(monkeypatch: pytest.MonkeyPatch) -> None:
    with importable():
        utils = import_module("seldon_core.utils")
    monkeypatch.setenv("A", "True")
    assert utils.getenv_as_bool("NONE_SUCH", "A") is True
    assert utils.getenv_as_bool("NONE_SUCH", default=True) is True
    monkeypatch.setenv("A", "no")
    assert utils.getenv_as_bool("A", default=True) is False


def test_a_raw_method_may_return_a_message_of_protobuf(bundle: Any, node: Any) -> None:
    root = bundle({
        "m.py": "from seldon_core.proto import prediction_pb2\n"
        "from seldon_core.utils import array_to_grpc_datadef\n"
        "class M:\n    def predict_raw(self, msg):\n"
        "        assert not isinstance(msg, prediction_pb2.SeldonMessage)\n"
        "        data = array_to_grpc_datadef('tensor', msg['data']['ndarray'], ['a'])\n"
        "        return prediction_pb2.SeldonMessage(data=data)\n",
    })  # fmt: skip
    bound = bind("m", node(type="predictor", component="m.py:M", contract="seldon"), root)
    found = bound.call(x=np.array([[1.0], [2.0]]), context=Context())
    assert found["output"].tolist() == [[1.0], [2.0]]


def test_the_bundle_s_own_package_comes_first(bundle: Any, node: Any) -> None:
    own = "class SeldonComponent:\n    def predict(self, X, names):\n        return X\n"
    root = bundle({
        "seldon_core/__init__.py": "", "seldon_core/user_model.py": own,
        "m.py": "from seldon_core.user_model import SeldonComponent\n"
        "class M(SeldonComponent):\n    def predict(self, X, names):\n        return [len(X)]\n",
    })  # fmt: skip
    bound = bind("m", node(type="predictor", component="m.py:M", contract="seldon"), root)
    assert type(bound.instance.component).__mro__[1].__module__ == "seldon_core.user_model"
    assert str(root) in str(sys.modules["seldon_core.user_model"].__file__)


def test_the_rest_of_the_package_is_missing(bundle: Any, node: Any) -> None:
    root = bundle({"m.py": "from seldon_core.seldon_client import SeldonClient\n"})
    with pytest.raises(LoadError, match=r"No module named 'seldon_core.seldon_client' \(m\.py:1"):
        bind("m", node(type="predictor", component="m.py:M", contract="seldon"), root)


def test_our_own_contract_does_not_see_it(bundle: Any, node: Any) -> None:
    root = bundle({"m.py": "from seldon_core.user_model import SeldonComponent\n"})
    with pytest.raises(LoadError, match="No module named 'seldon_core'"):
        bind("m", node(type="predictor", component="m.py:M"), root)
