"""Runtimes: built-in predictors that serve model files, one module or folder each."""

from __future__ import annotations

import os

THREADS = os.cpu_count() or 1
"""How many calls at once the libraries' models take, none of which changes while it predicts."""
UNLOCKED_CALLS = THREADS + 6
"""The same for models that compute without Python's lock. They take more, so that no processor
waits while calls need the lock between two operators.
"""
