"""MLflow models, by their ``python_function`` flavour."""

from __future__ import annotations

from anabranch.components.runtimes.mlflow.runtime import MlflowModel

__all__ = ["MlflowModel"]
