"""Configuration of the whole test suite."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Timings on a shared machine say nothing about the code, so no example has a deadline.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("default"), max_examples=20)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
