"""What Serve calls by name on every replica that hosts components: health, load, the end."""

from __future__ import annotations

from typing import Protocol

from anabranch.serve.scaling.policy import REQUESTS


class Components(Protocol):
    """The components that a replica hosts."""

    async def check_health(self, stuck: str | None = None) -> None:
        """Raise StartError, naming the node, if a component says that it is unwell."""
        ...

    async def unload(self) -> None:
        """Let components release what they hold."""
        ...


class ComponentReplica:
    """Base of replicas that set ``_hosted`` once their components are loaded."""

    _hosted: Components
    _requests = 0
    """How many requests the replica was asked, ever."""

    async def check_health(self) -> None:
        """Serve's health check: that of the components, and of what else may be stuck."""
        await self._hosted.check_health(self._stuck())

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook for what ``RequestPolicy`` goes by."""
        return {REQUESTS: self._requests}

    async def __del__(self) -> None:
        if hasattr(self, "_hosted"):
            await self._close()
            await self._hosted.unload()

    def _stuck(self) -> str | None:
        """Return what does not come back and needs a new process; None if all does."""
        return None

    async def _close(self) -> None:
        """End what runs beside the components."""
