"""From a plan to Ray Serve: segments as deployments, and calls to them through handles."""

from __future__ import annotations
