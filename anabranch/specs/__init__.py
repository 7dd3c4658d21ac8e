"""The language: models, a safe loader with positions, checks, and how it is written."""

from anabranch.specs.checks import Checked, Partial, check
from anabranch.specs.dump import to_yaml
from anabranch.specs.loader import Document, parse, read
from anabranch.specs.models import InferenceGraph
from anabranch.specs.schema import json_schema

__all__ = [
    "Checked",
    "Document",
    "InferenceGraph",
    "Partial",
    "check",
    "json_schema",
    "parse",
    "read",
    "to_yaml",
]
