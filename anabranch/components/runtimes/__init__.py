"""Runtimes: built-in predictors that serve model files, one module or folder each."""

from __future__ import annotations

import os

THREADS = os.cpu_count() or 1
"""How many calls at once the libraries' models take, none of which changes while it predicts."""
