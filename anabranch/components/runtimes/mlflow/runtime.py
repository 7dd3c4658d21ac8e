"""The runtime ``mlflow``: any model that MLflow can load as a ``python_function``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from anabranch.components.artefacts.paths import model_path, reading
from anabranch.components.contract import CannotLoad, Context
from anabranch.components.extras import require
from anabranch.components.registry import register
from anabranch.components.runtimes.mlflow.frames import converter, input_types, outputs
from anabranch.components.runtimes.signatures import no_method, no_model, refuse_no_rows
from anabranch.components.tensors.arrays import Array
from anabranch.errors import InvalidRequest, Mistake
from anabranch.specs.models import Predictor


@register("predictor", "mlflow")
class MlflowModel:
    """Serves a folder with an ``MLmodel`` file by its signature.

    Tensors go by name; a single tensor may have any name. Columns come as one matrix, or as an
    input for each column by name, [rows] or [rows, 1]. A data frame in the answer gives an output
    for each of its columns. Request parameters that the signature lists go to the model as
    ``params``. Loading a model runs code.
    """

    def __init__(self, node: Predictor, root: Path) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        pyfunc = require("mlflow.pyfunc", "mlflow")
        path = model_path(node, root)
        _check_folder(path)
        with reading(node, root):
            self._model = pyfunc.load_model(str(path), suppress_warnings=True)
            signature = self._model.metadata.signature
            schema = None if signature is None else signature.inputs
            self._convert = converter(require("pandas", "mlflow"), node, schema)
            self.input_types = input_types(node, schema)
        params = None if signature is None else signature.params
        self._params = {one.name: one for one in params or ()}
        # A context bars a node from batching, so only models with parameters ask for it.
        self.predict = self._with_params if self._params else self._plain

    @staticmethod
    def executes_code(model: str) -> bool:
        """Tell that loading the model may run code, whatever its flavour."""
        return True

    @staticmethod
    def check(node: Predictor) -> Iterable[Mistake]:
        """Find a missing model, and a method."""
        yield from no_model(node)
        yield from no_method(node)

    def _plain(self, /, **inputs: Array) -> Any:
        return self._answer(inputs)

    def _with_params(self, /, *, context: Context | None = None, **inputs: Array) -> Any:
        params = self._checked(context.parameters if context is not None else {})
        return self._answer(inputs, params=params)

    def _answer(self, inputs: Mapping[str, Array], **options: Any) -> Any:
        """Return the model's outputs; InvalidRequest for no rows, where it needs some."""
        given = self._convert(inputs)
        call = partial(self._model.predict, given, **options)
        return outputs(refuse_no_rows(call, inputs.values()))

    def _checked(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that the model takes; InvalidRequest for one of another type."""
        given = {name: parameters.get(name) for name in self._params}
        found = {name: value for name, value in given.items() if value is not None}
        for name, value in found.items():
            spec = self._params[name]
            try:
                type(spec).validate_param_spec(value, spec)
            except Exception as error:
                text = " ".join(str(error).split())
                raise InvalidRequest(f"parameter {name!r}: {text[:300]}") from None
        return found


def _check_folder(path: Path) -> None:
    if not (path / "MLmodel").is_file():
        raise CannotLoad(f"{path.name} is no folder with a file MLmodel, as save_model writes it")
