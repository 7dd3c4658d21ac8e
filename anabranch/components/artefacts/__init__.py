"""Model files and folders: by path in the bundle, or by URI through a cache on this machine.

``model_path(node, root)`` is all that a runtime needs, or ``model_file`` where it reads one file.
"""

from anabranch.components.artefacts.paths import (
    check_code,
    check_trust,
    data_path,
    model_file,
    model_path,
    reading,
)
from anabranch.components.artefacts.uris import is_mlflow, is_uri, suffix

__all__ = [
    "check_code",
    "check_trust",
    "data_path",
    "is_mlflow",
    "is_uri",
    "model_file",
    "model_path",
    "reading",
    "suffix",
]
